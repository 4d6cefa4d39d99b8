#pragma once
#include "graph/graph.h"
#include "search/find_plan.h"
#include "target/machine.h"

namespace corf::driver {

/// The analytic model's time of a group, in cycles. `graph` and `machine` outlive the function.
search::GroupTime prediction(const graph::Graph& graph, const Machine& machine);

}  // namespace corf::driver
