#include "rewrite/sum_rows_first.h"

#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Compute;
using graph::Graph;
using graph::ScalarOp;

/// A pool of what some operator makes.
Graph pooled(Shape shape, bool keep_dims) {
  Graph graph;
  const auto x = unary(graph, ScalarOp::kAbs, graph.add_input("x", DType::kF32, std::move(shape)));
  set_output(graph, graph::reduce(graph, "sum", x, graph::Combiner::kSum, {2, 3}, keep_dims));
  return graph;
}

TEST(SumRowsFirst, OfLargeImages) {
  for (bool keep_dims : {true, false}) {
    const Graph graph = pooled({2, 3, 30, 31}, keep_dims);
    const Graph after = apply(sum_rows_first, graph);
    ASSERT_EQ(count_nodes<Compute>(after), 3);
    const auto& sum = after.producer(after.outputs[0]);
    EXPECT_EQ(after.values[sum.inputs[0]].shape, (Shape{2, 3, 30, 1}));
    expect_same_results(graph, after);
  }
}

TEST(SumRowsFirst, NotOfSmallOnes) {
  EXPECT_EQ(count_nodes<Compute>(apply(sum_rows_first, pooled({1, 8, 14, 14}, true))), 2);
  EXPECT_EQ(count_nodes<Compute>(apply(sum_rows_first, pooled({1, 8, 800, 1}, true))), 2);
}

}  // namespace
}  // namespace corf::rewrite
