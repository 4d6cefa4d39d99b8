#include "rewrite/byte_weights.h"

#include <algorithm>

#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Operand;
using index::Expr;

Expr over_product(const Expr& expr, const Operand& operand, const Compute& product) {
  const Expr result = index::substitute(
      expr, [&](int axis) -> std::optional<Expr> { return operand.map.exprs[axis]; });
  return index::simplify(result, axis_ranges(product.space));
}

bool depends_on_reduction(const Expr& expr, const index::IterationSpace& space) {
  for (int axis = space.num_parallel(); axis < static_cast<int>(space.axes.size()); ++axis) {
    if (space.axes[axis].extent > 1 && index::depends_on(expr, axis)) return true;
  }
  return false;
}

std::optional<Tensor> centred_weights(const Graph& graph, const DequantizedWeights& weights) {
  const auto& compute = std::get<Compute>(weights.node->op);
  const int operand = weights.from->operand;
  const Tensor& bytes = *constant_tensor(graph, weights.node->inputs[operand]);
  const std::vector<int64_t> strides = row_major_strides(bytes.shape());
  Expr address;
  for (size_t d = 0; d < strides.size(); ++d) {
    address = address + Expr(strides[d]) * compute.operands[operand].map.exprs[d];
  }
  const index::Linear at = index::to_linear(address),
                      zero_at = index::to_linear(weights.from->zero_point.index);
  if (!at.is_affine() || !zero_at.is_affine()) return std::nullopt;
  const Shape& shape = graph.values[weights.node->outputs[0]].shape;
  Tensor result(DType::kF32, shape);
  std::vector<int64_t> point(shape.size(), 0);
  int64_t from = at.constant, zero_from = zero_at.constant;
  auto* values = result.data<float>();
  for (int64_t i = 0; i < result.num_elems(); ++i) {
    values[i] = static_cast<float>(bytes.at_f64(from) - weights.from->zero_point.values[zero_from]);
    for (size_t d = shape.size(); d-- > 0;) {
      from += at.coefficient(static_cast<int>(d));
      zero_from += zero_at.coefficient(static_cast<int>(d));
      if (++point[d] < shape[d]) break;
      from -= point[d] * at.coefficient(static_cast<int>(d));
      zero_from -= point[d] * zero_at.coefficient(static_cast<int>(d));
      point[d] = 0;
    }
  }
  return result;
}

std::optional<ByteWeights> byte_weights(const Graph& graph, const Compute& product,
                                        const DequantizedWeights& weights, const Tensor& centred) {
  const auto as_bytes = [](const Tensor& tensor) {
    Tensor bytes(DType::kI8, tensor.shape());
    std::transform(tensor.data<float>(), tensor.data<float>() + tensor.num_elems(),
                   bytes.data<int8_t>(), [](float x) { return static_cast<int8_t>(x); });
    return bytes;
  };
  const auto elems = centred.elems<float>();
  if (std::all_of(elems.begin(), elems.end(), [](float x) { return x >= -128 && x <= 127; })) {
    return ByteWeights{as_bytes(centred), {{0}, {}}};
  }
  const graph::ValueId bytes = weights.node->inputs[weights.from->operand];
  const double shift = graph.values[bytes].dtype == DType::kU8 ? 128 : 0;
  ByteWeights result{{}, weights.from->zero_point};
  for (double& value : result.rest.values) value -= shift;
  result.rest.index = over_product(result.rest.index, *weights.operand, product);
  if (depends_on_reduction(result.rest.index, product.space)) return std::nullopt;
  Dequantization shifted = *weights.from;
  shifted.zero_point = {{shift}, {}};
  result.values = as_bytes(
      *centred_weights(graph, DequantizedWeights{weights.node, &shifted, weights.operand}));
  return result;
}

std::optional<WeightSums> sums_of_weights(const Compute& product, const Operand& operand,
                                          const Tensor& centred) {
  const index::IterationSpace& space = product.space;
  const std::vector<int64_t> strides = row_major_strides(centred.shape());
  Expr address;
  for (size_t d = 0; d < strides.size(); ++d) {
    address = address + Expr(strides[d]) * operand.map.exprs[d];
  }
  const index::Linear linear = index::to_linear(address);
  if (!linear.is_affine()) return std::nullopt;
  WeightSums result;
  Shape shape;
  std::vector<int> axes;  // parallel ones first
  int64_t terms = 1;
  for (int axis = 0; axis < static_cast<int>(space.axes.size()); ++axis) {
    const bool is_parallel = space.axes[axis].kind != index::AxisKind::kReduction;
    if (!is_parallel) terms *= space.axes[axis].extent;
    if (is_parallel && linear.coefficient(axis) == 0) continue;
    axes.push_back(axis);
    if (!is_parallel) continue;
    result.axes.push_back(axis);
    shape.push_back(space.axes[axis].extent);
  }
  result.sums = Tensor(DType::kI32, shape);
  std::vector<int64_t> point(axes.size(), 0);
  int64_t at = linear.constant;
  const auto* values = centred.data<float>();
  for (int64_t i = 0; i < result.sums.num_elems(); ++i) {
    int64_t sum = 0;
    for (int64_t term = 0; term < terms; ++term) {
      sum += static_cast<int64_t>(values[at]);
      for (size_t d = axes.size(); d-- > 0;) {
        const int64_t step = linear.coefficient(axes[d]);
        at += step;
        if (++point[d] < space.axes[axes[d]].extent) break;
        at -= point[d] * step;
        point[d] = 0;
      }
    }
    result.sums.set_i64(i, sum);
  }
  return result;
}

}  // namespace corf::rewrite
