#pragma once
#include <string>

#include "api/declared_tensor.h"
#include "onnx/import.h"

namespace corf::api {

/// Shapes given by the caller, by the name of an input or of a symbolic dimension.
/// Errors: kInvalidArgument for a null name, a name given twice, or a shape with negative extents.
Result<onnx::ShapeBindings> to_bindings(const corf_shape* shapes, size_t num_shapes);

/// `bindings` completed to a concrete shape for each input, checked against the declarations.
/// Errors: kInvalidArgument naming the input or symbol: unknown, of the wrong rank, in
/// contradiction to the model or to another input, or left open.
Result<onnx::ShapeBindings> resolve(const DeclaredTensors& inputs,
                                    const onnx::ShapeBindings& bindings);

/// Equal for equal resolved bindings: the key of an executable.
std::string to_key(const onnx::ShapeBindings& bindings);

}  // namespace corf::api
