#pragma once
#include "onnx/node_import.h"

namespace corf::onnx {

/// Means of the windows of x, [batch, channels, ...] of floats, that the node's attributes say, as
/// AveragePool has them.
Result<ValueId> average_pool(NodeImport& node, const std::string& name, ValueId x);

}  // namespace corf::onnx
