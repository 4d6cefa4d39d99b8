#include "driver/measure_group.h"

#include <cmath>
#include <gtest/gtest.h>

#include "fusion/group_nests.h"
#include "fusion/prepare.h"
#include "graph/operators.h"
#include "search/choose_schedule.h"
#include "search/find_plan.h"

namespace corf::driver {
namespace {

using graph::Graph;
using graph::ValueId;

/// Two matrix products; the first has 64 times as many columns to sum up.
Graph two_products() {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {64, 4096});
  Tensor large(DType::kF32, {4096, 64}), small(DType::kF32, {64, 64});
  const ValueId mid = graph::matmul(graph, "large", x, graph.add_constant("a", large));
  graph.outputs = {graph::matmul(graph, "small", mid, graph.add_constant("b", small))};
  graph.output_names = {"y"};
  return fusion::prepare(graph);
}

class MeasureGroup : public testing::TestWithParam<Caches> {
 protected:
  MeasureGroup()
      : graph_(two_products()),
        machine_(detect_machine(2)),
        plan_(search::find_unfused_plan(graph_, machine_)) {}

  GroupTimer timer() {
    auto team = runtime::Team::create(2);
    EXPECT_TRUE(team);
    return {graph_, machine_, *team, GetParam()};
  }

  const Graph graph_;
  const Machine machine_;
  const fusion::FusionPlan plan_;
};

TEST_P(MeasureGroup, TimesEachGroupByItself) {
  GroupTimer timer = this->timer();
  std::vector<double> times_ms;
  for (const fusion::GroupPlan& group : plan_.groups) {
    if (group.kind != fusion::GroupKind::kCompute) continue;
    auto time_ms = timer.measure_group(plan_.storage, group);
    ASSERT_TRUE(time_ms.ok()) << time_ms.error().message;
    EXPECT_GT(*time_ms, 0);
    times_ms.push_back(*time_ms);
  }
  ASSERT_EQ(times_ms.size(), 2u);
  EXPECT_EQ(timer.num_measured(), 2);
}

TEST_P(MeasureGroup, EqualCodeIsTimedOnce) {
  GroupTimer timer = this->timer();
  auto first = timer.measure_group(plan_.storage, plan_.groups[0]);
  auto again = timer.measure_group(plan_.storage, plan_.groups[0]);
  ASSERT_TRUE(first.ok() && again.ok());
  EXPECT_EQ(*first, *again);
  EXPECT_EQ(timer.num_measured(), 1);
}

TEST_P(MeasureGroup, WholePlansGetATimeEach) {
  auto times_ms = timer().measure_plans({plan_, plan_});
  ASSERT_TRUE(times_ms.ok()) << times_ms.error().message;
  ASSERT_EQ(times_ms->size(), 2u);
  for (double time_ms : *times_ms) EXPECT_GT(time_ms, 0);
}

INSTANTIATE_TEST_SUITE_P(, MeasureGroup, testing::Values(Caches::kWarm, Caches::kEmptied),
                         [](const auto& info) {
                           return info.param == Caches::kWarm ? "Warm" : "Emptied";
                         });

/// What is measured decides, whatever was predicted.
TEST(FindPlan, FollowsMeasuredTimes) {
  const Graph graph = two_products();
  const Machine machine = detect_machine(2);
  const search::GroupTime equal = [](const auto&, const auto& group, const auto&) {
    return double(group.stages.size());
  };
  for (bool fuse : {false, true}) {
    int num_asked = 0;
    auto measured = [&](const auto&, const fusion::GroupPlan& group) -> std::optional<double> {
      ++num_asked;
      return (group.stages.size() > 1) == fuse ? 1 : 1000;
    };
    const fusion::FusionPlan plan = search::find_plan(graph, machine, equal, measured);
    EXPECT_GT(num_asked, 2);
    EXPECT_EQ(plan.groups.size(), fuse ? 1u : 2u);
  }
}

TEST(FindPlan, GoesOnByPredictionWhereNothingIsMeasured) {
  const Graph graph = two_products();
  const Machine machine = detect_machine(2);
  const search::GroupTime alone_is_best = [](const auto&, const auto& group, const auto&) {
    return group.stages.size() > 1 ? 10.0 : 1.0;
  };
  const fusion::FusionPlan plan =
      search::find_plan(graph, machine, alone_is_best,
                        [](const auto&, const auto&) { return std::optional<double>(); });
  EXPECT_EQ(plan.groups.size(), 2u);
}

}  // namespace
}  // namespace corf::driver
