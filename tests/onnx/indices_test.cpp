// Operators that read at indices: those known, those that follow from the graph, those of a run.
#include <gtest/gtest.h>

#include "tests/onnx/model_builder.h"

namespace corf {
namespace {

using onnx_proto::TensorProto;
using Ints = std::vector<int64_t>;

Tensor ints(Shape shape, const Ints& values) {
  return make_tensor<int64_t>(std::move(shape), values);
}

int count_checks(const graph::Graph& graph) {
  int count = 0;
  for (const graph::Node& node : graph.nodes) {
    const auto* opaque = std::get_if<graph::Opaque>(&node.op);
    count += opaque != nullptr && opaque->routine == "CheckIndices";
  }
  return count;
}

TEST(Indices, OfARunAreCheckedAndCountFromTheEnd) {
  ModelBuilder builder;
  builder.input("x", {3, 2}).input("i", {2}, TensorProto::INT64);
  builder.node("Gather", {"x", "i"}, {"y"}).output("y");
  const Tensor x = floats({3, 2}, {1, 2, 3, 4, 5, 6});
  const auto inside = builder.run({x, ints({2}, {-1, 0})});
  ASSERT_TRUE(inside.ok()) << inside.error().message;
  EXPECT_EQ(values_of((*inside)[0]), (std::vector<double>{5, 6, 1, 2}));
  for (const int64_t index : {int64_t{3}, int64_t{-4}, INT64_MIN}) {
    const auto outside = builder.run({x, ints({2}, {0, index})});
    ASSERT_FALSE(outside.ok());
    EXPECT_EQ(outside.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(outside.error().message.find("Gather_y"), std::string::npos);
    EXPECT_NE(outside.error().message.find(std::to_string(index)), std::string::npos);
  }
}

TEST(Indices, GatherNdChecksEachCoordinate) {
  ModelBuilder builder;
  builder.input("x", {2, 3}).input("i", {2, 2}, TensorProto::INT64);
  builder.node("GatherND", {"x", "i"}, {"y"}).output("y");
  const Tensor x = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto inside = builder.run({x, ints({2, 2}, {1, 2, -2, -1})});
  ASSERT_TRUE(inside.ok()) << inside.error().message;
  EXPECT_EQ(values_of((*inside)[0]), (std::vector<double>{6, 3}));
  EXPECT_FALSE(builder.run({x, ints({2, 2}, {2, 0, 0, 0})}).ok());
  EXPECT_FALSE(builder.run({x, ints({2, 2}, {0, 3, 0, 0})}).ok());
}

TEST(Indices, ThatFollowFromTheGraphNeedNoCheck) {
  ModelBuilder positions;  // of a maximum along as many elements as the data has
  positions.input("x", {4, 5}).input("scores", {3, 4});
  positions.node("ArgMax", {"scores"}, {"i"}, {{"axis", int64_t{1}}});
  positions.node("Gather", {"x", "i"}, {"y"}).output("y");
  auto graph = positions.import();
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  EXPECT_EQ(count_checks(*graph), 0);

  ModelBuilder longer;  // of one along more
  longer.input("x", {4, 5}).input("scores", {3, 9});
  longer.node("ArgMax", {"scores"}, {"i"}, {{"axis", int64_t{1}}});
  longer.node("Gather", {"x", "i"}, {"y"}).output("y");
  graph = longer.import();
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  EXPECT_EQ(count_checks(*graph), 1);
}

TEST(Indices, KnownOnesAreCheckedAtOnce) {
  ModelBuilder builder;
  builder.input("x", {3, 2}).ints("i", {0, 3});
  builder.node("Gather", {"x", "i"}, {"y"}).output("y");
  const auto graph = builder.import();
  ASSERT_FALSE(graph.ok());
  EXPECT_NE(graph.error().message.find("index 3"), std::string::npos) << graph.error().message;
}

TEST(Indices, ScatterOfConstantsIsAConstant) {
  ModelBuilder builder(18);
  builder.floats("x", {4}, {1, 2, 3, 4}).ints("i", {1, -1}).floats("u", {2}, {10, 20});
  builder.node("ScatterElements", {"x", "i", "u"}, {"y"}, {{"reduction", std::string("add")}});
  builder.output("y");
  const auto results = builder.run({});
  ASSERT_TRUE(results.ok()) << results.error().message;
  EXPECT_EQ(values_of((*results)[0]), (std::vector<double>{1, 12, 3, 24}));

  ModelBuilder slices(18);
  slices.floats("x", {3, 2}, {1, 2, 3, 4, 5, 6}).initializer("i", ints({1, 1}, {2}));
  slices.floats("u", {1, 2}, {7, 8});
  slices.node("ScatterND", {"x", "i", "u"}, {"y"}).output("y");
  const auto rows = slices.run({});
  ASSERT_TRUE(rows.ok()) << rows.error().message;
  EXPECT_EQ(values_of((*rows)[0]), (std::vector<double>{1, 2, 3, 4, 7, 8}));

  ModelBuilder outside(18);
  outside.floats("x", {4}, {1, 2, 3, 4}).ints("i", {4}).floats("u", {1}, {10});
  outside.node("ScatterElements", {"x", "i", "u"}, {"y"}).output("y");
  const auto refused = outside.import();
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("index 4"), std::string::npos);
}

/// A branch that is not taken may index out of range.
TEST(Indices, OfABranchThatMayNotCountAreNotChecked) {
  ModelBuilder builder;
  builder.input("x", {3}).input("i", {1}, TensorProto::INT64).input("c", {}, TensorProto::BOOL);
  builder.node("If", {"c"}, {"y"});
  auto& node = *builder.proto.mutable_graph()->mutable_node(0);
  for (const char* name : {"then_branch", "else_branch"}) {
    auto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(onnx_proto::AttributeProto::GRAPH);
    auto& inner = *attribute.mutable_g()->add_node();
    const bool gathers = attribute.name() == "then_branch";
    inner.set_op_type(gathers ? "Gather" : "Slice");
    inner.add_input("x");
    if (gathers) {
      inner.add_input("i");
    } else {
      inner.add_input("zero");
      inner.add_input("one");
    }
    inner.add_output(attribute.name() + "_result");
    attribute.mutable_g()->add_output()->set_name(attribute.name() + "_result");
  }
  builder.ints("zero", {0}).ints("one", {1}).output("y");
  const Tensor x = floats({3}, {1, 2, 3});
  const Tensor no = make_tensor<bool>({}, std::span<const bool>((const bool[]){false}, 1));
  const auto results = builder.run({x, ints({1}, {7}), no});
  ASSERT_TRUE(results.ok()) << results.error().message;
  EXPECT_EQ(values_of((*results)[0]), (std::vector<double>{1}));
}

/// Positions of the maxima against a search through each window.
TEST(Indices, MaxPoolSaysWhereItsMaximaLie) {
  const int64_t h = 5, w = 6;
  Tensor x(DType::kF32, {2, 2, h, w});
  for (int64_t i = 0; i < x.num_elems(); ++i) x.set_f64(i, static_cast<double>(i * 37 % 23) - 30);
  for (const int64_t column_major : {0, 1}) {
    for (const int64_t ceil_mode : {0, 1}) {
      for (const Ints& dilations : {Ints{1, 1}, Ints{2, 1}}) {
        const Ints kernel = {2, 3}, strides = {2, 1}, pads = {1, 0, 1, 1};
        ModelBuilder builder(12);
        builder.input("x", {2, 2, h, w});
        builder.node("MaxPool", {"x"}, {"y", "at"},
                     {{"kernel_shape", kernel},
                      {"strides", strides},
                      {"pads", pads},
                      {"dilations", dilations},
                      {"ceil_mode", ceil_mode},
                      {"storage_order", column_major}});
        builder.output("y").output("at");
        const auto results = builder.run({x});
        ASSERT_TRUE(results.ok()) << results.error().message;
        const Tensor &y = (*results)[0], &at = (*results)[1];
        ASSERT_EQ(at.shape(), y.shape());
        EXPECT_EQ(at.dtype(), DType::kI64);
        const int64_t oh = y.shape()[2], ow = y.shape()[3];
        for (int64_t i = 0; i < y.num_elems(); ++i) {
          const int64_t image = i / (oh * ow), r = i / ow % oh, c = i % ow;
          double best = -INFINITY;
          int64_t where = -1;
          for (int64_t a = 0; a < kernel[0]; ++a) {
            for (int64_t b = 0; b < kernel[1]; ++b) {
              const int64_t row = r * strides[0] - pads[0] + a * dilations[0];
              const int64_t column = c * strides[1] - pads[1] + b * dilations[1];
              if (row < 0 || row >= h || column < 0 || column >= w) continue;
              const double element = x.at_f64((image * h + row) * w + column);
              if (element <= best) continue;
              best = element;
              where = image * h * w + (column_major != 0 ? column * h + row : row * w + column);
            }
          }
          EXPECT_EQ(y.at_f64(i), best);
          EXPECT_EQ(at.at_i64(i), where) << i;
        }
      }
    }
  }
}

/// Integers are weighed as floats and rounded.
TEST(Indices, ResizeOfBytesRoundsAndSaturates) {
  ModelBuilder builder(19);
  builder.input("x", {1, 1, 1, 4}, TensorProto::UINT8).floats("s", {4}, {1, 1, 1, 2});
  builder.node("Resize", {"x", "", "s"}, {"y"}, {{"mode", std::string("cubic")}}).output("y");
  const auto results =
      builder.run({make_tensor<uint8_t>({1, 1, 1, 4}, std::vector<uint8_t>{0, 255, 255, 0})});
  ASSERT_TRUE(results.ok()) << results.error().message;
  EXPECT_EQ((*results)[0].dtype(), DType::kU8);
  const std::vector<double> y = values_of((*results)[0]);
  EXPECT_EQ(y.size(), 8u);
  EXPECT_EQ(y[0], 0);    // the curve is below 0 there
  EXPECT_EQ(y[3], 255);  // and above 255 here
}

}  // namespace
}  // namespace corf
