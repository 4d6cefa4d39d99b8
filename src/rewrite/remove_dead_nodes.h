#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// Removes nodes and values that no output depends on; the graph's inputs stay.
/// Test: tests/rewrite/remove_dead_nodes_test.cpp
graph::Graph without_dead_nodes(const graph::Graph& graph);
Result<graph::Graph> remove_dead_nodes(const graph::Graph& graph);

}  // namespace corf::rewrite
