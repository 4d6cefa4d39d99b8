#include "rewrite/remove_dead_nodes.h"

#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Graph;
using graph::ScalarOp;

TEST(RemoveDeadNodes, KeepsWhatOutputsNeedAndAllInputs) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {2, 3});
  graph.add_input("unread", DType::kF32, {4});
  const auto y = unary(graph, ScalarOp::kAbs, x);
  unary(graph, ScalarOp::kExp, y);
  graph.add_constant("unread_constant", random_tensor({5}, 1));
  set_output(graph, y);

  const Graph after = apply(remove_dead_nodes, graph);
  EXPECT_EQ(after.nodes.size(), 3u);
  EXPECT_EQ(after.values.size(), 3u);
  EXPECT_EQ(after.inputs.size(), 2u);
  expect_same_results(graph, after, 0);
}

}  // namespace
}  // namespace corf::rewrite
