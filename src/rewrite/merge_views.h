#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// Removes views that do nothing and makes one of two in a row: reshapes, transposes, slices,
/// concatenations along the same axis; a transpose that only moves extents of 1 becomes a reshape,
/// a slice that stays within one part of a concatenation reads that part.
/// Test: tests/rewrite/merge_views_test.cpp
Result<graph::Graph> merge_views(graph::Graph graph);

}  // namespace corf::rewrite
