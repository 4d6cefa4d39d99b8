#include "driver/prediction.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cost/group_cost.h"

namespace corf::driver {

search::GroupTime prediction(const graph::Graph& graph, const Machine& machine) {
  return [&graph, model = cost::Model(machine)](const fusion::StoragePlan& storage,
                                                const fusion::GroupPlan& group,
                                                const fusion::Before& before) {
    return cost::predict(graph, storage, group, model, before).total(model.k);
  };
}

namespace {

std::string cost_row(const cost::GroupCost& cost, double total, double us) {
  return fmt::format("{:9.1f} | {:9.1f} {:9.1f} {:9.1f} {:9.1f} {:9.1f} | ", total * us,
                     cost.compute * us, cost.streamed * us, cost.memory * us, cost.remote * us,
                     cost.barrier * us);
}

}  // namespace

std::string print_costs(const Pipeline& pipeline) {
  const graph::Graph& graph = pipeline.graph;
  const cost::Model model(pipeline.machine);
  const double us = pipeline.machine.cycle_ns() * 1e-3;
  std::string text = fmt::format(
      "{:>9} | {:>9} {:>9} {:>9} {:>9} {:>9} | us, kernel; a part of what weights and "
      "memory take hides behind the computing\n",
      "total", "compute", "weights", "memory", "remote", "barrier");
  fusion::DoneSoFar done;
  cost::GroupCost sum;
  double sum_total = 0;
  for (const fusion::GroupPlan& group : pipeline.plan.groups) {
    const fusion::Before before = done.before_next();
    done.add(group);
    if (group.nests.empty()) continue;
    const cost::GroupCost cost = cost::predict(graph, pipeline.plan.storage, group, model, before);
    const double total = cost.total(model.k);
    for (double cost::GroupCost::* part :
         {&cost::GroupCost::compute, &cost::GroupCost::streamed, &cost::GroupCost::memory,
          &cost::GroupCost::remote, &cost::GroupCost::barrier}) {
      sum.*part += cost.*part;
    }
    sum_total += total;
    std::vector<std::string> names;
    for (const fusion::Stage& stage : group.stages)
      names.push_back(graph.nodes[stage.nodes[0]].name);
    text += cost_row(cost, total, us) + fmt::format("{}\n", fmt::join(names, " -> "));
  }
  return text + cost_row(sum, sum_total, us) + "all\n";
}

}  // namespace corf::driver
