#pragma once
#include "graph/without_dead_nodes.h"

namespace corf::rewrite {

using graph::without_dead_nodes;

/// Removes nodes and values that no output depends on; the graph's inputs stay.
/// Test: tests/rewrite/remove_dead_nodes_test.cpp
Result<graph::Graph> remove_dead_nodes(graph::Graph graph);

}  // namespace corf::rewrite
