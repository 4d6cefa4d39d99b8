#pragma once
#include <string>

#include "driver/pipeline.h"
#include "graph/graph.h"
#include "search/find_plan.h"
#include "target/machine.h"

namespace corf::driver {

/// The analytic model's time of a group, in cycles. `graph` and `machine` outlive the function.
search::GroupTime prediction(const graph::Graph& graph, const Machine& machine);

/// Where the predicted time of each group of the plan goes, in us, as a table with a sum.
std::string print_costs(const Pipeline& pipeline);

}  // namespace corf::driver
