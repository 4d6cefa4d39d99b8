#pragma once
#include <optional>
#include <string>
#include <vector>

#include "fusion/resolve.h"
#include "search/find_plan.h"

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

/// The fastest way to run the stages of `group` in strips: outer loops, stream dimension, strip
/// length, split among workers, and the stages' schedules.
StripChoice choose_strips(const graph::Graph& graph, const fusion::StoragePlan& storage,
                          const Machine& machine, fusion::GroupPlan group, const GroupTime& time,
                          fusion::WalkCache& cache, size_t num_best = 1);

/// The group with schedules that were found for one like it; nullopt if they do not fit it.
std::optional<TimedGroup> with_schedules(const graph::Graph& graph,
                                         const fusion::StoragePlan& storage,
                                         fusion::GroupPlan group,
                                         const fusion::StripSchedule& strips,
                                         const std::vector<fusion::NestSchedule>& nests,
                                         const GroupTime& time, fusion::WalkCache& cache);

/// Schedules for the stages of a group with a walk. False if no tiles fit.
bool schedule_stages(const graph::Graph& graph, const fusion::StoragePlan& storage,
                     const Machine& machine, fusion::GroupPlan& group);

/// Why the stages of the group cannot run in strips: what stands in the way of one worker along the
/// outermost dimension, or of several where one could.
std::string why_apart(const graph::Graph& graph, const fusion::StoragePlan& storage,
                      const Machine& machine, const fusion::GroupPlan& group,
                      fusion::WalkCache& cache);

}  // namespace corf::search
