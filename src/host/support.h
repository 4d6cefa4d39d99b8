#pragma once
#include <string>
#include <vector>

#include "onnx/import.h"

namespace corf::host {

/// How a model is run.
enum class RunKind : uint8_t {
  kWhole,      // compiled as a whole for its inputs' shapes
  kForValues,  // and for the values of some inputs, which decide shapes or branches
  kInPieces,   // shapes depend on data, or values are no tensors
  kRefused,
};

struct Support {
  RunKind kind = RunKind::kWhole;
  std::vector<std::string> deciding_inputs;  // by name, of kForValues
  /// Why it is not kWhole: of kRefused all nodes that are refused, by operator with their number,
  /// the reason and the remedy, else what stands in the way.
  std::string reasons;
};

/// What can be said before a run: nodes behind a value whose shape depends on data are only asked
/// for their operators. Errors: kInvalidArgument for open shapes, kInvalidModel. Test:
/// tests/host/support_test.cpp
Result<Support> find_support(const onnx::Model& model, const onnx::ShapeBindings& shapes);

/// As of Support::reasons, of operators (bodies included) that neither the importer nor the host
/// has, whatever the shapes; "" if there are none.
std::string refused_operators(const onnx::Model& model);

}  // namespace corf::host
