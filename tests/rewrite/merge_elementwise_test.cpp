#include "rewrite/merge_elementwise.h"

#include "rewrite/simplify_bodies.h"
#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Compute;
using graph::Graph;
using graph::ScalarOp;
using graph::ValueId;

TEST(MergeElementwise, BiasAndActivationThatReadsItTwice) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {2, 3, 4});
  const auto w = graph.add_constant("w", random_tensor({4, 5}, 1));
  const auto y = binary(graph, ScalarOp::kAdd, matmul(graph, "mm", x, w),
                        graph.add_constant("b", random_tensor({5}, 2)));
  set_output(graph, binary(graph, ScalarOp::kMul, y, unary(graph, ScalarOp::kSigmoid, y)));
  const Graph after = apply(merge_elementwise, graph);
  EXPECT_EQ(count_nodes<Compute>(after), 2);
  const graph::Node& merged = after.producer(after.outputs[0]);
  EXPECT_EQ(merged.inputs.size(), 2u);
  EXPECT_EQ(merged.name, "add+sigmoid+mul");
  expect_same_results(graph, after);
}

TEST(MergeElementwise, NotWhatWouldBeEvaluatedMoreOften) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {2, 3, 4, 4});
  const auto gate = graph.add_input("gate", DType::kF32, {2, 3, 1, 1});
  set_output(graph, binary(graph, ScalarOp::kMul, x, unary(graph, ScalarOp::kSigmoid, gate)));
  const Graph after = apply(merge_elementwise, graph);
  EXPECT_EQ(count_nodes<Compute>(after), 2);
  expect_same_results(graph, after, 0);
}

TEST(MergeElementwise, NotIntoSeveralReaders) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {6});
  const auto y = unary(graph, ScalarOp::kExp, x);
  set_output(graph, unary(graph, ScalarOp::kNeg, y));
  set_output(graph, unary(graph, ScalarOp::kAbs, y));
  const Graph after = apply(merge_elementwise, graph);
  EXPECT_EQ(count_nodes<Compute>(after), 3);
  expect_same_results(graph, after, 0);
}

TEST(MergeElementwise, SquareIntoItsSum) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {3, 8});
  const auto square = binary(graph, ScalarOp::kMul, x, x);
  set_output(graph, reduce(graph, "sum", square, graph::Combiner::kSum, {1}, true));
  const Graph after = apply(merge_elementwise, graph);
  EXPECT_EQ(count_nodes<Compute>(after), 1);
  expect_same_results(graph, after, 1e-14);
}

TEST(MergeElementwise, ThroughTransposedReads) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {3, 8});
  const auto y = graph.add_input("y", DType::kF32, {8, 3});
  const auto exp = unary(graph, ScalarOp::kExp, x);
  // exp(x) read through a transposing map, as fold_views_into_operands leaves it.
  Compute sum;
  sum.space.axes = {{"i", 8}, {"j", 3}};
  sum.operands.push_back({index::IndexMap{{index::Expr::variable(1), index::Expr::variable(0)}}});
  sum.operands.push_back({index::IndexMap::identity(2)});
  const int a = sum.body.operand(0, DType::kF32);
  const int b = sum.body.operand(1, DType::kF32);
  sum.body.apply(ScalarOp::kAdd, a, b);
  set_output(graph, graph.add_compute("sum", sum, {exp, y}));
  const Graph after = apply(merge_elementwise, graph);
  EXPECT_EQ(count_nodes<Compute>(after), 1);
  expect_same_results(graph, after, 0);
}

TEST(SimplifyBodies, InlinesUniformConstantsAndKeepsVectors) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {2, 3, 4, 4});
  Tensor twos(DType::kF32, {1, 3, 1, 1});
  for (int64_t i = 0; i < 3; ++i) twos.set_f64(i, 2);
  auto y = binary(graph, ScalarOp::kMul, x, graph.add_constant("twos", twos));
  y = binary(graph, ScalarOp::kAdd, y, graph.add_constant("bias", random_tensor({1, 3, 1, 1}, 2)));
  set_output(graph, y);
  const Graph after = apply(simplify_bodies, graph);
  ASSERT_EQ(count_nodes<graph::Constant>(after), 1);
  const graph::Node& sum = after.producer(after.outputs[0]);
  EXPECT_EQ(after.values[sum.inputs[1]].shape, (Shape{3}));
  EXPECT_EQ(after.producer(sum.inputs[0]).inputs.size(), 1u);
  expect_same_results(graph, after, 0);
}

TEST(SimplifyBodies, KeepsWeightsOfOnes) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {2, 4});
  Tensor ones(DType::kF32, {4, 3});
  for (int64_t i = 0; i < 12; ++i) ones.set_f64(i, 1);
  set_output(graph, matmul(graph, "mm", x, graph.add_constant("ones", ones)));
  const Graph after = apply(simplify_bodies, graph);
  EXPECT_EQ(after.producer(after.outputs[0]).inputs.size(), 2u);
  expect_same_results(graph, after, 0);
}

}  // namespace
}  // namespace corf::rewrite
