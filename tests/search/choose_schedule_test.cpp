#include "search/choose_schedule.h"

#include <gtest/gtest.h>

#include "fusion/prepare.h"
#include "graph/operators.h"
#include "search/find_plan.h"

namespace corf::search {
namespace {

using fusion::Prefetch;
using graph::ScalarOp;
using graph::ValueId;

Machine wide_machine(int threads) {
  Machine machine;
  machine.isa = Isa::kAvx512;
  machine.threads = threads;
  machine.l1_bytes = 48 << 10;
  machine.l2_bytes = 2 << 20;
  return machine;
}

Tensor ones(const Shape& shape) {
  Tensor tensor(DType::kF32, shape);
  for (int64_t i = 0; i < tensor.num_elems(); ++i) tensor.set_f64(i, 1);
  return tensor;
}

/// Rows [m, k] times constant weights [k, n], followed by `terms` additions of whole tensors.
graph::Graph product(int64_t m, int64_t k, int64_t n, int terms) {
  graph::Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {m, k});
  ValueId y = graph::matmul(graph, "product", x, graph.add_constant("w", ones({k, n})));
  for (int i = 0; i < terms; ++i) {
    const std::string number = std::to_string(i);
    const ValueId term = graph.add_input("term" + number, DType::kF32, {m, n});
    const ValueId row = graph.add_constant("row" + number, ones({1, n}));
    y = graph::elementwise(graph, "sum" + number, {y, term, row},
                           [](graph::ScalarBody& body, const std::vector<int>& x) {
                             return body.apply(ScalarOp::kAdd,
                                               body.apply(ScalarOp::kMul, x[1], x[2]), x[0]);
                           });
  }
  graph.outputs = {y};
  graph.output_names = {"y"};
  return fusion::prepare(graph);
}

/// The schedule of the nest with a reduction.
fusion::ScheduledNest contraction(const graph::Graph& graph, const Machine& machine) {
  const fusion::FusionPlan plan = find_unfused_plan(graph, machine);
  for (const fusion::GroupPlan& group : plan.groups) {
    for (const fusion::ScheduledNest& nest : group.nests) {
      if (nest.nest->reduce_op >= 0) return nest;
    }
  }
  ADD_FAILURE() << "no contraction";
  return {};
}

TEST(ChooseSchedule, WhatFollowsASumDoesNotTurnItsVectors) {
  for (int terms : {0, 1, 4}) {
    const auto [nest, schedule] = contraction(product(64, 96, 256, terms), wide_machine(1));
    ASSERT_GE(schedule.vector_axis, 0);
    EXPECT_FALSE(nest->axes[static_cast<size_t>(schedule.vector_axis)].reduction)
        << terms << " terms";
    EXPECT_EQ(nest->axes[static_cast<size_t>(schedule.vector_axis)].extent, 256);
  }
}

TEST(ChooseSchedule, PanelsThatFewRowsShareAreFetchedAhead) {
  const Machine machine = wide_machine(2);
  EXPECT_EQ(contraction(product(49, 512, 2048, 0), machine).schedule.prefetch, Prefetch::kPanel);
  EXPECT_EQ(contraction(product(1, 2048, 1000, 0), machine).schedule.prefetch, Prefetch::kAhead);
  // Many rows hide the first use of a panel; few weights stay near.
  EXPECT_EQ(contraction(product(12544, 64, 512, 0), machine).schedule.prefetch, Prefetch::kNone);
  EXPECT_EQ(contraction(product(49, 16, 32, 0), machine).schedule.prefetch, Prefetch::kNone);
}

TEST(ChooseSchedule, HeadsSideBySideInARowNeedNoCopies) {
  // Attention's second product: column n of head b is element 64 b + n of a row.
  graph::Graph graph;
  const ValueId scores = graph.add_input("scores", DType::kF32, {3, 40, 40});
  const ValueId heads = graph.add_input("heads", DType::kF32, {3, 40, 64});
  const ValueId y = graph::matmul(graph, "product", scores, heads);
  const ValueId rows = graph.add_input("rows", DType::kF32, {40, 192});
  graph::Node& node = graph.nodes[static_cast<size_t>(graph.values[y].producer)];
  auto& compute = std::get<graph::Compute>(node.op);
  const int b = 0, n = 2, k = 3;
  ASSERT_EQ(compute.space.axes[n].extent, 64);
  node.inputs[1] = rows;
  compute.operands[1].map.exprs = {
      index::Expr::variable(k),
      index::Expr::variable(b) * index::Expr(64) + index::Expr::variable(n)};
  std::swap(graph.nodes[graph.nodes.size() - 2], graph.nodes.back());
  graph.values[y].producer = static_cast<graph::NodeId>(graph.nodes.size()) - 1;
  graph.values[rows].producer = static_cast<graph::NodeId>(graph.nodes.size()) - 2;
  graph.outputs = {y};
  graph.output_names = {"y"};
  graph = fusion::prepare(graph);
  const fusion::FusionPlan plan = find_unfused_plan(graph, wide_machine(1));
  ASSERT_EQ(plan.groups.size(), 1u);
  const auto& [nest, schedule] = plan.groups[0].nests[0];
  ASSERT_GE(schedule.vector_axis, 0);
  EXPECT_EQ(nest->axes[static_cast<size_t>(schedule.vector_axis)].extent, 64);
}

TEST(ChooseSchedule, LongProductsOfComputedFactorsTakeTwoSteps) {
  auto steps_of = [](int64_t k) {
    graph::Graph graph;
    const ValueId x = graph.add_input("x", DType::kF32, {96, k});
    const ValueId y = graph.add_input("y", DType::kF32, {k, 64});
    graph.outputs = {graph::matmul(graph, "product", x, y)};
    graph.output_names = {"z"};
    return contraction(fusion::prepare(graph), wide_machine(1)).schedule.reduction_unroll;
  };
  EXPECT_EQ(steps_of(64), 2);
  EXPECT_EQ(steps_of(65), 1);
  EXPECT_EQ(contraction(product(96, 64, 64, 0), wide_machine(1)).schedule.reduction_unroll, 1);
}

TEST(ChooseSchedule, VectorsThatLanesWouldNotFillTakeTwoSteps) {
  auto steps_of = [](int64_t rows, int64_t k, int64_t lanes) {
    return contraction(product(rows, k, lanes, 0), wide_machine(1)).schedule.lane_steps;
  };
  EXPECT_EQ(steps_of(56, 144, 24), 2);
  EXPECT_EQ(steps_of(56, 144, 40), 2);
  EXPECT_EQ(steps_of(56, 144, 32), 1);
  EXPECT_EQ(steps_of(56, 145, 24), 1);  // not an even number of steps
  EXPECT_EQ(steps_of(1, 144, 24), 1);   // memory decides
}

/// A depthwise convolution of an image of `pixels` squared, on the nest that reads channels last.
fusion::ScheduledNest depthwise(int64_t channels, int64_t pixels, int64_t window,
                                const Machine& machine) {
  graph::Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {1, channels, pixels, pixels});
  const ValueId w = graph.add_constant("w", ones({channels, 1, window, window}));
  const int64_t pad = window / 2;
  const graph::Window shape{{window, window}, {1, 1}, {1, 1}, {pad, pad}, {pad, pad}};
  graph.outputs = {graph::conv(graph, "conv", x, w, shape, channels)};
  graph.output_names = {"y"};
  return contraction(fusion::prepare(graph), machine);
}

TEST(ChooseSchedule, WindowsWithALoopSumTwoVectors) {
  EXPECT_EQ(depthwise(96, 14, 5, wide_machine(1)).schedule.vector_tile, 32);
  // All of a small window is in the tile.
  EXPECT_EQ(depthwise(96, 14, 3, wide_machine(1)).schedule.vector_tile, 16);
}

TEST(ChooseSchedule, RowsOfWindowsStayInTheFirstLevel) {
  // Three rows of 16 points of a vector are 3 KiB: eight of them take half of the first level.
  const auto [nest, schedule] = depthwise(512, 14, 3, wide_machine(1));
  EXPECT_EQ(schedule.block_axis, schedule.vector_axis);
  EXPECT_EQ(schedule.block_tiles, 8);
  // Few channels stay near anyway; large images come from far away, in long runs.
  EXPECT_EQ(depthwise(96, 14, 3, wide_machine(1)).schedule.block_axis, -1);
  EXPECT_EQ(depthwise(512, 56, 3, wide_machine(1)).schedule.block_axis, -1);
}

/// Channels of two groups, one after the other: each vector's elements go to every other place, and
/// those in between follow at once.
TEST(ChooseSchedule, WhatIsWrittenApartIsFilledUpAtOnce) {
  graph::Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {64, 2, 58});
  const ValueId turned = graph.add_view("turned", graph::Transpose{{0, 2, 1}}, {x}, {64, 58, 2});
  graph.outputs = {graph.add_view("shuffled", graph::Reshape{}, {turned}, {64, 116})};
  graph.output_names = {"y"};
  const fusion::FusionPlan plan = find_unfused_plan(fusion::prepare(graph), wide_machine(1));
  ASSERT_EQ(plan.groups.size(), 1u);
  const auto& [nest, schedule] = plan.groups[0].nests[0];
  ASSERT_GE(schedule.vector_axis, 0);
  EXPECT_EQ(nest->axes[static_cast<size_t>(schedule.vector_axis)].extent, 58);
  EXPECT_EQ(schedule.vector_tile, 16);
  ASSERT_EQ(schedule.register_tile.size(), 1u);
  EXPECT_EQ(schedule.register_tile[0].extent, 2);
}

}  // namespace
}  // namespace corf::search
