#include "rewrite/eliminate_common_subexpressions.h"

#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Graph;
using graph::ScalarOp;

TEST(EliminateCommonSubexpressions, EqualNodesOfEqualConstants) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {2, 3});
  const auto a = with_constant(graph, ScalarOp::kMul, x, 3);
  const auto b = with_constant(graph, ScalarOp::kMul, x, 3);
  const auto c = with_constant(graph, ScalarOp::kMul, x, 4);
  set_output(graph, binary(graph, ScalarOp::kAdd, binary(graph, ScalarOp::kSub, a, c),
                           binary(graph, ScalarOp::kSub, b, c)));
  const Graph after = apply(eliminate_common_subexpressions, graph);
  // x, 3, 4, two products, one difference, the sum.
  EXPECT_EQ(after.nodes.size(), 7u);
  expect_same_results(graph, after, 0);
}

TEST(EliminateCommonSubexpressions, KeepsViewsOfDifferentShapes) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {4, 1});
  const auto a = graph.add_view("a", graph::Reshape{}, {x}, {2, 2});
  const auto b = graph.add_view("b", graph::Reshape{}, {x}, {1, 4});
  const auto c = graph.add_view("c", graph::Reshape{}, {x}, {2, 2});
  set_output(graph, a);
  set_output(graph, b);
  set_output(graph, c);
  const Graph after = apply(eliminate_common_subexpressions, graph);
  EXPECT_EQ(count_nodes<graph::View>(after), 2);
  EXPECT_EQ(after.outputs[0], after.outputs[2]);
  expect_same_results(graph, after, 0);
}

}  // namespace
}  // namespace corf::rewrite
