#pragma once
#include <vector>

#include "graph/graph.h"

namespace corf::graph {

/// The reference: every value computed as its description says, floats in float64 and rounded to
/// their type only where `round_to_dtype`, integers as integers. Outputs in the graph's order
/// (float outputs as f64 tensors unless rounded).
/// Errors: kInvalidArgument if inputs do not match the graph; kUnsupported for an opaque routine
/// that has no reference.
struct EvaluateOptions {
  bool round_to_dtype = false;
  /// Element-wise operators round after each operation, as code in their types does: quantised
  /// models depend on how a number next to a tie is rounded.
  bool round_operations = false;
  /// Fails with kInternal if any sum's partial sum of absolute values reaches 2^24: the exact
  /// tier's condition (design section 5).
  bool assert_exact_f32 = false;
  int threads = 1;
  /// Of evaluate_node on a recurrence: its result Y that other code gave. Each step begins with the
  /// state in it, and not with the reference's own.
  const Tensor* states = nullptr;
};
Result<std::vector<Tensor>> evaluate(const Graph& graph, const std::vector<Tensor>& inputs,
                                     const EvaluateOptions& options = {});

/// Every value's tensor, by ValueId (for `corf compare`, which names the first group that is off).
/// Inputs and constants, and views of them, keep their own types.
Result<std::vector<Tensor>> evaluate_all(const Graph& graph, const std::vector<Tensor>& inputs,
                                         const EvaluateOptions& options = {});

/// As code in the values' types computes them, element by element: what is folded is, next to a
/// tie, rounded to the same side as what a run computes.
constexpr EvaluateOptions kAsComputed = {.round_to_dtype = true, .round_operations = true};

/// One node on given inputs: constant folding.
Result<std::vector<Tensor>> evaluate_node(const Graph& graph, const Node& node,
                                          const std::vector<Tensor>& inputs,
                                          const EvaluateOptions& options = {});

}  // namespace corf::graph
