#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// (x / s) V, with x = exp(y - max(y)) and s the sums of x along the axis that the product runs
/// over (a softmax before the values of an attention), becomes (x V) / s where that divides fewer
/// elements; (x V) (1 / s) where many of them have one divisor. Source: T. Dao et al.,
/// "FlashAttention", 2022, section 3.1, which normalises at the end too. A softmax that no product
/// takes over is multiplied by 1 / s. Test: tests/rewrite/divide_after_products_test.cpp
Result<graph::Graph> divide_after_products(graph::Graph graph);

}  // namespace corf::rewrite
