#include <gtest/gtest.h>

#include "fusion/prepare.h"
#include "fusion/resolve.h"
#include "graph/evaluate.h"
#include "graph/operators.h"
#include "loop/interpret.h"
#include "search/choose_strips.h"
#include "search/find_plan.h"
#include "tests/fusion/productions.h"
#include "tests/lower/lowered.h"

namespace corf {
namespace {

using fusion::GroupPlan;
using graph::ValueId;

Tensor small_integers(const Shape& shape) {
  Tensor tensor(DType::kF32, shape);
  for (int64_t i = 0; i < tensor.num_elems(); ++i) {
    tensor.set_f64(i, static_cast<double>(i * 7 % 5 - 2));
  }
  return tensor;
}

/// Two padded 3x3 convolutions of an image of three rows, in strips of one row.
struct ThreeRows {
  graph::Graph graph;
  Machine machine;
  fusion::FusionPlan plan;

  ThreeRows() {
    graph::Graph source;
    ValueId x = source.add_input("x", DType::kF32, {1, 8, 3, 6});
    const graph::Window window{{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
    for (const char* name : {"first", "second"}) {
      const ValueId w = source.add_constant(std::string(name) + "_w", small_integers({8, 8, 3, 3}));
      x = graph::conv(source, name, x, w, window, 1);
    }
    source.outputs = {x};
    source.output_names = {"y"};
    graph = fusion::prepare(source);
    machine.isa = Isa::kAvx2;
    plan = search::find_unfused_plan(graph, machine);
    GroupPlan group;
    for (const GroupPlan& part : plan.groups) group.stages.push_back(part.stages[0]);
    fusion::StripSchedule strips;
    strips.stream_dim = 2;
    auto resolved = fusion::resolve_walk(graph, plan.storage, group.stages, strips);
    EXPECT_TRUE(resolved) << resolved.error().message;
    group.walk = resolved.take();
    fusion::WalkCache walks(graph, plan.storage);
    search::StageSchedules schedules(graph, plan.storage, machine, walks);
    EXPECT_TRUE(search::schedule_stages(schedules, group));
    plan.groups = {group};
  }

  const fusion::Walk& walk() const { return *plan.groups[0].walk; }
  fusion::ScheduledNest& stage(size_t i) { return plan.groups[0].nests[i]; }

  /// Compares with the reference and counts productions.
  void expect_right() {
    const std::vector<Tensor> inputs = {small_integers({1, 8, 3, 6})};
    auto expected = graph::evaluate(graph, inputs);
    ASSERT_TRUE(expected);
    auto program = test::lowered(graph, plan);
    ASSERT_TRUE(program) << program.error().message;
    auto actual = loop::interpret(*program, inputs);
    ASSERT_TRUE(actual) << actual.error().message;
    for (int64_t i = 0; i < (*expected)[0].num_elems(); ++i) {
      ASSERT_EQ((*expected)[0].at_f64(i), (*actual)[0].at_f64(i)) << i;
    }
    const auto made = test::count_productions(program->kernels[0], 1, walk());
    for (size_t ring = 0; ring < made.size(); ++ring) {
      EXPECT_EQ(made[ring].most, 1);
      EXPECT_EQ(static_cast<int64_t>(made[ring].elements[0].size()),
                num_elems(graph.values[walk().rings[ring].value].shape));
    }
  }
};

/// The last strips find all rows there: the tile that is not whole must not run once more.
TEST(LoweredStrips, StripsThatNeedNothingNewMakeNothing) {
  ThreeRows tested;
  const size_t first = 1;  // behind the copy of the input
  ASSERT_EQ(tested.walk().stages[first].granule, 2);
  fusion::ScheduledNest& stage = tested.stage(first);
  int rows = -1;
  for (size_t axis = 0; axis < stage.nest->axes.size(); ++axis) {
    if (stage.nest->axes[axis].shared >= 0) rows = static_cast<int>(axis);
  }
  stage.schedule.register_tile = {{rows, 2}};
  ASSERT_TRUE(fusion::check_schedule(stage.nest, stage.schedule));
  ASSERT_TRUE(fusion::check_strip_tiles(tested.plan.groups[0]));
  tested.expect_right();
}

/// Of an unrolled run of steps the first stands for all.
TEST(LoweredStrips, UnrolledStepsAreFetchedAheadTogether) {
  for (auto prefetch : {fusion::Prefetch::kAhead, fusion::Prefetch::kPanel}) {
    ThreeRows tested;
    fusion::NestSchedule& schedule = tested.stage(1).schedule;
    ASSERT_GE(schedule.vector_axis, 0);
    schedule.unrolled_reductions.insert(schedule.unrolled_reductions.end(),
                                        schedule.reduction_order.begin(),
                                        schedule.reduction_order.end());
    schedule.reduction_order.clear();
    schedule.prefetch = prefetch;
    ASSERT_TRUE(fusion::check_schedule(tested.stage(1).nest, schedule));
    tested.expect_right();
  }
}

TEST(LoweredStrips, PrefetchTakesVectors) {
  ThreeRows tested;
  fusion::NestSchedule& schedule = tested.stage(1).schedule;
  schedule.vector_axis = -1;
  schedule.vector_tile = 1;
  schedule.prefetch = fusion::Prefetch::kPanel;
  EXPECT_FALSE(fusion::check_schedule(tested.stage(1).nest, schedule));
}

}  // namespace
}  // namespace corf
