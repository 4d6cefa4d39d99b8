#pragma once
#include <string>
#include <vector>

#include "onnx/import.h"

namespace corf::host {

/// Operators of the model, bodies included, that neither the importer nor the host has, whatever
/// their inputs: "Foo: the operator is not supported (3 nodes)", in alphabetical order.
std::vector<std::string> refused_operators(const onnx::Model& model);

}  // namespace corf::host
