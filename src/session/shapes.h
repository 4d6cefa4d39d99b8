#pragma once
#include <map>
#include <string>

#include "session/declared_tensor.h"

namespace corf::session {

/// Shapes of inputs, or values of symbolic dimensions (shapes of one extent), by name.
using ShapeBindings = std::map<std::string, Shape>;

/// Values of inputs that are compiled in, by name.
using ValueBindings = std::map<std::string, Tensor>;

/// Shapes given by the caller, by the name of an input or of a symbolic dimension.
/// Errors: kInvalidArgument for a null name, a name given twice, or a shape with negative extents.
Result<ShapeBindings> to_bindings(const corf_shape* shapes, size_t num_shapes);

/// `bindings` completed to a concrete shape for each input, checked against the declarations.
/// Errors: kInvalidArgument naming the input or symbol: unknown, of the wrong rank, in
/// contradiction to the model or to another input, or left open.
Result<ShapeBindings> resolve(const DeclaredTensors& inputs, const ShapeBindings& bindings);
/// As resolve, leaving out inputs that are no tensors, which have no shape.
Result<ShapeBindings> resolve_tensors(const DeclaredTensors& inputs, const ShapeBindings& bindings);

/// Equal for equal resolved shapes and values: the key of an executable.
std::string to_key(const ShapeBindings& shapes, const ValueBindings& values);

}  // namespace corf::session
