#pragma once
#include <optional>
#include <string>
#include <vector>

#include "onnx/import.h"
#include "onnx/model_state.h"

namespace corf::onnx {

/// A node that cannot be imported.
struct UnsupportedNode {
  ModelNode node;    // of the model, or of a body of one of its nodes
  std::string line;  // why, with the node's name
  /// It, or the node that it is in the body of, lacks a value that is not known before a run.
  bool lacks_value = false;
  /// It reads a constant that is no tensor of numbers.
  bool lacks_tensor = false;
};

struct ImportAttempt {
  Status status;  // of the import
  std::vector<UnsupportedNode> unsupported;
  std::vector<std::string> deciding_inputs;  // as of find_deciding_inputs
  std::optional<size_t> first_obstacle;      // as of find_obstacle
};

/// What stands in the way of an import. What lies behind a node that cannot be imported is only
/// asked for its operators.
ImportAttempt attempt_import(const Model& model, const ShapeBindings& shapes,
                             const ValueBindings& values = {});

}  // namespace corf::onnx
