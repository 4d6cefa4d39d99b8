#pragma once
#include "graph/evaluate.h"

namespace corf::graph {

/// The reference of an opaque routine. Errors: kUnsupported if there is none; the routine's own.
Result<std::vector<Tensor>> evaluate_opaque(const Graph& graph, const Node& node,
                                            const std::vector<Tensor>& inputs,
                                            const EvaluateOptions& options);

}  // namespace corf::graph
