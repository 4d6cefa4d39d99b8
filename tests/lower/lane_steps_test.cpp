#include "fusion/lane_steps.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>

#include "driver/pipeline.h"
#include "fusion/prepare.h"
#include "graph/evaluate.h"
#include "graph/operators.h"
#include "search/find_plan.h"
#include "tests/lower/run_plan.h"

namespace corf {
namespace {

using fusion::NestSchedule;
using graph::Graph;
using graph::ValueId;

/// Small integers: sums of their products are the same in any order.
Tensor integers(Shape shape, std::mt19937& random) {
  Tensor tensor(DType::kF32, std::move(shape));
  for (int64_t i = 0; i < tensor.num_elems(); ++i) tensor.set_f64(i, int(random() % 5) - 2);
  return tensor;
}

class LaneSteps : public testing::TestWithParam<Isa> {
 public:
  int64_t pick(int64_t lo, int64_t hi) {
    return lo + static_cast<int64_t>(random_() % static_cast<uint64_t>(hi - lo + 1));
  }

  Graph convolution(const Shape& image, int64_t outputs) {
    Graph graph;
    graph::Window window;
    Shape weights{outputs, image[1]};
    for (int d = 0; d < 2; ++d) {
      weights.push_back(pick(0, 2) == 0 ? 3 : 1);
      window.kernel.push_back(weights.back());
      window.strides.push_back(pick(1, 2));
      window.dilations.push_back(1);
      window.pads_begin.push_back(pick(0, 1));
      window.pads_end.push_back(pick(0, 1));
    }
    // What the plan lays out is channels last.
    const ValueId x = graph.add_input("x", DType::kF32, image);
    const ValueId v = graph.add_constant("v", integers({image[1], image[1], 1, 1}, random_));
    const ValueId middle =
        graph::conv(graph, "in", x, v, {{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}}, 1);
    const ValueId w = graph.add_constant("w", integers(weights, random_));
    const ValueId bias = graph.add_constant("bias", integers({outputs, 1, 1}, random_));
    ValueId y = graph::conv(graph, "conv", middle, w, window, 1);
    y = graph::elementwise(graph, "add", {y, bias},
                           [](graph::ScalarBody& body, const std::vector<int>& x) {
                             return body.apply(graph::ScalarOp::kAdd, x[0], x[1]);
                           });
    graph.outputs = {y};
    graph.output_names = {"y"};
    return graph;
  }

  /// Two steps a vector, a random tile; nullopt if the nest takes none.
  std::optional<NestSchedule> with_steps(const fusion::Nest& nest,
                                         const fusion::StoragePlan& storage,
                                         NestSchedule schedule) {
    if (!nest.contraction || schedule.vector_axis < 0) return std::nullopt;
    auto &loops = schedule.reduction_order, &unrolled = schedule.unrolled_reductions;
    loops.insert(loops.begin(), unrolled.begin(), unrolled.end());
    unrolled.clear();
    schedule.prefetch = fusion::Prefetch::kNone;
    schedule.matrix = 0;
    schedule.lane_steps = fusion::kLaneSteps;
    schedule.vector_tile = std::min(nest.axes[schedule.vector_axis].extent, pick(1, 30));
    schedule.reduction_unroll = static_cast<int>(pick(1, 2));
    for (auto& tiled : schedule.register_tile) tiled.extent = pick(1, 4);
    std::sort(loops.begin(), loops.end());
    do {
      const bool legal = fusion::check_schedule(nest, schedule).ok() &&
                         fusion::check_lane_steps(nest, storage, schedule).ok();
      if (legal) return schedule;
    } while (std::next_permutation(loops.begin(), loops.end()));
    return std::nullopt;
  }

  /// Lanes along a sum, a random tile; nullopt if the nest is no contraction.
  std::optional<NestSchedule> along_sum(const fusion::Nest& nest,
                                        const fusion::StoragePlan& /*storage*/,
                                        NestSchedule schedule) {
    if (!nest.contraction) return std::nullopt;
    const auto num_axes = static_cast<int64_t>(nest.axes.size());
    schedule.vector_axis = static_cast<int>(pick(0, num_axes - 1));
    if (!nest.axes[schedule.vector_axis].reduction) return std::nullopt;
    auto &loops = schedule.reduction_order, &unrolled = schedule.unrolled_reductions;
    loops.insert(loops.end(), unrolled.begin(), unrolled.end());
    unrolled.clear();
    std::shuffle(loops.begin(), loops.end(), random_);
    schedule.prefetch = fusion::Prefetch::kNone;
    schedule.matrix = 0;
    schedule.lane_steps = 1;
    schedule.vector_tile = std::min(nest.axes[schedule.vector_axis].extent, pick(1, 40));
    schedule.reduction_unroll = static_cast<int>(pick(1, 2));
    schedule.register_tile.clear();
    for (int axis = 0; axis < static_cast<int>(num_axes); ++axis) {
      if (!nest.axes[axis].reduction && pick(0, 1) == 0) {
        schedule.register_tile.push_back({axis, pick(1, 4)});
      }
    }
    if (!fusion::check_schedule(nest, schedule).ok()) return std::nullopt;
    return schedule;
  }

  /// Convolutions give what the reference gives where `change` finds another schedule for a nest.
  void expect_same_sums(std::optional<NestSchedule> (LaneSteps::*change)(const fusion::Nest&,
                                                                         const fusion::StoragePlan&,
                                                                         NestSchedule)) {
    int tested = 0;
    for (int trial = 0; trial < 40; ++trial) {
      SCOPED_TRACE("trial " + std::to_string(trial));
      const Shape image{pick(1, 2), pick(1, 40), pick(3, 9), pick(3, 20)};
      const Graph graph = convolution(image, pick(1, 45));
      driver::Pipeline pipeline;
      pipeline.machine.isa = GetParam();
      pipeline.graph = fusion::prepare(graph);
      pipeline.plan = search::find_unfused_plan(pipeline.graph, pipeline.machine);
      bool found = false;
      for (fusion::GroupPlan& group : pipeline.plan.groups) {
        for (fusion::ScheduledNest& scheduled : group.nests) {
          auto schedule =
              (this->*change)(scheduled.nest, pipeline.plan.storage, scheduled.schedule);
          if (!schedule) continue;
          scheduled.schedule = *schedule;
          found = true;
        }
      }
      if (!found) continue;
      ++tested;
      const std::vector<Tensor> inputs{integers(image, random_)};
      auto expected = graph::evaluate(graph, inputs);
      ASSERT_TRUE(expected.ok());
      test::run_plan(pipeline, inputs, [&](const Tensor& actual, const char* how) {
        for (int64_t i = 0; i < actual.num_elems(); ++i) {
          ASSERT_EQ(actual.at_f64(i), (*expected)[0].at_f64(i)) << how << ", element " << i;
        }
      });
      if (HasFailure()) return;
    }
    EXPECT_GT(tested, 8);
    if (!has_isa(GetParam())) std::printf("this machine lacks the ISA: interpreted only\n");
  }

  std::mt19937 random_{7};
};

TEST_P(LaneSteps, AddUpToTheSameSums) { expect_same_sums(&LaneSteps::with_steps); }

TEST_P(LaneSteps, OfTheSumItselfAddUpToTheSameSums) { expect_same_sums(&LaneSteps::along_sum); }

/// A result of few channels: no axis but the sum's fills the lanes.
TEST_P(LaneSteps, RunAlongTheSumWhereResultsHaveFewChannels) {
  driver::Pipeline pipeline;
  pipeline.machine.isa = GetParam();
  pipeline.graph = fusion::prepare(convolution({1, 64, 9, 20}, 1));
  pipeline.plan = search::find_unfused_plan(pipeline.graph, pipeline.machine);
  const fusion::ScheduledNest& last = pipeline.plan.groups.back().nests[0];
  ASSERT_GE(last.schedule.vector_axis, 0);
  EXPECT_TRUE(last.nest->axes[last.schedule.vector_axis].reduction);
  EXPECT_FALSE(last.schedule.register_tile.empty());
}

INSTANTIATE_TEST_SUITE_P(Isas, LaneSteps, testing::Values(Isa::kSse2, Isa::kAvx2, Isa::kAvx512));

}  // namespace
}  // namespace corf
