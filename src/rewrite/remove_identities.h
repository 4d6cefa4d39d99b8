#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// Removes element-wise nodes that return one operand, element for element: what is left of x * 1,
/// x + 0 and casts to the same type once their bodies are simplified.
/// Test: tests/rewrite/remove_identities_test.cpp
Result<graph::Graph> remove_identities(graph::Graph graph);

}  // namespace corf::rewrite
