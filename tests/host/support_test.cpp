#include "host/support.h"

#include <gtest/gtest.h>

#include "tests/onnx/model_builder.h"

namespace corf {
namespace {

using host::RunKind;
using onnx_proto::TensorProto;

host::Support support_of(const ModelBuilder& builder, const onnx::ShapeBindings& shapes) {
  const auto model = builder.parse();
  EXPECT_TRUE(model.ok()) << model.error().message;
  const auto support = host::find_support(**model, shapes);
  EXPECT_TRUE(support.ok()) << support.error().message;
  return support.ok() ? *support : host::Support();
}

bool mentions(const host::Support& support, std::string_view words) {
  return support.reasons.find(words) != std::string::npos;
}

TEST(Support, IsWholeWhereAllFollowsFromShapes) {
  ModelBuilder builder;
  builder.input("x", {"n"}).node("Relu", {"x"}, {"y"}).output("y");
  EXPECT_EQ(support_of(builder, {{"x", {3}}}).kind, RunKind::kWhole);
}

TEST(Support, NamesInputsWhoseValuesDecide) {
  ModelBuilder builder;
  builder.input("x", {6}).input("shape", {2}, TensorProto::INT64);
  builder.node("Reshape", {"x", "shape"}, {"y"}).output("y");
  const auto support = support_of(builder, {});
  EXPECT_EQ(support.kind, RunKind::kForValues);
  EXPECT_EQ(support.deciding_inputs, (std::vector<std::string>{"shape"}));
}

TEST(Support, IsInPiecesForDataAndForWhatOnlyTheHostHas) {
  ModelBuilder selecting;
  selecting.input("x", {"n"}).node("NonZero", {"x"}, {"where"}).output("where");
  const auto by_data = support_of(selecting, {{"x", {3}}});
  EXPECT_EQ(by_data.kind, RunKind::kInPieces);
  EXPECT_TRUE(mentions(by_data, "'NonZero_where'")) << by_data.reasons;

  ModelBuilder cutting;
  cutting.input("x", {"n"}).node("SplitToSequence", {"x"}, {"all"});
  cutting.node("ConcatFromSequence", {"all"}, {"y"}, {{"axis", int64_t{0}}}).output("y");
  const auto by_host = support_of(cutting, {{"x", {3}}});
  EXPECT_EQ(by_host.kind, RunKind::kInPieces);
  EXPECT_TRUE(mentions(by_host, "a piece by itself")) << by_host.reasons;

  ModelBuilder words;
  words.input("text", {"n"}, TensorProto::STRING);
  words.node("StringConcat", {"text", "text"}, {"y"}).output("y", TensorProto::STRING);
  EXPECT_EQ(support_of(words, {}).kind, RunKind::kInPieces);
}

TEST(Support, CountsAllThatIsRefusedByOperatorWithTheRemedy) {
  ModelBuilder builder;
  builder.input("x", {"n"});
  builder.node("NonZero", {"x"}, {"where"})
      .node("Missing", {"where"}, {"a"})
      .node("Missing", {"a"}, {"b"})
      .node("Gelu", {"b"}, {"y"})
      .node("Absent", {"x"}, {"unused"})
      .output("y");
  const auto support = support_of(builder, {{"x", {3}}});
  EXPECT_EQ(support.kind, RunKind::kRefused);
  for (const char* words : {"3 nodes are not supported", "Missing (2 nodes)", "'Missing_a'",
                            "'Missing_b'", "Gelu (1 node)", "remedy: export", "remedy: convert"}) {
    EXPECT_TRUE(mentions(support, words)) << words << " in " << support.reasons;
  }
  EXPECT_FALSE(mentions(support, "Absent"));  // no output depends on it
  EXPECT_FALSE(mentions(support, "NonZero"));
}

TEST(Support, RefusesWhatNoPieceWouldTake) {
  ModelBuilder builder(6);
  builder.input("x", {4}).node("Dropout", {"x"}, {"y"}).node("Dropout", {"y"}, {"z"}).output("z");
  const auto support = support_of(builder, {});
  EXPECT_EQ(support.kind, RunKind::kRefused);
  EXPECT_TRUE(mentions(support, "Dropout (1 node)")) << support.reasons;
  EXPECT_TRUE(mentions(support, "is_test")) << support.reasons;
}

}  // namespace
}  // namespace corf
