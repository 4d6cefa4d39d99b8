/// Walks of groups with several readers, several results, and views between stages.
#include <algorithm>
#include <gtest/gtest.h>

#include "fusion/prepare.h"
#include "tests/fusion/walks.h"

namespace corf::fusion {
namespace {

/// The stages of the operators with these names.
std::vector<Stage> first_and_second(const Graph& graph, const FusionPlan& plan) {
  std::vector<Stage> stages;
  for (const GroupPlan& part : plan.groups) {
    const std::string& name = graph.nodes[part.stages[0].nodes[0]].name;
    if (name == "first" || name == "second") stages.push_back(part.stages[0]);
  }
  return stages;
}

TEST(ResolveWalk, WhatOthersReadIsNotWrittenTwice) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {1, 4, 8, 8});
  const ValueId mid = conv(graph, "first", x, 4, 3, 1, 1);
  const ValueId y = conv(graph, "second", mid, 4, 3, 1, 1);
  Graph source = graph;
  source.outputs = {mid, y};
  source.output_names = {"mid", "y"};
  const Graph prepared = prepare(source);
  const FusionPlan plan = plan_unfused(prepared);
  const std::vector<Stage> stages = first_and_second(prepared, plan);
  ASSERT_EQ(stages.size(), 2u);
  auto refused = resolve_walk(prepared, plan.storage, stages, stream(kRows, 2, 2));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "'first' cannot walk in step with the group: what other groups read would be written "
            "by two workers");
  // One worker may write what the others read; the second stage reads a ring all the same.
  auto legal = resolve_walk(prepared, plan.storage, stages, stream(kRows, 2));
  ASSERT_TRUE(legal) << legal.error().message;
  EXPECT_EQ(legal->rings.size(), 1u);
}

/// What others read too lies in a ring besides, where another worker would zero its margins or make
/// some of its rows.
TEST(ResolveWalk, WhatOthersReadTooIsARingAndStored) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {2, 4, 8, 8});
  const ValueId mid = conv(graph, "first", x, 4, 3, 1, 1);
  const ValueId y = conv(graph, "second", mid, 4, 3, 1, 1);
  const ValueId other = conv(graph, "third", mid, 4, 3, 1, 1);
  graph.outputs = {y, other};
  graph.output_names = {"y", "z"};
  const Graph prepared = prepare(graph);
  const FusionPlan plan = plan_unfused(prepared);
  const std::vector<Stage> stages = first_and_second(prepared, plan);
  ASSERT_EQ(stages.size(), 2u);
  StripSchedule schedule = stream(kRows, 2, 2);
  for (const bool outer : {true, false}) {
    schedule.outer.clear();
    if (outer) schedule.outer.push_back({0, 1});
    schedule.partition_loop = 0;
    schedule.partitions = 2;
    auto walk = resolve_walk(prepared, plan.storage, stages, schedule);
    ASSERT_TRUE(walk) << walk.error().message;
    ASSERT_EQ(walk->rings.size(), 1u);
    EXPECT_TRUE(walk->rings[0].stored);
    EXPECT_NE(walk->rings[0].place.root, plan.storage.values[walk->rings[0].value].root);
    EXPECT_EQ(walk->stages[0].overlaps, !outer);
    schedule.partitions = 1;
    walk = resolve_walk(prepared, plan.storage, stages, schedule);
    ASSERT_TRUE(walk) << walk.error().message;
    EXPECT_TRUE(walk->rings.empty());
  }
}

/// All stages of an unfused plan, in its order.
std::vector<Stage> all_stages(const FusionPlan& plan) {
  std::vector<Stage> stages;
  for (const GroupPlan& part : plan.groups) {
    if (part.kind == GroupKind::kCompute) stages.push_back(part.stages[0]);
  }
  return stages;
}

/// A fire module: two convolutions of one value, side by side in one buffer, read as a whole.
TEST(ResolveWalk, PartsOfAConcatenationShareARing) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {1, 4, 8, 8});
  const ValueId mid = conv(graph, "squeeze", x, 4, 1, 1, 0);
  const ValueId a = conv(graph, "one", mid, 8, 1, 1, 0);
  const ValueId b = conv(graph, "three", mid, 16, 3, 1, 1);
  const ValueId both = graph.add_view("both", graph::Concat{1}, {a, b}, {1, 24, 8, 8});
  const ValueId tail =
      graph.add_view("tail", graph::Slice{{0, 8, 0, 0}, {1, 1, 1, 1}}, {both}, {1, 16, 8, 8});
  const ValueId y = conv(graph, "whole", both, 4, 3, 1, 1);
  const ValueId z = conv(graph, "part", tail, 4, 1, 1, 0);
  graph.outputs = {
      graph::elementwise(graph, "sum", {y, z}, [](ScalarBody& body, const std::vector<int>& in) {
        return body.apply(ScalarOp::kAdd, in[0], in[1]);
      })};
  graph.output_names = {"y"};
  const Graph prepared = prepare(graph);
  const FusionPlan plan = plan_unfused(prepared);
  const std::vector<Stage> stages = all_stages(plan);
  ASSERT_EQ(stages.size(), 5u);
  auto walk = resolve_walk(prepared, plan.storage, stages, stream(kRows, 2, 2));
  ASSERT_TRUE(walk) << walk.error().message;
  const auto shared = std::find_if(walk->rings.begin(), walk->rings.end(),
                                   [](const WalkRing& ring) { return ring.stages.size() == 2; });
  ASSERT_NE(shared, walk->rings.end());
  EXPECT_EQ(prepared.values[shared->value].name, "both");
  EXPECT_EQ(shared->produced.size(), 2u);
  EXPECT_EQ(shared->rows, 4);
  // The second part lies behind the first part's channels.
  const Storage* second = shared->place_of(shared->produced[1]);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->offset, shared->place.offset + 8);
  EXPECT_EQ(second->strides, shared->place.strides);
  EXPECT_EQ(walk->ring_of(shared->produced[0]), &*shared);
}

/// Streamed along the parts of a concatenation, a part is made by those workers alone to whom its
/// rows belong.
TEST(ResolveWalk, APartOfAConcatenationIsMadeByOneWorker) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {1, 4, 8, 8});
  const ValueId old = conv(graph, "old", x, 24, 1, 1, 0);
  const ValueId part = conv(graph, "first", x, 8, 3, 1, 1);
  const ValueId both = graph.add_view("both", graph::Concat{1}, {old, part}, {1, 32, 8, 8});
  const ValueId y = graph::pool(graph, "second", both, Combiner::kMax,
                                {{2, 2}, {2, 2}, {1, 1}, {0, 0}, {0, 0}}, {4, 4});
  graph.outputs = {y};
  graph.output_names = {"y"};
  const Graph prepared = prepare(graph);
  const FusionPlan plan = plan_unfused(prepared);
  const std::vector<Stage> stages = first_and_second(prepared, plan);
  ASSERT_EQ(stages.size(), 2u);
  constexpr int kChannels = 1;
  auto walk = resolve_walk(prepared, plan.storage, stages, stream(kChannels, 16, 2));
  ASSERT_TRUE(walk) << walk.error().message;
  EXPECT_EQ(walk->stages[0].partition_rows, (Values{0, 8}));
  EXPECT_EQ(walk->stages[1].partition_rows, (Values{16, 16}));
}

/// Two readers of one value, neither of which reads the other.
TEST(ResolveWalk, WhatNobodyReadsKeepsStep) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {1, 4, 8, 8});
  const ValueId mid = conv(graph, "first", x, 4, 3, 1, 1);
  const ValueId half = conv(graph, "half", mid, 4, 3, 2, 1);
  const ValueId full = conv(graph, "full", mid, 4, 1, 1, 0);
  graph.outputs = {half, full};
  graph.output_names = {"half", "full"};
  const FusionPlan plan = plan_unfused(graph);  // its outputs are copied in the end
  const Graph& prepared = graph;
  const std::vector<Stage> stages = all_stages(plan);
  ASSERT_EQ(stages.size(), 3u);
  auto walk = resolve_walk(prepared, plan.storage, stages, stream(kRows, 2));
  ASSERT_TRUE(walk) << walk.error().message;
  EXPECT_EQ(walk->rings.size(), 1u);
  EXPECT_TRUE(walk->stages[1].is_sink);
  EXPECT_FALSE(walk->stages[0].is_sink);
  EXPECT_EQ(done_rows(*walk, 2), (Values{2, 4, 6, 8}));
  EXPECT_EQ(done_rows(*walk, 1), (Values{1, 2, 3, 4}));  // rows 2 r - 1 to 2 r + 1 of the first
  EXPECT_EQ(done_rows(*walk, 0), (Values{2, 4, 6, 8}));
  StripSchedule chunks = stream(kRows, 2);
  chunks.scatter = StripSchedule::Scatter{4, 2};
  auto refused = resolve_walk(prepared, plan.storage, stages, chunks);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "'half' cannot walk in step with the group: no later stage reads it, and chunks are "
            "scattered");
}

}  // namespace
}  // namespace corf::fusion
