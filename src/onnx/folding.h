#pragma once
#include "graph/evaluate.h"
#include "onnx/node_import.h"

namespace corf::onnx {

/// How a node that is known when the model is imported is evaluated, of those that stand for the
/// operator of `context`. Halves are rounded where an operator ends, as in a run: nothing overflows
/// inside of one.
graph::EvaluateOptions how_to_fold(const graph::Graph& graph, const graph::Node& node,
                                   const NodeImport& context);

}  // namespace corf::onnx
