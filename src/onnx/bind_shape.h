#pragma once
#include "onnx/import.h"

namespace corf::onnx {

/// The input's concrete shape: the model's, or the one bound to its name, or with the extents bound
/// to its symbols. Errors: kInvalidArgument naming the input, what it declares and what is missing.
Result<Shape> bind_shape(const ModelTensor& input, const ShapeBindings& bindings);

/// Whether no product of some of the extents exceeds 2^40, more elements than any machine holds:
/// such a shape is a mistake in the model, even where another extent is 0.
bool has_sound_extents(const Shape& shape);

}  // namespace corf::onnx
