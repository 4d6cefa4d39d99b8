#pragma once
#include "graph/graph.h"
#include "support/result.h"

namespace corf::driver {

/// Whether the runtime takes each routine of the graph as it is: its name, attributes and operands.
/// What would be refused when an executable is loaded is refused before one is made.
/// Errors: those of runtime::prepare_routine, naming the node.
/// Test: tests/driver/check_routines_test.cpp
Status check_routines(const graph::Graph& graph);

}  // namespace corf::driver
