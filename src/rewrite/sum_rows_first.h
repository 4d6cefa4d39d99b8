#pragma once
#include "graph/graph.h"
#include "support/result.h"

namespace corf::rewrite {

/// Sums over images in two steps, as global pools take them: each row on its own, then the rows.
/// The first step goes along with whatever makes the image row by row, in its kernel or at least
/// with the worker that made the row; the second has little left to do.
/// Test: tests/rewrite/sum_rows_first_test.cpp
Result<graph::Graph> sum_rows_first(graph::Graph graph);

}  // namespace corf::rewrite
