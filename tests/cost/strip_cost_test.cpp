#include <gtest/gtest.h>

#include "cost/group_cost.h"
#include "fusion/prepare.h"
#include "graph/operators.h"
#include "search/choose_strips.h"
#include "search/find_plan.h"

namespace corf::cost {
namespace {

using graph::Combiner;
using graph::Graph;
using graph::ValueId;

Machine two_cores() {
  Machine machine;
  machine.isa = Isa::kAvx512;
  machine.threads = 2;
  machine.fma_gflops_core = 240, machine.fma_gflops_all = 480;
  machine.l1_gbps_core = 380, machine.l2_gbps_core = 190, machine.l3_gbps_core = 31;
  machine.l3_gbps_all = 60, machine.dram_gbps_all = 40;
  machine.remote_gbps_core = 10;
  machine.barrier_ns = 200;
  return machine;
}

ValueId conv(Graph& graph, const std::string& name, ValueId x, int64_t inputs, int64_t outputs) {
  const ValueId w = graph.add_constant(name + ".w", Tensor(DType::kF32, {outputs, inputs, 3, 3}));
  return graph::conv(graph, name, x, w, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, 1);
}

/// The last 32 of 64 channels of a concatenation are made by a convolution, and all of them pooled.
/// Where two workers share out the channels, one of them makes that part alone: the kernel takes
/// as long as the convolution does on one worker.
TEST(StripCost, WhatOneWorkerMakesAloneIsNotSharedOut) {
  Graph source;
  const ValueId x = source.add_input("x", DType::kF32, {1, 64, 28, 28});
  const ValueId old = conv(source, "old", x, 64, 32), part = conv(source, "part", x, 64, 32);
  const ValueId both = source.add_view("both", graph::Concat{1}, {old, part}, {1, 64, 28, 28});
  source.outputs = {graph::pool(source, "pooled", both, Combiner::kMax,
                                {{2, 2}, {2, 2}, {1, 1}, {0, 0}, {0, 0}}, {14, 14})};
  source.output_names = {"y"};
  const Graph graph = fusion::prepare(source);
  const Machine machine = two_cores();
  const Model model(machine);
  const fusion::FusionPlan unfused = search::find_unfused_plan(graph, machine);
  fusion::GroupPlan joined;
  for (const fusion::GroupPlan& group : unfused.groups) {
    if (group.kind != fusion::GroupKind::kCompute) continue;
    const std::string& name = graph.nodes[group.stages[0].nodes[0]].name;
    if (name == "part" || name == "pooled") joined.stages.push_back(group.stages[0]);
  }
  ASSERT_EQ(joined.stages.size(), 2u);
  auto compute_of = [&](int64_t partitions) {
    fusion::StripSchedule strips;
    strips.stream_dim = 1;
    strips.strip = 32;
    strips.partitions = partitions;
    fusion::GroupPlan group = joined;
    auto walk = fusion::resolve_walk(graph, unfused.storage, group.stages, strips);
    EXPECT_TRUE(walk) << walk.error().message;
    group.walk = walk.take();
    fusion::WalkCache walks(graph, unfused.storage);
    search::StageSchedules schedules(graph, unfused.storage, machine, walks);
    EXPECT_TRUE(search::schedule_stages(schedules, group));
    return predict(graph, unfused.storage, group, model, {}).compute;
  };
  const double alone = compute_of(1), shared = compute_of(2);
  EXPECT_GT(shared, 0.9 * alone);
  EXPECT_LT(shared, alone);  // the pool is shared out
}

/// Weights that one operator reads are fetched while that operator computes, not while another of
/// the same kernel does.
TEST(GroupCost, WeightsDoNotHideBehindAnotherOperatorsArithmetic) {
  GroupCost apart, together;
  apart.compute = together.compute = 1000;
  apart.streamed = together.streamed = 800;
  apart.waited = 700;  // the operator that reads them computes for 100 cycles
  EXPECT_NEAR(together.total(), 1000, 200);
  EXPECT_EQ(apart.total(), 1700);
}

/// What is written costs what the machine takes to write it, not to read it twice.
TEST(GroupCost, WritingIsPricedAsMeasured) {
  Graph source;
  const ValueId x = source.add_input("x", DType::kF32, {1, 64, 112, 112});
  source.outputs = {conv(source, "conv", x, 64, 64)};
  source.output_names = {"y"};
  const Graph graph = fusion::prepare(source);
  auto memory_of = [&](double write_gbps) {
    Machine machine = two_cores();
    machine.l3_write_gbps_all = write_gbps;
    machine.l2_write_gbps_core = 190;
    const fusion::FusionPlan plan = search::find_unfused_plan(graph, machine);
    return predict(graph, plan.storage, plan.groups.back(), Model(machine)).memory;
  };
  EXPECT_GT(memory_of(20), 1.3 * memory_of(60));
}

}  // namespace
}  // namespace corf::cost
