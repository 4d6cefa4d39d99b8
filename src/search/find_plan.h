#pragma once
#include "fusion/plan.h"
#include "target/machine.h"

namespace corf::search {

/// The best plan known for a prepared graph: groups, layouts, and a schedule for each nest.
fusion::FusionPlan find_plan(const graph::Graph& graph, const Machine& machine);

}  // namespace corf::search
