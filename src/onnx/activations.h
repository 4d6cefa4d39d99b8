#pragma once
#include <string>
#include <vector>

#include "onnx/node_import.h"

namespace corf::onnx {

/// The function that a fused operator applies to its result: an activation operator by its name,
/// and its attributes in the order alpha, beta, gamma, or min, max; those left out have the
/// operator's defaults. No name: none.
struct Activation {
  std::string name;
  std::vector<double> parameters;
};
/// Errors: kUnsupported for a name that is not known.
Result<ValueId> activated(NodeImport& node, std::string name, ValueId x,
                          const Activation& activation);

}  // namespace corf::onnx
