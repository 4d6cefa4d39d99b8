#pragma once
#include "onnx/import.h"

namespace corf::onnx {

/// The input's concrete shape: the model's, or the one bound to its name, or with the extents bound
/// to its symbols. Errors: kInvalidArgument naming the input, what it declares and what is missing.
Result<Shape> bind_shape(const ModelTensor& input, const ShapeBindings& bindings);

}  // namespace corf::onnx
