#pragma once
#include <random>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace corf::test {

/// A random network of the kinds that rewriting and lowering have to get right together: operands
/// that repeat along some axes, extents 0 and 1, scalings and divisions by constants of any size,
/// branches that meet again, reductions, norms and softmax, products, integers between floats,
/// rounding to integers; in float32, float16 or bfloat16.
class RandomModel {
 public:
  explicit RandomModel(uint32_t seed);

  const graph::Graph& graph() const { return graph_; }
  std::vector<Tensor> inputs();

 private:
  using Body = graph::ScalarBody;

  int64_t pick(int64_t lo, int64_t hi);  // inclusive
  bool chance(double probability);
  double number();  // a constant as models hold them
  std::string name(const std::string& kind);
  const Shape& shape(graph::ValueId value) const { return graph_.values[value].shape; }
  graph::ValueId constant(Shape shape);

  graph::ValueId unary(graph::ValueId x, const std::function<int(Body&, int)>& body);
  graph::ValueId binary(graph::ScalarOp op, graph::ValueId a, graph::ValueId b);
  graph::ValueId with_constant(graph::ScalarOp op, graph::ValueId x, double value);

  graph::ValueId layer(graph::ValueId x);
  graph::ValueId activation(graph::ValueId x);
  graph::ValueId scaled(graph::ValueId x);
  graph::ValueId rounded(graph::ValueId x);
  graph::ValueId branch(graph::ValueId x);
  graph::ValueId repeated(graph::ValueId x);
  graph::ValueId reduced(graph::ValueId x);
  graph::ValueId normalized(graph::ValueId x);
  graph::ValueId product(graph::ValueId x);
  graph::ValueId viewed(graph::ValueId x);

  std::mt19937 random_;
  DType dtype_ = DType::kF32;
  graph::Graph graph_;
  std::vector<graph::ValueId> values_;
  int count_ = 0;
};

}  // namespace corf::test
