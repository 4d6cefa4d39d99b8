#include "rewrite/remove_identities.h"

#include "rewrite/simplify_bodies.h"
#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Graph;
using graph::ScalarOp;

TEST(RemoveIdentities, ArithmeticThatDoesNothing) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {2, 3});
  auto y = with_constant(graph, ScalarOp::kMul, x, 1);
  y = with_constant(graph, ScalarOp::kSub, y, 0);
  y = with_constant(graph, ScalarOp::kDiv, y, 1);
  y = with_constant(graph, ScalarOp::kPow, y, 1);
  set_output(graph, y);
  const Graph after = apply(remove_identities, apply(simplify_bodies, graph));
  EXPECT_EQ(after.nodes.size(), 1u);
  EXPECT_EQ(after.outputs[0], after.inputs[0]);
  expect_same_results(graph, after, 0);
}

TEST(RemoveIdentities, KeepsAddingZerosThatBroadcast) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {1, 3});
  const auto zeros = graph.add_constant("zeros", Tensor(DType::kF32, {2, 3}));
  set_output(graph, binary(graph, ScalarOp::kAdd, x, zeros));
  const Graph after = apply(remove_identities, apply(simplify_bodies, graph));
  EXPECT_EQ(after.values[after.outputs[0]].shape, (Shape{2, 3}));
  expect_same_results(graph, after, 0);
}

}  // namespace
}  // namespace corf::rewrite
