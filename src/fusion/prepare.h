#pragma once
#include "graph/graph.h"

namespace corf::fusion {

/// Adds the copies that make kernels fast where no layout serves all sides: of values that a padded
/// convolution reads but whose storage cannot have margins (graph inputs, views), of matrix-product
/// operands that do not run along the vector axis, of outputs in the caller's order, of parts of
/// concatenations that no operator writes there, and of reshapes that no strides describe (windows
/// of an image): they keep name and origin. A copy is an identity operator whose origin is "Copy",
/// a part's "Concat". What nobody reads any more goes. Each node and each value of the result has a
/// name of its own.
graph::Graph prepare(const graph::Graph& graph);

}  // namespace corf::fusion
