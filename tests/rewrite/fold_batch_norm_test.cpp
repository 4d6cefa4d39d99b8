#include "rewrite/fold_batch_norm.h"

#include "rewrite/fold_constants.h"
#include "tests/rewrite/model_error.h"

namespace corf::rewrite {
namespace {
using graph::Graph;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

int64_t channels_of(const Graph& graph, ValueId x) { return graph.values[x].shape[1]; }

/// ((x - mean) / sqrt(variance + 1e-3)) * gamma + beta as one node of five operands.
ValueId batch_norm(Graph& graph, ValueId x, uint32_t seed) {
  const int64_t channels = channels_of(graph, x);
  Shape shape(graph.values[x].shape.size(), 1);
  shape[1] = channels;
  const auto constant = [&](uint32_t offset, double low, double high) {
    return graph.add_constant("p", random_tensor(shape, seed + offset, low, high));
  };
  return graph::elementwise(
      graph, "bn",
      {x, constant(1, -1, 1), constant(2, 0.1, 2), constant(3, -1, 1), constant(4, -1, 1)},
      [](ScalarBody& body, const std::vector<int>& args) {
        const int centred = body.apply(ScalarOp::kSub, args[0], args[1]);
        const int variance = body.apply(ScalarOp::kAdd, args[2], body.constant(1e-3, DType::kF32));
        const int normal =
            body.apply(ScalarOp::kDiv, centred, body.apply(ScalarOp::kSqrt, variance));
        return body.apply(ScalarOp::kAdd, body.apply(ScalarOp::kMul, normal, args[3]), args[4]);
      },
      "BatchNormalization");
}

ValueId weights(Graph& graph, Shape shape, uint32_t seed) {
  return graph.add_constant("w", random_tensor(std::move(shape), seed));
}

/// The element-wise nodes that are left.
int64_t num_elementwise(const Graph& graph) {
  return std::count_if(graph.nodes.begin(), graph.nodes.end(), [](const graph::Node& node) {
    const auto* compute = std::get_if<graph::Compute>(&node.op);
    return compute && compute->combiner == graph::Combiner::kNone;
  });
}

TEST(FoldBatchNorm, AfterConvolutionsOfEveryGrouping) {
  for (int64_t groups : {1, 2, 4}) {
    Graph graph;
    const auto x = graph.add_input("x", DType::kF32, {2, 4, 6, 5});
    const auto y =
        conv(graph, "conv", x, weights(graph, {8, 4 / groups, 3, 3}, 1), window(3, 2, 1), groups);
    set_output(graph, batch_norm(graph, y, 10));
    const Graph after = apply(fold_batch_norm, graph);
    EXPECT_EQ(num_elementwise(after), 1);  // the bias
    const auto& bias = std::get<graph::Compute>(after.producer(after.outputs[0]).op);
    EXPECT_EQ(bias.body.nodes.back().op, ScalarOp::kAdd);
    EXPECT_EQ(bias.body.nodes.size(), 3u);
    expect_same_results(graph, after);
  }
}

TEST(FoldBatchNorm, AfterABiasIntoOneBias) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {1, 3, 6, 6});
  auto y = conv(graph, "conv", x, weights(graph, {5, 3, 1, 1}, 1), window(1), 1);
  y = binary(graph, ScalarOp::kAdd, y, graph.add_constant("b", random_tensor({1, 5, 1, 1}, 2)));
  y = batch_norm(graph, y, 10);
  y = with_constant(graph, ScalarOp::kMul, y, 0.5f);
  set_output(graph, y);
  const Graph after = apply(fold_batch_norm, graph);
  EXPECT_EQ(num_elementwise(after), 1);
  expect_same_results(graph, after);
}

TEST(FoldBatchNorm, AfterTransposedConvolutionsThroughTheirViews) {
  for (int64_t groups : {1, 2}) {
    Graph graph;
    const auto x = graph.add_input("x", DType::kF32, {1, 4, 5, 5});
    const auto y = conv_transpose(graph, "deconv", x, weights(graph, {4, 6 / groups, 3, 3}, 1),
                                  window(3, 2, 1), groups, {9, 9});
    set_output(graph, batch_norm(graph, y, 10));
    const Graph after = apply(fold_batch_norm, graph);
    EXPECT_EQ(num_elementwise(after), 1);
    EXPECT_EQ(std::get<graph::Compute>(after.producer(after.outputs[0]).op).body.nodes.size(), 3u);
    expect_same_results(graph, after);
  }
}

TEST(FoldBatchNorm, IntoMatrixProducts) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {2, 7, 4});
  auto y = matmul(graph, "mm", x, weights(graph, {4, 6}, 1));
  y = binary(graph, ScalarOp::kMul, y, graph.add_constant("s", random_tensor({6}, 2)));
  y = with_constant(graph, ScalarOp::kMul, y, 0.125f);
  set_output(graph, y);
  const Graph after = apply(fold_batch_norm, graph);
  EXPECT_EQ(num_elementwise(after), 0);
  expect_same_results(graph, after);
}

TEST(FoldBatchNorm, BeforeAnUnpaddedConvolution) {
  for (int64_t groups : {1, 2, 4}) {
    Graph graph;
    const auto x = graph.add_input("x", DType::kF32, {2, 4, 6, 5});
    const auto normal = batch_norm(graph, x, 10);
    set_output(graph, conv(graph, "conv", normal, weights(graph, {8, 4 / groups, 3, 3}, 1),
                           window(3, 1), groups));
    const Graph after = apply(fold_batch_norm, graph);
    EXPECT_EQ(num_elementwise(after), 1);
    EXPECT_EQ(std::get<graph::Compute>(after.producer(after.outputs[0]).op).body.nodes.size(), 3u);
    expect_same_results(graph, after);
  }
}

TEST(FoldBatchNorm, BeforeAPaddedConvolutionOnlyAScale) {
  for (bool shifted : {false, true}) {
    Graph graph;
    const auto x = graph.add_input("x", DType::kF32, {1, 4, 6, 5});
    auto y = binary(graph, ScalarOp::kMul, x, graph.add_constant("s", random_tensor({4, 1, 1}, 2)));
    if (shifted) y = with_constant(graph, ScalarOp::kAdd, y, 0.5f);
    set_output(graph, conv(graph, "conv", y, weights(graph, {8, 4, 3, 3}, 1), window(3, 1, 1), 1));
    const Graph after = apply(fold_batch_norm, graph);
    EXPECT_EQ(num_elementwise(after), shifted ? 1 : 0);
    expect_same_results(graph, after);
  }
}

TEST(FoldBatchNorm, BeforeAPaddedConvolutionTheShiftStays) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {1, 4, 6, 6});
  const auto y = conv(graph, "conv", batch_norm(graph, x, 10), weights(graph, {8, 4, 3, 3}, 1),
                      window(3, 1, 1), 1);
  set_output(graph, y);
  const Graph after = apply(fold_batch_norm, graph);
  ASSERT_EQ(num_elementwise(after), 1);
  for (const graph::Node& node : after.nodes) {
    const auto* compute = std::get_if<graph::Compute>(&node.op);
    if (!compute || compute->combiner != graph::Combiner::kNone) continue;
    EXPECT_EQ(compute->body.nodes.size(), 3u);  // x + constant
    EXPECT_EQ(compute->body.nodes.back().op, ScalarOp::kAdd);
  }
  expect_same_results(graph, after);
}

TEST(FoldBatchNorm, LayerScaleBeforeAMatrixProduct) {
  Graph graph;
  const auto a = graph.add_input("a", DType::kF32, {2, 7, 4});
  const auto b = graph.add_input("b", DType::kF32, {2, 7, 1});
  const auto x = binary(graph, ScalarOp::kMul, a, b);
  auto y = binary(graph, ScalarOp::kMul, x, graph.add_constant("g", random_tensor({4}, 2)));
  y = binary(graph, ScalarOp::kAdd, y, graph.add_constant("b", random_tensor({4}, 3)));
  set_output(graph, matmul(graph, "mm", y, weights(graph, {4, 6}, 1)));
  const Graph after = apply(fold_batch_norm, graph);
  EXPECT_EQ(num_elementwise(after), 2);
  const auto& last = after.producer(after.outputs[0]);
  EXPECT_EQ(std::get<graph::Compute>(last.op).combiner, graph::Combiner::kNone);
  expect_same_results(graph, after);
}

/// (x - mean) / std of an input: the difference is exact, and stays in front of the weights.
TEST(FoldBatchNorm, TheMeanOfAnInputIsSubtractedFromIt) {
  for (bool padded : {false, true}) {
    Graph graph;
    const auto x = graph.add_input("x", DType::kF32, {1, 4, 6, 6});
    const auto centred = with_constant(graph, ScalarOp::kSub, x, 1e6f);
    const auto y = with_constant(graph, ScalarOp::kDiv, centred, 0.3f);
    set_output(graph, conv(graph, "conv", y, weights(graph, {8, 4, 3, 3}, 1),
                           window(3, 1, padded ? 1 : 0), 1));
    const Graph after = apply(fold_batch_norm, graph);
    EXPECT_EQ(num_elementwise(after), 1);
    const Tensor near_mean = random_tensor({1, 4, 6, 6}, 5, 999999, 1000001);
    expect_as_exact(graph, after, {near_mean});
  }
}

TEST(FoldBatchNorm, WeightsStayInRange) {
  for (float scale : {1e-39f, 1e38f}) {
    Graph graph;
    const auto x = graph.add_input("x", DType::kF32, {1, 3, 6, 6});
    const auto w = graph.add_constant("w", random_tensor({5, 3, 1, 1}, 1, 7, 9));
    const auto y = conv(graph, "conv", x, w, window(1), 1);
    set_output(graph, with_constant(graph, ScalarOp::kMul, y, scale));
    EXPECT_EQ(num_elementwise(apply(fold_batch_norm, graph)), 1) << scale;
  }
}

TEST(FoldBatchNorm, DivisionsBeforeStepsStay) {
  for (bool rounds : {false, true}) {
    Graph graph;
    const auto x = graph.add_input("x", DType::kF32, {1, 3, 6, 6});
    const auto y = conv(graph, "conv", x, weights(graph, {5, 3, 1, 1}, 1), window(1), 1);
    const auto quotient = with_constant(graph, ScalarOp::kDiv, y, 41);
    set_output(graph, unary(graph, rounds ? ScalarOp::kFloor : ScalarOp::kTanh, quotient));
    EXPECT_EQ(num_elementwise(apply(fold_batch_norm, graph)), rounds ? 2 : 1);
  }
}

TEST(FoldBatchNorm, LeavesValuesWithOtherReaders) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {1, 3, 6, 6});
  const auto y = conv(graph, "conv", x, weights(graph, {5, 3, 1, 1}, 1), window(1), 1);
  set_output(graph, y);
  set_output(graph, batch_norm(graph, y, 10));
  const Graph after = apply(fold_batch_norm, graph);
  EXPECT_EQ(num_elementwise(after), 1);
  EXPECT_EQ(count_nodes<graph::Compute>(after), 2);
  expect_same_results(graph, after, 0);
}

TEST(FoldBatchNorm, LeavesConstantsAlongSeveralDimensions) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {1, 3, 6, 6});
  const auto y = conv(graph, "conv", x, weights(graph, {5, 3, 1, 1}, 1), window(1), 1);
  const auto s = graph.add_constant("s", random_tensor({5, 6, 6}, 4));
  set_output(graph, binary(graph, ScalarOp::kMul, y, s));
  const Graph after = apply(fold_batch_norm, graph);
  EXPECT_EQ(num_elementwise(after), 1);
  expect_same_results(graph, after, 0);
}

}  // namespace
}  // namespace corf::rewrite
