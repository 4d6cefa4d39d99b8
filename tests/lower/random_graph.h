#pragma once
#include <cstdint>
#include <random>
#include <vector>

#include "graph/graph.h"

namespace corf::test {

/// A random network of small layers: convolutions (dense, grouped, depthwise, strided, dilated,
/// padded), matrix products, pools, reductions, activations, residual sums, views, weighted sums of
/// elements at positions that a table holds, and values that repeat along some axes (broadcast,
/// tiled, stretched, with repeated edges), which reductions over those axes then read. Some have no
/// elements. All data are small integers, so that every order of summation gives the same float32
/// bits.
/// Source: design section 5, exact tier.
class RandomGraph {
 public:
  explicit RandomGraph(uint32_t seed);

  const graph::Graph& graph() const { return graph_; }
  /// Inputs with elements in {-2..2}.
  std::vector<Tensor> inputs();

 private:
  int64_t pick(int64_t lo, int64_t hi);  // inclusive
  bool chance(double probability);
  Tensor ternary(Shape shape);
  std::string name(const std::string& kind);
  const Shape& shape(graph::ValueId value) const { return graph_.values[value].shape; }

  graph::ValueId add_layer(graph::ValueId x);
  graph::ValueId add_conv(graph::ValueId x);
  graph::ValueId add_pool(graph::ValueId x);
  graph::ValueId add_bias_and_clip(graph::ValueId x);
  graph::ValueId add_residual(graph::ValueId x);
  graph::ValueId add_view(graph::ValueId x);
  graph::ValueId add_concat(graph::ValueId x);
  graph::ValueId add_scale(graph::ValueId x);
  graph::ValueId add_repeats(graph::ValueId x);
  graph::ValueId add_reduction(graph::ValueId x);
  graph::ValueId add_resampled(graph::ValueId x);
  graph::ValueId add_clip(graph::ValueId x);
  void add_head(graph::ValueId x);

  std::mt19937 random_;
  graph::Graph graph_;
  std::vector<graph::ValueId> images_;  // values of rank 4
  int count_ = 0;
};

}  // namespace corf::test
