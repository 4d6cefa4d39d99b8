#pragma once
#include "graph/graph.h"

namespace corf::onnx {

/// Drops what no output depends on: constants that decided shapes, outputs that nobody reads.
/// Inputs stay. Values are renumbered.
void remove_unused_nodes(graph::Graph& graph);

}  // namespace corf::onnx
