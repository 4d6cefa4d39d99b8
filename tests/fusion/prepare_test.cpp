#include "fusion/prepare.h"

#include "fusion/plan.h"
#include "rewrite/rewrite.h"
#include "tests/rewrite/compare.h"

namespace corf::fusion {
namespace {
using graph::Graph;

/// Scores of attention: queries and keys are parts of one value, four heads of 16 channels each.
Graph scores_of_one_projection() {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {1, 20, 24});
  const auto w = graph.add_constant("w", rewrite::random_tensor({24, 192}, 1));
  const auto projected = graph::matmul(graph, "project", x, w);
  const auto split = graph.add_view("split", graph::Reshape{}, {projected}, {1, 20, 3, 4, 16});
  const auto heads = [&](int64_t part, std::vector<int> permutation, Shape shape) {
    const auto sliced = graph.add_view("part", graph::Slice{{0, 0, part, 0, 0}, {1, 1, 1, 1, 1}},
                                       {split}, {1, 20, 1, 4, 16});
    const auto dense = graph.add_view("dense", graph::Reshape{}, {sliced}, {1, 20, 4, 16});
    return graph.add_view("moved", graph::Transpose{std::move(permutation)}, {dense},
                          std::move(shape));
  };
  rewrite::set_output(graph, graph::matmul(graph, "scores", heads(0, {0, 2, 1, 3}, {1, 4, 20, 16}),
                                           heads(1, {0, 2, 3, 1}, {1, 4, 16, 20})));
  return graph;
}

TEST(Prepare, TellsNodesAndValuesOfOneNameApart) {
  Graph graph;
  auto value = graph.add_input("x", DType::kF32, {8});
  for (const char* name : {"x", "x_1", "x"}) {
    value = rewrite::unary(graph, graph::ScalarOp::kExp, value);
    graph.nodes.back().name = graph.values[value].name = name;
  }
  rewrite::set_output(graph, value);
  const Graph prepared = prepare(graph);
  std::vector<std::string> nodes, values;
  for (const graph::Node& node : prepared.nodes) nodes.push_back(node.name);
  for (const graph::Value& value : prepared.values) values.push_back(value.name);
  EXPECT_EQ(nodes, (std::vector<std::string>{"x", "x_2", "x_1", "x_3"}));
  EXPECT_EQ(values, nodes);
}

/// Attention in windows of an image: no strides describe them, but an operator that copies them can
/// take along what is added, and run with its neighbours.
TEST(Prepare, WindowsOfAnImageAreAnOperator) {
  constexpr int64_t kWindows = 4, kEdge = 7, kChannels = 32;
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {kWindows * kEdge, kWindows * kEdge, kChannels});
  const auto y = graph.add_input("y", DType::kF32, {kWindows * kWindows, kEdge * kEdge, kChannels});
  const auto split =
      graph.add_view("split", graph::Reshape{}, {x}, {kWindows, kEdge, kWindows, kEdge, kChannels});
  const auto turned = graph.add_view("turned", graph::Transpose{{0, 2, 1, 3, 4}}, {split},
                                     {kWindows, kWindows, kEdge, kEdge, kChannels});
  const auto windows = graph.add_view("windows", graph::Reshape{}, {turned},
                                      {kWindows * kWindows, kEdge * kEdge, kChannels});
  rewrite::set_output(graph, rewrite::binary(graph, graph::ScalarOp::kAdd, windows, y));
  const Graph prepared = prepare(graph);
  EXPECT_EQ(rewrite::count_nodes<graph::View>(prepared), 0);
  const FusionPlan plan = plan_unfused(prepared);
  EXPECT_TRUE(plan.storage.copied_views.empty());
  EXPECT_EQ(plan.groups.size(), 1u);
  rewrite::expect_same_results(graph, prepared, 0);
}

/// Channels out of pixels, for a padded convolution: the copy lies as that reads it.
TEST(Prepare, MixedDimensionsLieAsTheirReadersWish) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {1, 8, 12, 16});
  const auto split = graph.add_view("split", graph::Reshape{}, {x}, {1, 8, 6, 2, 8, 2});
  const auto turned =
      graph.add_view("turned", graph::Transpose{{0, 3, 5, 1, 2, 4}}, {split}, {1, 2, 2, 8, 6, 8});
  const auto deep = graph.add_view("deep", graph::Reshape{}, {turned}, {1, 32, 6, 8});
  const auto w = graph.add_constant("w", rewrite::random_tensor({16, 32, 3, 3}, 2));
  rewrite::set_output(
      graph, graph::conv(graph, "conv", deep, w, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, 1));
  const Graph prepared = prepare(graph);
  EXPECT_EQ(rewrite::count_nodes<graph::View>(prepared), 0);
  const StoragePlan plan = plan_storage(prepared);
  for (const graph::Node& node : prepared.nodes) {
    if (node.name != "deep") continue;
    EXPECT_EQ(plan.values[node.outputs[0]].strides[1], 1);  // channels side by side
    EXPECT_TRUE(plan.values[node.outputs[0]].has_margins());
  }
  rewrite::expect_same_results(graph, prepared);
}

/// Each row of q times a matrix that other data choose: which that is, no copy knows beforehand.
TEST(Prepare, CopiesWhatOtherOperandsPointInto) {
  Graph graph;
  const auto q = graph.add_input("q", DType::kF32, {8, 64});
  const auto table = graph.add_input("table", DType::kF32, {1000, 32, 64});
  const auto rows = graph.add_input("rows", DType::kI64, {8});
  graph::Compute compute;
  compute.space.axes = {{"m", 8, index::AxisKind::kParallel},
                        {"n", 32, index::AxisKind::kParallel},
                        {"k", 64, index::AxisKind::kReduction}};
  const auto axis = [](int number) { return index::Expr::variable(number); };
  const int row = static_cast<int>(compute.space.axes.size()) + 2;  // what operand 2 holds
  compute.operands.resize(3);
  compute.operands[0].map.exprs = {axis(0), axis(2)};
  compute.operands[1].map.exprs = {min(max(axis(row), 0), 999), axis(1), axis(2)};
  compute.operands[2].map.exprs = {axis(0)};
  const int left = compute.body.operand(0, DType::kF32);
  compute.body.apply(graph::ScalarOp::kMul, left, compute.body.operand(1, DType::kF32));
  compute.combiner = graph::Combiner::kSum;
  rewrite::set_output(graph, graph.add_compute("scores", std::move(compute), {q, table, rows}));
  ASSERT_TRUE(graph::verify(graph));
  EXPECT_TRUE(graph::verify(prepare(graph)));
}

TEST(Prepare, CopiesThePartThatAProductReadsInAnotherOrder) {
  const Graph before = scores_of_one_projection();
  const auto rewritten = rewrite::rewrite(before, {});
  ASSERT_TRUE(rewritten.ok()) << rewritten.error().message;
  const Graph after = prepare(*rewritten);
  int copies = 0;
  for (const graph::Node& node : after.nodes) {
    if (node.origin != "Copy") continue;
    ++copies;
    // The keys, head by head, with what a vector takes side by side.
    EXPECT_EQ(after.values[node.outputs[0]].shape, (Shape{4, 16, 20}));
  }
  EXPECT_EQ(copies, 1);
  rewrite::expect_same_results(before, after, 1e-13);
}

}  // namespace
}  // namespace corf::fusion
