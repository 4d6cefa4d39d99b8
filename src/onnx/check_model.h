#pragma once
#include <string>
#include <vector>

#include "onnx/model_state.h"

namespace corf::onnx {

/// By position in the model's nodes: whether an output depends on the node.
std::vector<bool> find_live_nodes(const Model::State& state);

/// Why no node of this operator can be imported, whatever its inputs; empty if it can.
std::string why_unsupported(const ModelNode& node);

/// Errors: kUnsupported for an opset that no operator is known of.
Status check_opset(int64_t opset);

/// `lines`: what is not supported, a line for each node.
Error unsupported_error(const std::vector<std::string>& lines);

}  // namespace corf::onnx
