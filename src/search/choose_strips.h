#pragma once
#include <optional>
#include <vector>

#include "search/find_plan.h"

namespace corf::search {

struct TimedGroup {
  fusion::FusionGroup group;
  double time = 0;
};
struct StripChoice {
  bool legal = false;            // the stages can walk in step; so could any that begin later
  std::vector<TimedGroup> best;  // at most `num_best`, the fastest first
};

/// The fastest way to run the stages of `group` in strips: outer loops, stream dimension, strip
/// length, split among workers, and the stages' schedules. `storage` comes back as it was.
StripChoice choose_strips(const graph::Graph& graph, fusion::StoragePlan& storage,
                          const Machine& machine, fusion::FusionGroup group, const GroupTime& time,
                          fusion::StripCache& cache, size_t num_best = 1);

/// The group with schedules that were found for one like it; nullopt if they do not fit it.
std::optional<TimedGroup> with_schedules(const graph::Graph& graph, fusion::StoragePlan& storage,
                                         fusion::FusionGroup group,
                                         const fusion::StripSchedule& strips,
                                         const std::vector<fusion::NestSchedule>& nests,
                                         const GroupTime& time, fusion::StripCache& cache);

/// Schedules for the stages of a group whose strips are settled. `storage` holds its rings.
/// False if no tiles fit.
bool schedule_stages(const graph::Graph& graph, const fusion::StoragePlan& storage,
                     const Machine& machine, const fusion::StripAnalysis& strips,
                     fusion::FusionGroup& group);

}  // namespace corf::search
