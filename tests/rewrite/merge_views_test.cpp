#include "rewrite/merge_views.h"

#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Concat;
using graph::Graph;
using graph::Reshape;
using graph::ScalarOp;
using graph::Slice;
using graph::Transpose;

TEST(MergeViews, ReshapesAndTransposesThatCancel) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {2, 3, 4});
  auto y = graph.add_view("a", Reshape{}, {x}, {6, 4});
  y = graph.add_view("b", Reshape{}, {y}, {2, 3, 4});
  y = graph.add_view("c", Transpose{{2, 0, 1}}, {y}, {4, 2, 3});
  y = graph.add_view("d", Transpose{{1, 2, 0}}, {y}, {2, 3, 4});
  set_output(graph, y);
  const Graph after = apply(merge_views, graph);
  EXPECT_EQ(after.nodes.size(), 1u);
  expect_same_results(graph, after, 0);
}

TEST(MergeViews, TransposesOfOnesAreReshapes) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {2, 1, 4, 1});
  const auto y = graph.add_view("a", Transpose{{1, 0, 3, 2}}, {x}, {1, 2, 1, 4});
  set_output(graph, graph.add_view("b", Reshape{}, {y}, {8}));
  const Graph after = apply(merge_views, graph);
  EXPECT_EQ(after.nodes.size(), 2u);
  expect_same_results(graph, after, 0);
}

TEST(MergeViews, SlicesOfSlicesAlsoBackwards) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {20, 3});
  const auto y = graph.add_view("a", Slice{{18, 0}, {-2, 1}}, {x}, {9, 3});
  set_output(graph, graph.add_view("b", Slice{{1, 2}, {3, -1}}, {y}, {3, 3}));
  const Graph after = apply(merge_views, graph);
  EXPECT_EQ(after.nodes.size(), 2u);
  expect_same_results(graph, after, 0);
}

TEST(MergeViews, SlicesOfOnePartOfAConcatenation) {
  Graph graph;
  const auto a = graph.add_input("a", DType::kF32, {2, 3});
  const auto b = graph.add_input("b", DType::kF32, {2, 5});
  const auto both = graph.add_view("both", Concat{1}, {a, b}, {2, 8});
  set_output(graph, graph.add_view("of_b", Slice{{0, 4}, {1, 2}}, {both}, {2, 2}));
  set_output(graph, graph.add_view("across", Slice{{0, 2}, {1, 1}}, {both}, {2, 2}));
  const Graph after = apply(merge_views, graph);
  EXPECT_EQ(after.producer(after.outputs[0]).inputs[0], after.inputs[1]);
  EXPECT_EQ(count_nodes<graph::View>(after), 3);
  expect_same_results(graph, after, 0);
}

TEST(MergeViews, ConcatenationsOfConcatenations) {
  Graph graph;
  const auto a = graph.add_input("a", DType::kF32, {2, 3});
  const auto b = graph.add_input("b", DType::kF32, {2, 1});
  const auto empty = graph.add_input("empty", DType::kF32, {2, 0});
  const auto one = graph.add_view("one", Concat{1}, {a}, {2, 3});
  const auto two = graph.add_view("two", Concat{1}, {one, b}, {2, 4});
  set_output(graph, graph.add_view("three", Concat{1}, {two, empty, a}, {2, 7}));
  const Graph after = apply(merge_views, graph);
  ASSERT_EQ(count_nodes<graph::View>(after), 1);
  EXPECT_EQ(after.producer(after.outputs[0]).inputs.size(), 3u);
  expect_same_results(graph, after, 0);
}

}  // namespace
}  // namespace corf::rewrite
