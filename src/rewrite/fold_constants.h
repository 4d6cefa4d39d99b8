#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// Replaces nodes whose inputs are all constants by their value, as graph::evaluate_node gives it.
/// Left alone: results that are large and much larger than what they are made of (broadcasts),
/// large views that only index maps read (a routine has none), and opaque routines without a
/// reference.
/// Test: tests/rewrite/fold_constants_test.cpp
Result<graph::Graph> fold_constants(const graph::Graph& graph);

}  // namespace corf::rewrite
