#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// Where sums of products are scaled, have biases added, are clipped and quantised, the division by
/// the quantisation's scale goes into those factors, addends and bounds. A sum of floats comes with
/// roundings that no digit of it survives (rewrite/rounding.h); the integers that stand for it here
/// are exact, so that what is rounded to even is nearer to the exact value than in the model.
/// After element-wise nodes have been merged.
/// Test: tests/driver/quantized_graphs_test.cpp
Result<graph::Graph> requantize(graph::Graph graph);

}  // namespace corf::rewrite
