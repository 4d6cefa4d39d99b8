#pragma once
#include "graph/graph.h"

namespace corf::graph {

/// The graph without nodes and values that no output depends on; its inputs stay.
Graph without_dead_nodes(Graph graph);

}  // namespace corf::graph
