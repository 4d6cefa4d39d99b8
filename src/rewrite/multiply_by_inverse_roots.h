#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// x / sqrt(v), v being smaller than x (a layer-norm's variance), becomes x * rsqrt(v): the root's
/// inverse is taken once for many x, and both ways of writing a layer-norm are one.
/// Test: tests/rewrite/multiply_by_inverse_roots_test.cpp
Result<graph::Graph> multiply_by_inverse_roots(graph::Graph graph);

}  // namespace corf::rewrite
