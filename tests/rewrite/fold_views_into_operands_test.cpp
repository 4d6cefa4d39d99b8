#include "rewrite/fold_views_into_operands.h"

#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Graph;
using graph::ScalarOp;

TEST(FoldViewsIntoOperands, HeadsAndTransposedKeysOfAttention) {
  Graph graph;
  const auto q = graph.add_input("q", DType::kF32, {2, 5, 12});
  const auto k = graph.add_input("k", DType::kF32, {2, 7, 12});
  const auto heads = [&](graph::ValueId x, int64_t rows, std::vector<int> permutation,
                         Shape shape) {
    const auto split = graph.add_view("split", graph::Reshape{}, {x}, {2, rows, 3, 4});
    return graph.add_view("moved", graph::Transpose{std::move(permutation)}, {split},
                          std::move(shape));
  };
  set_output(graph, matmul(graph, "qk", heads(q, 5, {0, 2, 1, 3}, {2, 3, 5, 4}),
                           heads(k, 7, {0, 2, 3, 1}, {2, 3, 4, 7})));
  const Graph after = apply(fold_views_into_operands, graph);
  EXPECT_EQ(after.nodes.size(), 3u);
  expect_same_results(graph, after, 1e-14);
}

TEST(FoldViewsIntoOperands, JoinedHeadsSplitTheSum) {
  Graph graph;
  const auto context = graph.add_input("context", DType::kF32, {2, 3, 5, 4});
  const auto moved =
      graph.add_view("moved", graph::Transpose{{0, 2, 1, 3}}, {context}, {2, 5, 3, 4});
  const auto joined = graph.add_view("joined", graph::Reshape{}, {moved}, {2, 5, 12});
  set_output(graph,
             matmul(graph, "project", joined, graph.add_constant("w", random_tensor({12, 7}, 1))));
  const Graph after = apply(fold_views_into_operands, graph);
  EXPECT_EQ(count_nodes<graph::View>(after), 0);
  const auto& project = std::get<graph::Compute>(after.producer(after.outputs[0]).op);
  ASSERT_EQ(project.space.axes.size(), 5u);
  EXPECT_EQ(project.space.axes[3].extent, 3);
  EXPECT_EQ(project.space.axes[4].extent, 4);
  expect_same_results(graph, after, 1e-14);
}

/// Two keys for six queries, as the exporters write it.
TEST(FoldViewsIntoOperands, HeadsThatShareAKeyReadItInPlace) {
  Graph graph;
  const auto q = graph.add_input("q", DType::kF32, {1, 6, 2, 4});
  const auto k = graph.add_input("k", DType::kF32, {1, 2, 5, 4});
  auto y = graph.add_view("apart", graph::Reshape{}, {k}, {1, 2, 1, 5, 4});
  y = graph.add_view("repeated", graph::Broadcast{}, {y}, {1, 2, 3, 5, 4});
  y = graph.add_view("heads", graph::Reshape{}, {y}, {1, 6, 5, 4});
  y = graph.add_view("turned", graph::Transpose{{0, 1, 3, 2}}, {y}, {1, 6, 4, 5});
  set_output(graph, matmul(graph, "qk", q, y));
  const Graph after = apply(fold_views_into_operands, graph);
  EXPECT_EQ(count_nodes<graph::View>(after), 0);
  expect_same_results(graph, after, 1e-14);
}

/// Every second element twice: the division is not of an axis itself.
TEST(FoldViewsIntoOperands, DivisionsThatCostSomethingStayViews) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {3, 4});
  auto y = graph.add_view("pairs", graph::Reshape{}, {x}, {6, 2});
  y = graph.add_view("turned", graph::Transpose{{1, 0}}, {y}, {2, 6});
  set_output(graph, reduce(graph, "sum", y, graph::Combiner::kSum, {0}, false));
  const Graph after = apply(fold_views_into_operands, graph);
  EXPECT_EQ(count_nodes<graph::View>(after), 1);  // the transposition is gone
  expect_same_results(graph, after, 1e-14);
}

TEST(FoldViewsIntoOperands, ChannelShufflesSplitTheSum) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {1, 12, 4, 4});
  auto y = graph.add_view("groups", graph::Reshape{}, {x}, {1, 3, 4, 4, 4});
  y = graph.add_view("swapped", graph::Transpose{{0, 2, 1, 3, 4}}, {y}, {1, 4, 3, 4, 4});
  y = graph.add_view("shuffled", graph::Reshape{}, {y}, {1, 12, 4, 4});
  y = graph.add_view("half", graph::Slice{{0, 6, 0, 0}, {1, 1, 1, 1}}, {y}, {1, 6, 4, 4});
  const auto w = graph.add_constant("w", random_tensor({5, 6, 3, 3}, 1));
  set_output(graph, conv(graph, "conv", y, w, window(3, 1, 1), 1));
  const Graph after = apply(fold_views_into_operands, graph);
  EXPECT_EQ(count_nodes<graph::View>(after), 0);
  expect_same_results(graph, after, 1e-14);
}

TEST(FoldViewsIntoOperands, PaddingBecomesTheGuardOfAConvolution) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {1, 2, 5, 5});
  const auto padded = graph.add_view("pad", graph::Pad{{0, 0, 1, 2}, 0}, {x}, {1, 2, 7, 8});
  const auto w = graph.add_constant("w", random_tensor({3, 2, 3, 3}, 1));
  set_output(graph, conv(graph, "conv", padded, w, window(3, 1, 1), 1));
  const Graph after = apply(fold_views_into_operands, graph);
  EXPECT_EQ(count_nodes<graph::View>(after), 0);
  expect_same_results(graph, after, 0);
}

TEST(FoldViewsIntoOperands, KeepsPaddingOfAnotherValue) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {1, 2, 5, 5});
  const auto padded = graph.add_view("pad", graph::Pad{{0, 0, 1, 1}, 3}, {x}, {1, 2, 7, 7});
  const auto w = graph.add_constant("w", random_tensor({3, 2, 3, 3}, 1));
  set_output(graph, conv(graph, "conv", padded, w, window(3, 1, 1), 1));
  const Graph after = apply(fold_views_into_operands, graph);
  EXPECT_EQ(count_nodes<graph::View>(after), 1);
  expect_same_results(graph, after, 0);
}

TEST(FoldViewsIntoOperands, SlicesOfChannelsUnderAPaddedWindow) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {1, 6, 5, 5});
  const auto half =
      graph.add_view("half", graph::Slice{{0, 5, 0, 0}, {1, -2, 1, 1}}, {x}, {1, 3, 5, 5});
  const auto rows =
      graph.add_view("rows", graph::Slice{{0, 0, 1, 0}, {1, 1, 1, 1}}, {x}, {1, 6, 3, 5});
  const auto w3 = graph.add_constant("w3", random_tensor({2, 3, 3, 3}, 1));
  const auto w6 = graph.add_constant("w6", random_tensor({2, 6, 3, 3}, 2));
  set_output(graph, conv(graph, "of_half", half, w3, window(3, 1, 1), 1));
  // Beyond the slice's rows lie rows of x, not padding: this one stays.
  set_output(graph, conv(graph, "of_rows", rows, w6, window(3, 1, 1), 1));
  const Graph after = apply(fold_views_into_operands, graph);
  EXPECT_EQ(count_nodes<graph::View>(after), 1);
  expect_same_results(graph, after, 0);
}

TEST(FoldViewsIntoOperands, BroadcastsOfElementwiseOperands) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {4, 6});
  const auto row = graph.add_input("row", DType::kF32, {6});
  const auto wide = graph.add_view("wide", graph::Broadcast{}, {row}, {4, 6});
  set_output(graph, binary(graph, ScalarOp::kMul, x, wide));
  const Graph after = apply(fold_views_into_operands, graph);
  EXPECT_EQ(count_nodes<graph::View>(after), 0);
  expect_same_results(graph, after, 0);
}

}  // namespace
}  // namespace corf::rewrite
