#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// Folds scales and shifts that are constant along all dimensions but one (batch-norm, a bias, a
/// constant factor) into the constant weights of the convolution or matrix product next to them:
/// conv(x, w) * s + t becomes conv(x, s w) + t; conv(x * s + t, w) becomes conv(x, s w) + sum(t w),
/// where x is not padded or t is 0. Two such functions in a row become one. Views between the two
/// are passed through.
/// Test: tests/rewrite/fold_batch_norm_test.cpp
Result<graph::Graph> fold_batch_norm(graph::Graph graph);

}  // namespace corf::rewrite
