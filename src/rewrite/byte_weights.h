#pragma once
#include <optional>

#include "graph/graph.h"
#include "rewrite/quantization.h"

namespace corf::rewrite {

/// An operand of a product that a node dequantises from a constant.
struct DequantizedWeights {
  const graph::Node* node = nullptr;  // dequantises
  const Dequantization* from = nullptr;
  const graph::Operand* operand = nullptr;  // of the product
};

/// The expression over the dequantised value's axes, over those of the product that reads it.
index::Expr over_product(const index::Expr& expr, const graph::Operand& operand,
                         const graph::Compute& product);
/// Whether the expression changes along what the product sums over.
bool depends_on_reduction(const index::Expr& expr, const index::IterationSpace& space);

/// w - zero point, in f32, by the dequantising node's dimensions; nullopt where reading them takes
/// more than multiplications.
std::optional<Tensor> centred_weights(const graph::Graph& graph, const DequantizedWeights& weights);

/// Weights as products of integers read them.
struct ByteWeights {
  Tensor values;  // i8
  /// What is still to be taken away from them, by the product's axes.
  PointTable rest;

  bool has_all() const { return rest.is_single() && rest.values[0] == 0; }
};

/// The `centred` weights if i8 holds them; if not, those less 128 of u8, with the rest of their
/// zero point. nullopt where that changes along the sum.
std::optional<ByteWeights> byte_weights(const graph::Graph& graph, const graph::Compute& product,
                                        const DequantizedWeights& weights, const Tensor& centred);

/// Sums over the reduction axes, by the parallel axes that the weights have.
struct WeightSums {
  std::vector<int> axes;
  Tensor sums;  // i32
};

/// Sums of integers, `centred` of an operand of the product; nullopt as above.
std::optional<WeightSums> sums_of_weights(const graph::Compute& product,
                                          const graph::Operand& operand, const Tensor& centred);

}  // namespace corf::rewrite
