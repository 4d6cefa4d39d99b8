#include "onnx/folding.h"

#include <algorithm>

namespace corf::onnx {
namespace {

bool is_half(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16; }

}  // namespace

graph::EvaluateOptions how_to_fold(const graph::Graph& graph, const graph::Node& node,
                                   const NodeImport& context) {
  graph::EvaluateOptions how = graph::kAsComputed;
  for (ValueId output : node.outputs) {
    if (!is_half(graph.values[output].dtype)) continue;
    how.round_operations = false;
    const auto& results = context.outputs();
    const auto is_result = [&](const auto& result) { return result && *result == output; };
    how.round_to_dtype = std::any_of(results.begin(), results.end(), is_result);
  }
  return how;
}

}  // namespace corf::onnx
