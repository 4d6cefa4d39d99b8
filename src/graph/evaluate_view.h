#pragma once
#include "graph/graph.h"

namespace corf::graph {

/// The view's output as a dense tensor of the inputs' type; f64 if a concatenation mixes float
/// types.
Tensor evaluate_view(const View& view, const std::vector<Tensor>& inputs, const Shape& output);

/// The tensor with its elements converted to another float type.
Tensor converted(const Tensor& tensor, DType dtype);

}  // namespace corf::graph
