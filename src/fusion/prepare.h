#pragma once
#include "graph/graph.h"

namespace corf::fusion {

/// Adds the copies that make kernels fast where no layout serves all sides: of values that a padded
/// convolution reads but whose storage cannot have margins (graph inputs, views), of matrix-product
/// operands that do not run along the vector axis, of outputs in the caller's order, and of parts
/// of concatenations that no operator writes there. A copy is an identity operator whose origin is
/// "Copy", a part's "Concat". What nobody reads any more goes. Each node and each value of the
/// result has a name of its own.
graph::Graph prepare(const graph::Graph& graph);

}  // namespace corf::fusion
