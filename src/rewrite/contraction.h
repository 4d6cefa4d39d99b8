#pragma once
#include <optional>
#include <vector>

#include "graph/graph.h"

namespace corf::rewrite {

/// A sum of products of a value and constant weights: any convolution or matrix product.
struct Contraction {
  const graph::Compute* compute = nullptr;
  int x = 0, weights = 1;  // operand numbers
  Tensor weights_tensor;

  const graph::Operand& x_operand() const { return compute->operands[x]; }
  const graph::Operand& weights_operand() const { return compute->operands[weights]; }
};

std::optional<Contraction> match_contraction(const graph::Graph& graph, const graph::Node& node);

/// The weights multiplied by `factors[channel]`, channel being an expression over the axes; a
/// single factor multiplies all. nullopt if the weights do not tell the channels apart, or if some
/// would overflow, or lose digits by underflow that matter in the sum: where the largest of a
/// channel does, unless a number from `addends`, equally many, is added to its sums; all channels
/// are one if there are no addends.
std::optional<Tensor> scaled_weights(const Contraction& contraction, const index::Expr& channel,
                                     const std::vector<double>& factors,
                                     const std::vector<double>& addends = {});

/// What a constant `shifts[channel]` added to x adds to the result.
struct ResultShift {
  int axis = -1;  // of the result; -1: one for all
  std::vector<double> values;
};
/// nullopt if it is not constant along all axes of the result but one, or if x is padded.
std::optional<ResultShift> shift_of_result(const Contraction& contraction,
                                           const index::Expr& channel,
                                           const std::vector<double>& shifts);

}  // namespace corf::rewrite
