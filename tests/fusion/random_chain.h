#pragma once
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph/operators.h"

namespace corf::test {

/// A random chain of two to five complex operators with what stands between them in networks:
/// images (convolutions of any kind, pools, resizing, residual sums, branches that meet again, a
/// reduction at the end), matrix products (plain, gated), attention. Data are small integers and
/// values are clipped where they grow, so that every order of summation gives the same float32
/// bits, but for chains that are not exact(). Source: design section 5, tiers 2 and 3.
class RandomChain {
 public:
  /// A network: any value may have several readers, or none and then is an output; values are
  /// concatenated, sliced, shuffled.
  enum class Form : uint8_t { kChain, kNetwork };

  explicit RandomChain(uint32_t seed, Form form = Form::kChain);

  const graph::Graph& graph() const { return graph_; }
  std::vector<Tensor> inputs();
  bool exact() const { return error_ == 0; }
  /// How far an output may be from the reference.
  double error() const { return error_; }

 private:
  int64_t pick(int64_t lo, int64_t hi);  // inclusive
  bool chance(double probability);
  template <typename T>
  T any(const std::vector<T>& of) {
    return of[static_cast<size_t>(pick(0, static_cast<int64_t>(of.size()) - 1))];
  }
  int64_t image_extent();
  Tensor ternary(Shape shape);
  std::string name(const std::string& kind);
  const Shape& shape(graph::ValueId value) const { return graph_.values[value].shape; }
  graph::ValueId input(Shape shape);
  graph::ValueId keep(graph::ValueId x, double magnitude);

  void make_images();
  void make_products();
  void make_attention();
  void cut_softmax(int64_t columns);
  void make_winograd();
  void make_network();
  graph::ValueId add_network_layer(graph::ValueId x);
  graph::ValueId add_same_conv(graph::ValueId x);
  graph::ValueId add_concat(graph::ValueId x);
  graph::ValueId add_slice(graph::ValueId x);
  graph::ValueId add_shuffle(graph::ValueId x);
  graph::ValueId add_image_layer(graph::ValueId x);
  graph::ValueId add_conv(graph::ValueId x);
  graph::ValueId add_depthwise(graph::ValueId x);
  graph::ValueId add_pointwise(graph::ValueId x);
  graph::ValueId add_transposed_conv(graph::ValueId x);
  graph::ValueId add_pool(graph::ValueId x);
  graph::ValueId add_resizing(graph::ValueId x);
  graph::ValueId add_branches(graph::ValueId x);
  graph::ValueId add_residual(graph::ValueId x);
  graph::ValueId add_epilogue(graph::ValueId x, int channel_dim);
  graph::ValueId add_product(graph::ValueId x, int64_t columns);
  graph::ValueId add_clip(graph::ValueId x);
  graph::ValueId add_softmax(graph::ValueId x);
  graph::Window window(const Shape& image, int64_t largest_kernel, int64_t largest_stride);
  double taps(const graph::Window& window) const;

  std::mt19937 random_;
  graph::Graph graph_;
  std::vector<graph::ValueId> chain_;           // the chain's values so far
  std::map<graph::ValueId, double> magnitude_;  // bounds of their elements
  double error_ = 0;
  int count_ = 0;
};

}  // namespace corf::test
