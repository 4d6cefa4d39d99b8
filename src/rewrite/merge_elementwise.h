#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// Merges an element-wise node into its only reader, if that is element-wise too or a reduction of
/// it alone, and evaluates it no more often than before: chains of activations, bias, residual add
/// become one node, and the square of a variance part of its sum. Names of merged nodes are joined
/// by '+'.
/// Test: tests/rewrite/merge_elementwise_test.cpp
Result<graph::Graph> merge_elementwise(graph::Graph graph);

}  // namespace corf::rewrite
