#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// What is quantised as it was dequantised are the bytes themselves: such pairs vanish, and where
/// views or maxima stand between them, these move the bytes. With one scale and zero point the
/// results are the same to the bit: (q - z) * s / s is within two roundings of an integer below
/// 512, and the order of numbers is that of their bytes.
/// Test: tests/driver/quantized_graphs_test.cpp
Result<graph::Graph> cancel_quantizations(graph::Graph graph);

}  // namespace corf::rewrite
