#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// Rounds the factors of dense products of f32 (convolutions, products of matrices: sums along
/// channels of a value and a constant) to bfloat16; their products and sums stay f32, and so does
/// everything else. Values are rounded where they are made or, where others read them as they are,
/// beside.
/// Test: tests/driver/bf16_products_test.cpp
Result<graph::Graph> bf16_products(graph::Graph graph);

}  // namespace corf::rewrite
