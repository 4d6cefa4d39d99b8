#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// Convolutions and matrix products of dequantised bytes and dequantised constant weights become
/// sums of products of bytes in i32, which are exact, and an element-wise node that makes of a sum
/// what it stands for:
///   sum (x - zx) sx (w - zw) sw  =  (sum x w' - zx sum w') (sx sw),  w' = w - zw as i8.
/// The sums of w' are constants; where x is padded, the padding is its zero point, in margins that
/// are written at each run where only that knows it. Weights that differ from their zero point by
/// more than an i8 holds are u8: w' is 128 less then, and what is missing, (128 - zw) sum x, is
/// added from sums over x. Bytes of x are made u8, 128 more than an i8, which instruction sets
/// multiply by i8. Sums over a window alone (depthwise), too short to leave the integers that f32
/// holds, are taken in f32, as exactly, but where the machine `has_byte_products` and windows have
/// several rows and columns.
/// Left alone: zero points of x by channel, scales and zero points of w that vary along the sum,
/// sums that i32 might not hold, and channels that are not pairs of pairs, unless they are few and
/// the model's input has them.
/// Test: tests/driver/quantized_graphs_test.cpp
Result<graph::Graph> integer_contractions(graph::Graph graph, bool has_byte_products);

}  // namespace corf::rewrite
