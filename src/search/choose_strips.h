#pragma once
#include <optional>
#include <string>
#include <vector>

#include "fusion/resolve.h"
#include "search/find_plan.h"
#include "search/stage_schedules.h"

namespace corf::search {

struct TimedGroup {
  fusion::GroupPlan group;
  double time = 0;
};
struct StripChoice {
  bool legal = false;            // the stages can walk in step; so could any that begin later
  int64_t num_priced = 0;        // schedules whose time was predicted
  std::vector<TimedGroup> best;  // at most `num_best`, the fastest first
};

/// What a search among one graph's groups has at hand.
struct StripSearch {
  /// All outlive the object.
  StripSearch(const graph::Graph& graph, const fusion::StoragePlan& storage, const Machine& machine,
              const GroupTime& time)
      : graph(graph),
        storage(storage),
        machine(machine),
        time(time),
        walks(graph, storage),
        stages(graph, storage, machine, walks) {}

  Result<fusion::Walk> walk(const fusion::GroupPlan& group, const fusion::StripSchedule& strips) {
    return fusion::resolve_walk(graph, storage, group.stages, strips, walks);
  }

  const graph::Graph& graph;
  const fusion::StoragePlan& storage;
  const Machine& machine;
  const GroupTime& time;
  fusion::WalkCache walks;
  StageSchedules stages;
};

/// The fastest way to run the stages of `group` in strips: outer loops, stream dimension, strip
/// length, split among workers, and the stages' schedules.
StripChoice choose_strips(StripSearch& search, fusion::GroupPlan group, size_t num_best = 1);

/// The schedule of a stage, or none.
using ScheduleOf =
    std::function<std::optional<fusion::NestSchedule>(size_t stage, const fusion::Nest& nest)>;

/// The group with schedules that were found for one like it; nullopt if they do not fit it.
std::optional<TimedGroup> with_schedules(StripSearch& search, fusion::GroupPlan group,
                                         const fusion::StripSchedule& strips,
                                         const ScheduleOf& schedule_of);

/// Schedules for the stages of a group with a walk. False if no tiles fit.
bool schedule_stages(StageSchedules& schedules, fusion::GroupPlan& group);

/// Why the stages of the group cannot run in strips: what stands in the way of one worker along the
/// outermost dimension, or of several where one could.
std::string why_apart(StripSearch& search, const fusion::GroupPlan& group);

}  // namespace corf::search
