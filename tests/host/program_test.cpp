#include <fstream>
#include <gtest/gtest.h>

#include "api/model_compiler.h"
#include "tests/onnx/model_builder.h"

namespace corf {
namespace {

using onnx_proto::GraphProto;
using onnx_proto::TensorProto;
using session::Value;

std::shared_ptr<session::Session> open(const ModelBuilder& builder) {
  auto model = builder.parse();
  EXPECT_TRUE(model.ok()) << model.error().message;
  session::Options options;
  options.workers.threads = 1;
  auto opened = api::open_session(*model, options);
  EXPECT_TRUE(opened.ok());
  return *opened;
}

std::vector<Value> run(session::Session& session, const std::vector<Value>& inputs) {
  auto outputs = session.run(inputs);
  EXPECT_TRUE(outputs.ok()) << outputs.error().message;
  return outputs.ok() ? *outputs : std::vector<Value>();
}

std::string message_of(session::Session& session, const std::vector<Value>& inputs) {
  const auto outputs = session.run(inputs);
  EXPECT_FALSE(outputs.ok());
  return outputs.ok() ? "" : outputs.error().message;
}

Tensor ints(Shape shape, const std::vector<int64_t>& values) {
  return make_tensor<int64_t>(std::move(shape), values);
}

/// A graph whose nodes are written as for a model.
GraphProto body(const ModelBuilder& builder) { return builder.proto.graph(); }

ModelBuilder& with_body(ModelBuilder& builder, const std::string& name, GraphProto graph) {
  auto& node = *builder.proto.mutable_graph()->mutable_node()->rbegin();
  auto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx_proto::AttributeProto::GRAPH);
  *attribute.mutable_g() = std::move(graph);
  return builder;
}

/// y = 2 x at the elements that differ from zero, twice: [2, count].
ModelBuilder doubled_nonzeros() {
  ModelBuilder builder;
  builder.input("x", {"n"}).ints("new_shape", {1, -1}).floats("two", {1}, {2});
  builder.node("Mul", {"x", "two"}, {"doubled"})
      .node("NonZero", {"x"}, {"where"})
      .node("Squeeze", {"where", "axis"}, {"positions"})
      .ints("axis", {0})
      .node("Gather", {"doubled", "positions"}, {"kept"})
      .node("Reshape", {"kept", "new_shape"}, {"row"})
      .node("Concat", {"row", "row"}, {"y"}, {{"axis", int64_t{0}}})
      .output("y", TensorProto::FLOAT);
  return builder;
}

TEST(Program, RunsWhatLiesBehindAShapeThatDependsOnData) {
  const auto session = open(doubled_nonzeros());
  const auto first = run(*session, {floats({4}, {0, 3, 0, 5})});
  ASSERT_NE(first.at(0).tensor(), nullptr);
  EXPECT_EQ(first[0].tensor()->shape(), (Shape{2, 2}));
  EXPECT_EQ(values_of(*first[0].tensor()), (std::vector<double>{6, 10, 6, 10}));
  const auto none = run(*session, {floats({3}, {0, 0, 0})});
  EXPECT_EQ(none.at(0).tensor()->shape(), (Shape{2, 0}));
  EXPECT_TRUE(session->runs_in_pieces());
}

/// Resident pages of this process.
int64_t resident_pages() {
  std::ifstream file("/proc/self/statm");
  int64_t all = 0, resident = 0;
  file >> all >> resident;
  return resident;
}

TEST(Program, IsFlatInMemoryOverManyRunsOfChangingSizes) {
  const auto session = open(doubled_nonzeros());
  const auto run_size = [&](int64_t n) {
    Tensor x(DType::kF32, {16});
    for (int64_t i = 0; i < n % 12; ++i) x.set_f64(i, static_cast<double>(i + 1));
    const auto y = run(*session, {x});
    EXPECT_EQ(y.at(0).tensor()->shape(), (Shape{2, n % 12}));
  };
  // More sizes than executables are kept, then the same ones: each is compiled now and then.
  for (int64_t n = 0; n < 48; ++n) run_size(n);
  const int64_t before = resident_pages();
  for (int64_t n = 0; n < 10000; ++n) run_size(n < 96 ? n : 3 + n % 5);
  EXPECT_LT(resident_pages() - before, 2048);  // 8 MiB
}

/// total = sum over steps of the step's number; seen: the running totals. Stops at `limit`.
ModelBuilder counting_loop() {
  ModelBuilder step;
  step.input("i", {}, TensorProto::INT64)
      .input("go", {}, TensorProto::BOOL)
      .input("total", {}, TensorProto::INT64);
  step.node("Add", {"total", "i"}, {"sum"})
      .node("Less", {"sum", "limit"}, {"goes_on"})
      .node("Identity", {"sum"}, {"seen"})
      .output("goes_on", TensorProto::BOOL)
      .output("sum", TensorProto::INT64)
      .output("seen", TensorProto::INT64);
  ModelBuilder builder;
  builder.input("most", {}, TensorProto::INT64).input("limit", {}, TensorProto::INT64);
  builder.initializer("zero", ints({}, {0}));
  builder.node("Loop", {"most", "", "zero"}, {"all", "totals"});
  with_body(builder, "body", body(step));
  builder.output("all", TensorProto::INT64).output("totals", TensorProto::INT64);
  return builder;
}

TEST(Program, RunsALoopAsOftenAsDataSays) {
  const auto session = open(counting_loop());
  const auto stopped = run(*session, {ints({}, {100}), ints({}, {6})});
  EXPECT_EQ(stopped.at(0).tensor()->at_i64(0), 6);
  EXPECT_EQ(values_of(*stopped.at(1).tensor()), (std::vector<double>{0, 1, 3, 6}));
  const auto counted = run(*session, {ints({}, {3000}), ints({}, {1 << 30})});
  EXPECT_EQ(counted.at(0).tensor()->at_i64(0), 3000 * 2999 / 2);
  EXPECT_EQ(counted.at(1).tensor()->shape(), (Shape{3000}));
  const auto never = run(*session, {ints({}, {-1}), ints({}, {6})});
  EXPECT_EQ(never.at(0).tensor()->at_i64(0), 0);
  EXPECT_EQ(never.at(1).tensor()->shape(), (Shape{0}));
}

TEST(Program, RunsTheBranchThatDataSelects) {
  ModelBuilder rows, column, builder;
  rows.node("Concat", {"x", "x"}, {"twice"}, {{"axis", int64_t{0}}}).output("twice");
  column.node("ReduceSum", {"x"}, {"once"}).output("once");
  builder.input("x", {2, 2}).floats("zero", {}, {0});
  builder.node("ReduceMax", {"x"}, {"most"}, {{"keepdims", int64_t{0}}})
      .node("Greater", {"most", "zero"}, {"any"})
      .node("If", {"any"}, {"picked"});
  with_body(builder, "then_branch", body(rows));
  with_body(builder, "else_branch", body(column));
  builder.node("Neg", {"picked"}, {"y"}).output("y", TensorProto::FLOAT);
  const auto session = open(builder);
  const auto some = run(*session, {floats({2, 2}, {1, 2, 3, 4})});
  EXPECT_EQ(some.at(0).tensor()->shape(), (Shape{4, 2}));
  const auto none = run(*session, {floats({2, 2}, {-1, -2, -3, -4})});
  EXPECT_EQ(values_of(*none.at(0).tensor()), (std::vector<double>{10}));
}

TEST(Program, SelectsBoxes) {
  ModelBuilder builder;
  builder.input("boxes", {1, "n", 4}).input("scores", {1, 1, "n"});
  builder.ints("most", {1000}).floats("overlap", {1}, {0.5f});
  builder.node("NonMaxSuppression", {"boxes", "scores", "most", "overlap"}, {"selected"})
      .ints("column", {2})
      .node("Gather", {"selected", "column"}, {"of_boxes"}, {{"axis", int64_t{1}}})
      .node("Squeeze", {"of_boxes", "axis"}, {"positions"})
      .ints("axis", {1})
      .ints("flat", {-1, 4})
      .node("Reshape", {"boxes", "flat"}, {"rows"})
      .node("Gather", {"rows", "positions"}, {"y"})
      .output("y", TensorProto::FLOAT);
  const auto session = open(builder);
  const auto three = run(*session, {floats({1, 3, 4}, {0, 0, 1, 1, 0, 0, 1, 0.9f, 2, 2, 3, 3}),
                                    floats({1, 1, 3}, {0.2f, 0.9f, 0.5f})});
  EXPECT_EQ(values_of(*three.at(0).tensor()), (std::vector<double>{0, 0, 1, 0.9f, 2, 2, 3, 3}));
  const auto none = run(*session, {Tensor(DType::kF32, {1, 0, 4}), Tensor(DType::kF32, {1, 1, 0})});
  EXPECT_EQ(none.at(0).tensor()->shape(), (Shape{0, 4}));
  Tensor boxes(DType::kF32, {1, 1000, 4}), scores(DType::kF32, {1, 1, 1000});
  for (int64_t i = 0; i < 1000; ++i) {
    for (int64_t k = 0; k < 4; ++k) boxes.set_f64(4 * i + k, 2.0 * i + (k >= 2));
    scores.set_f64(i, static_cast<double>(i));
  }
  const auto thousand = run(*session, {boxes, scores});
  EXPECT_EQ(thousand.at(0).tensor()->shape(), (Shape{1000, 4}));
  EXPECT_EQ(thousand[0].tensor()->at_f64(0), 1998);  // the best first
}

TEST(Program, CarriesSequencesAndStrings) {
  ModelBuilder builder;
  builder.input("x", {"n", 2}).initializer("one", ints({}, {1}));
  builder.node("SplitToSequence", {"x", "one"}, {"rows"})
      .initializer("last", ints({}, {-1}))
      .node("SequenceAt", {"rows", "last"}, {"row"})
      .node("SequenceInsert", {"rows", "row"}, {"more"})
      .node("ConcatFromSequence", {"more"}, {"y"}, {{"axis", int64_t{0}}})
      .output("y", TensorProto::FLOAT);
  const auto session = open(builder);
  const auto y = run(*session, {floats({2, 2}, {1, 2, 3, 4})});
  EXPECT_EQ(values_of(*y.at(0).tensor()), (std::vector<double>{1, 2, 3, 4, 3, 4}));
  EXPECT_NE(message_of(*session, {Tensor(DType::kF32, {0, 2})}).find("SequenceAt_row"),
            std::string::npos);

  ModelBuilder words;
  words.input("text", {}, TensorProto::STRING).ints("shape", {-1});
  words.node("StringSplit", {"text"}, {"pieces", "count"}, {{"delimiter", std::string(" ")}})
      .node("Reshape", {"pieces", "shape"}, {"list"})
      .node("Unique", {"list"}, {"vocabulary", "", "ids"})
      .output("vocabulary", TensorProto::STRING)
      .output("ids", TensorProto::INT64);
  const auto tokens = run(*open(words), {session::Strings{{}, {"to be or not to be"}}});
  ASSERT_NE(tokens.at(0).strings(), nullptr);
  EXPECT_EQ(tokens[0].strings()->elems, (std::vector<std::string>{"be", "not", "or", "to"}));
  EXPECT_EQ(values_of(*tokens[1].tensor()), (std::vector<double>{3, 0, 2, 1, 3, 0}));
}

TEST(Program, NamesTheNodeThatIsInTheWay) {
  ModelBuilder builder;
  builder.input("x", {"n"});
  builder.node("NonZero", {"x"}, {"where"}).node("Nothing", {"where"}, {"y"}).output("y");
  EXPECT_NE(message_of(*open(builder), {floats({1}, {1})}).find("Nothing_y"), std::string::npos);
  const auto session = open(counting_loop());
  EXPECT_NE(message_of(*session, {ints({2}, {1, 2}), ints({}, {6})}).find("'most'"),
            std::string::npos);
  EXPECT_NE(message_of(*session, {Value(), ints({}, {6})}).find("'most'"), std::string::npos);
}

}  // namespace
}  // namespace corf
