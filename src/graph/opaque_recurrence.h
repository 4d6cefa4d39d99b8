#pragma once
#include "graph/evaluate.h"

namespace corf::graph {

/// References of the recurrent routines, with the operands that those have (see
/// runtime/routines/recurrence.cpp), in float64. States of DynamicQuantizeLSTM are made bytes as
/// float32 numbers. Errors: kInvalidModel where operands do not fit.
Result<std::vector<Tensor>> evaluate_recurrence(const Graph& graph, const Node& node,
                                                const std::vector<Tensor>& inputs,
                                                const EvaluateOptions& options);

}  // namespace corf::graph
