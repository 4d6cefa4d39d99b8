#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// Keeps one of several nodes that compute the same from the same values, and one of several equal
/// constants (large ones count as equal only if they share their bytes).
/// Test: tests/rewrite/eliminate_common_subexpressions_test.cpp
Result<graph::Graph> eliminate_common_subexpressions(graph::Graph graph);

}  // namespace corf::rewrite
