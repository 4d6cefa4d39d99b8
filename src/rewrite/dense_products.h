#pragma once
#include "graph/graph.h"

/// Sums of products whose steps an instruction takes several of at once.
namespace corf::rewrite {

/// Whether the node is a sum of products of its two operands, and nothing else, in f32 or i32.
bool is_product(const graph::Compute& compute);

/// The axis whose steps an instruction takes at once, -1 if there is none: an element of x and one
/// of w for each step, never outside of x.
int summed_channels(const graph::Compute& compute, const graph::Operand& x,
                    const graph::Operand& w);

/// Whether each channel is summed up by itself over a window of several rows and columns, as in a
/// depthwise convolution, long enough for instructions that take four taps of a column at once.
bool sums_windows(const graph::Compute& compute, const graph::Operand& x, const graph::Operand& w);

}  // namespace corf::rewrite
