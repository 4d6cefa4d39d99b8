#include "search/find_plan.h"

#include "fusion/group_nests.h"
#include "search/choose_schedule.h"

namespace corf::search {

fusion::FusionPlan find_plan(const graph::Graph& graph, const Machine& machine) {
  fusion::FusionPlan plan = fusion::plan_unfused(graph);
  for (fusion::FusionGroup& group : plan.groups) {
    for (fusion::Nest& nest : fusion::group_nests(graph, plan.storage, group)) {
      fusion::NestSchedule schedule = choose_schedule(nest, plan.storage, machine);
      group.nests.push_back({std::move(nest), std::move(schedule)});
    }
  }
  return plan;
}

}  // namespace corf::search
