#include "search/find_plan.h"

#include <algorithm>

#include "search/choose_schedule.h"

namespace corf::search {

using fusion::FusionGroup;
using fusion::FusionPlan;
using fusion::GroupKind;
using fusion::Nest;

FusionPlan find_plan(const graph::Graph& graph, const Machine& machine) {
  FusionPlan plan = fusion::plan_unfused(graph);
  auto schedule = [&](FusionGroup& group, Nest nest) {
    nest = fusion::canonicalize(std::move(nest));
    fusion::NestSchedule chosen = choose_schedule(nest, plan.storage, machine);
    group.nests.push_back({std::move(nest), std::move(chosen)});
  };
  for (FusionGroup& group : plan.groups) {
    switch (group.kind) {
      case GroupKind::kCompute:
        schedule(group, build_nest(graph, plan.storage, group.nodes, group.stored));
        break;
      case GroupKind::kViewCopy: {
        const auto& copied = plan.storage.copied_views;
        auto at = std::find(copied.begin(), copied.end(), group.nodes[0]) - copied.begin();
        for (int part : plan.storage.copied_parts[at]) {
          schedule(group, build_view_copy(graph, plan.storage, group.nodes[0], part));
        }
        break;
      }
      case GroupKind::kOutputCopy:
        schedule(group, build_output_copy(graph, plan.storage, group.output));
        break;
      case GroupKind::kRoutine:
        break;
    }
  }
  return plan;
}

}  // namespace corf::search
