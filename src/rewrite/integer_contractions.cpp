#include "rewrite/integer_contractions.h"

#include <algorithm>
#include <cmath>

#include "graph/dot_products.h"
#include "rewrite/byte_operands.h"
#include "rewrite/dense_products.h"
#include "rewrite/quantization.h"
#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
#include "rewrite/structure.h"
#include "support/checked.h"

namespace corf::rewrite {
using graph::Combiner;
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::Operand;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;
using index::Expr;

namespace {

constexpr int64_t kLargestProduct = 255 * 128;
/// Steps of a sum that instructions for bytes take at once.
constexpr int64_t kStepsAtOnce = graph::steps_at_once(DType::kI32, DType::kU8, DType::kI8);

/// A sum of products of two dequantised values, the second one constant.
struct Match {
  const Compute* compute = nullptr;
  int x = 0, w = 1;  // operand numbers
  Node x_node, w_node;
  Dequantization x_from, w_from;

  const Operand& x_operand() const { return compute->operands[x]; }
  const Operand& w_operand() const { return compute->operands[w]; }
  bool is_float_sum() const { return is_float(compute->body.result_dtype()); }
};

std::optional<Match> match(const Graph& graph, const Compute& compute,
                           const std::vector<ValueId>& inputs) {
  if (!is_product(compute)) return std::nullopt;
  for (const int w : {1, 0}) {
    const Node &x_node = graph.producer(inputs[1 - w]), &w_node = graph.producer(inputs[w]);
    const auto x_from = match_dequantization(graph, x_node);
    const auto w_from = match_dequantization(graph, w_node);
    if (!x_from || !w_from || w_from->zero_point_value >= 0 ||
        !constant_tensor(graph, w_node.inputs[w_from->operand])) {
      continue;
    }
    Match result{&compute, 1 - w, w, x_node, w_node, *x_from, *w_from};
    const Operand &x = result.x_operand(), &weights = result.w_operand();
    if (!reads_axes_only(x, compute.space) || !reads_axes_only(weights, compute.space)) continue;
    if (weights.guarded || (x.guarded && x.padding != 0)) continue;
    if (result.is_float_sum() != (x_from->scale && w_from->scale)) continue;
    return result;
  }
  return std::nullopt;
}

int64_t num_terms(const Compute& compute) {
  int64_t terms = 1;
  for (const index::Axis& axis : compute.space.axes) {
    if (axis.kind == index::AxisKind::kReduction) terms *= axis.extent;
  }
  return terms;
}

/// w - zero_point as i8; nullopt where i8 does not hold them, or reading them takes more than
/// multiplications.
std::optional<Tensor> centred_weights(const Graph& graph, const Match& match) {
  const auto& compute = std::get<Compute>(match.w_node.op);
  const Tensor& bytes = *constant_tensor(graph, match.w_node.inputs[match.w_from.operand]);
  const std::vector<int64_t> strides = row_major_strides(bytes.shape());
  Expr address;
  for (size_t d = 0; d < strides.size(); ++d) {
    address = address + Expr(strides[d]) * compute.operands[match.w_from.operand].map.exprs[d];
  }
  const index::Linear at = index::to_linear(address),
                      zero_at = index::to_linear(match.w_from.zero_point.index);
  if (!at.is_affine() || !zero_at.is_affine()) return std::nullopt;
  const Shape& shape = graph.values[match.w_node.outputs[0]].shape;
  Tensor result(DType::kI8, shape);
  std::vector<int64_t> point(shape.size(), 0);
  int64_t from = at.constant, zero_from = zero_at.constant;
  for (int64_t i = 0; i < result.num_elems(); ++i) {
    const int64_t value =
        bytes.at_i64(from) - static_cast<int64_t>(match.w_from.zero_point.values[zero_from]);
    if (value < -128 || value > 127) return std::nullopt;
    result.set_i64(i, value);
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

/// The expression over the dequantised value's axes, over those of the product that reads it.
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

/// Sums of the weights over the reduction axes, by the parallel axes that they have.
struct WeightSums {
  std::vector<int> axes;
  Tensor sums;  // i32
};

std::optional<WeightSums> sums_of(const Match& match, const Tensor& weights) {
  const index::IterationSpace& space = match.compute->space;
  const std::vector<int64_t> strides = row_major_strides(weights.shape());
  Expr address;
  for (size_t d = 0; d < strides.size(); ++d) {
    address = address + Expr(strides[d]) * match.w_operand().map.exprs[d];
  }
  const index::Linear linear = index::to_linear(address);
  if (!linear.is_affine()) return std::nullopt;
  WeightSums result;
  Shape shape;
  std::vector<int> axes;  // parallel ones first
  for (int axis = 0; axis < static_cast<int>(space.axes.size()); ++axis) {
    const bool is_parallel = space.axes[axis].kind != index::AxisKind::kReduction;
    if (is_parallel && linear.coefficient(axis) == 0) continue;
    axes.push_back(axis);
    if (!is_parallel) continue;
    result.axes.push_back(axis);
    shape.push_back(space.axes[axis].extent);
  }
  result.sums = Tensor(DType::kI32, shape);
  const int64_t terms = num_terms(*match.compute);
  std::vector<int64_t> point(axes.size(), 0);
  int64_t at = linear.constant;
  const auto* bytes = weights.data<int8_t>();
  for (int64_t i = 0; i < result.sums.num_elems(); ++i) {
    int64_t sum = 0;
    for (int64_t term = 0; term < terms; ++term) {
      sum += bytes[at];
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

Tensor with_channels(const Tensor& weights, size_t dim, int64_t channels) {
  Shape shape = weights.shape();
  int64_t inner = 1;
  for (size_t d = dim + 1; d < shape.size(); ++d) inner *= shape[d];
  const int64_t run = shape[dim] * inner, wide_run = channels * inner;
  shape[dim] = channels;
  Tensor result(weights.dtype(), shape);
  for (int64_t i = 0; i * run < weights.num_elems(); ++i) {
    std::copy_n(weights.data<int8_t>() + i * run, run, result.data<int8_t>() + i * wide_run);
  }
  return result;
}

class Rewriter {
 public:
  bool visit(Rebuild& rebuild, const Node& node) {
    const auto* compute = std::get_if<Compute>(&node.op);
    if (!compute) return false;
    Graph& graph = rebuild.graph();
    const auto found = match(graph, *compute, rebuild.mapped(node.inputs));
    if (!found) return false;
    const std::optional<ValueId> result = rewrite(graph, node, *found);
    if (!result) return false;
    rebuild.replace(node.outputs[0], *result);
    return true;
  }

 private:
  std::optional<ValueId> rewrite(Graph& graph, const Node& node, const Match& match) {
    constexpr int64_t kFewChannels = 8;
    const Compute& old = *match.compute;
    const bool known_zero = match.x_from.zero_point_value < 0;
    if (known_zero && !match.x_from.zero_point.is_single()) return std::nullopt;
    if (match.x_from.scale && !match.x_from.scale->is_single()) return std::nullopt;
    if (!known_zero && match.x_operand().guarded) return std::nullopt;
    const auto& dequantization = std::get<Compute>(match.x_node.op);
    ValueId x_bytes = match.x_node.inputs[match.x_from.operand];
    Operand x_read = dequantization.operands[match.x_from.operand];
    const bool is_direct =
        reads_own_point(x_read, graph.values[x_bytes].shape, dequantization.space);
    if (!is_direct) look_through_moves(graph, x_bytes, x_read.map);
    if (match.x_operand().guarded && !is_direct) return std::nullopt;
    const std::optional<Expr> channel = scale_channel(match);
    std::optional<Tensor> weights = centred_weights(graph, match);
    if (!channel || !weights) return std::nullopt;

    Compute sum = old;
    int64_t terms = num_terms(old);
    const int channels = summed_channels(old, match.x_operand(), match.w_operand());
    const bool in_f32 = channels < 0;
    std::optional<int64_t> padded_channels;
    bool has_few = false;
    if (channels >= 0 && old.space.axes[channels].extent % kStepsAtOnce != 0) {
      const int64_t extent = old.space.axes[channels].extent;
      has_few = extent < kFewChannels;
      if (has_few && (extent < kStepsAtOnce - 1 || !is_direct)) return std::nullopt;
      padded_channels = round_up(extent, kStepsAtOnce);
      terms = terms / extent * *padded_channels;
    }
    const int64_t most_terms = (in_f32 ? int64_t{1} << 24 : INT32_MAX) / kLargestProduct;
    if (terms > most_terms && match.is_float_sum()) return std::nullopt;
    if (in_f32 && terms > most_terms) return std::nullopt;
    const std::optional<WeightSums> weight_sums = sums_of(match, *weights);
    if (!weight_sums) return std::nullopt;

    Operand& x_operand = sum.operands[match.x];
    if (!is_direct) x_operand.map = index::compose(x_read.map, x_operand.map);
    ValueId x = x_bytes;
    const bool is_shifted = graph.values[x].dtype == DType::kI8 && !in_f32;
    const double zero_point =
        (known_zero ? match.x_from.zero_point.values[0] : 0) + (is_shifted ? 128 : 0);
    if (padded_channels) {
      if (has_few) {
        if (!pad_channels(graph, match, channels, *padded_channels, sum, x, *weights)) {
          return std::nullopt;
        }
      } else if (!read_more_channels(match, channels, *padded_channels, sum, *weights)) {
        return std::nullopt;
      }
    }
    if (is_shifted) x = bytes_.as_u8(graph, x);
    if (x_operand.guarded) x_operand.padding = zero_point;
    if (channels >= 0) x = side_by_side(graph, x, x_operand.map, sum.space, channels);

    const DType x_dtype = graph.values[x].dtype, dtype = in_f32 ? DType::kF32 : DType::kI32;
    sum.body = {};
    const int a = sum.body.cast(sum.body.operand(match.x, x_dtype), dtype);
    const int b_bytes = sum.body.operand(match.w, in_f32 ? DType::kF32 : DType::kI8);
    sum.body.apply(ScalarOp::kMul, a, in_f32 ? b_bytes : sum.body.cast(b_bytes, dtype));
    std::vector<ValueId> inputs(2);
    inputs[match.x] = x;
    inputs[match.w] =
        graph.add_constant(match.w_node.name, in_f32 ? as_f32(*weights) : std::move(*weights));
    const ValueId sums = graph.add_compute(node.name, std::move(sum), inputs, node.origin);
    graph.nodes[graph.values[sums].producer].work_flops = node.work_flops;
    return stood_for(graph, node, match, sums, *channel, *weight_sums, zero_point);
  }

  /// Reads what nodes that only move bytes move.
  static void look_through_moves(const Graph& graph, ValueId& bytes, index::IndexMap& map) {
    while (const Compute* move = producing_compute(graph, bytes)) {
      if (!is_elementwise(*move) || returned_operand(move->body) != 0) return;
      if (move->operands.size() != 1 || move->operands[0].guarded) return;
      map = index::compose(move->operands[0].map, map);
      bytes = graph.producer(bytes).inputs[0];
    }
  }

  /// What tells the weights' scales apart, over the product's axes.
  static std::optional<Expr> scale_channel(const Match& match) {
    if (!match.w_from.scale || match.w_from.scale->is_single()) return Expr();
    const Expr channel = over_product(match.w_from.scale->index, match.w_operand(), *match.compute);
    if (depends_on_reduction(channel, match.compute->space)) return std::nullopt;
    return channel;
  }

  static Tensor as_f32(const Tensor& bytes) {
    Tensor result(DType::kF32, bytes.shape());
    for (int64_t i = 0; i < bytes.num_elems(); ++i) result.set_f64(i, bytes.at_f64(i));
    return result;
  }

  /// Reads channels past the last one, of which the weights are zero: what lies there are margins.
  static bool read_more_channels(const Match& match, int axis, int64_t channels, Compute& sum,
                                 Tensor& weights) {
    Operand& x = sum.operands[match.x];
    const auto& exprs = match.w_operand().map.exprs;
    const auto at = std::find_if(exprs.begin(), exprs.end(),
                                 [&](const Expr& expr) { return expr.is_variable(axis); });
    if (at == exprs.end()) return false;
    x.guarded = true;
    weights = rewrite::with_channels(weights, static_cast<size_t>(at - exprs.begin()), channels);
    sum.space.axes[axis].extent = channels;
    return true;
  }

  bool pad_channels(Graph& graph, const Match& match, int axis, int64_t channels, Compute& sum,
                    ValueId& x, Tensor& weights) {
    const auto dim_of = [&](const Operand& operand) {
      const auto& exprs = operand.map.exprs;
      const auto at = std::find_if(exprs.begin(), exprs.end(),
                                   [&](const Expr& expr) { return expr.is_variable(axis); });
      return at == exprs.end() ? -1 : static_cast<int>(at - exprs.begin());
    };
    const int x_dim = dim_of(match.x_operand()), w_dim = dim_of(match.w_operand());
    if (x_dim < 0 || w_dim < 0) return false;
    const std::optional<ValueId> padded = bytes_.with_channels(graph, x, x_dim, channels);
    if (!padded) return false;
    x = *padded;
    weights = rewrite::with_channels(weights, static_cast<size_t>(w_dim), channels);
    sum.space.axes[axis].extent = channels;
    return true;
  }

  /// (sum - zero_point * sum of weights) * scales, as the product's type.
  static ValueId stood_for(Graph& graph, const Node& node, const Match& match, ValueId sums,
                           const Expr& channel, const WeightSums& weight_sums, double zero_point) {
    const Shape shape = graph.values[sums].shape;
    const int rank = static_cast<int>(shape.size());
    Compute compute;
    for (int d = 0; d < rank; ++d) compute.space.axes.push_back(match.compute->space.axes[d]);
    compute.operands.push_back(Operand{index::IndexMap::identity(rank)});
    std::vector<ValueId> inputs = {sums};
    ScalarBody& body = compute.body;
    const DType dtype = graph.values[sums].dtype;
    int value = body.operand(0, dtype);
    const auto add_operand = [&](ValueId input, index::IndexMap map) {
      compute.operands.push_back({std::move(map)});
      inputs.push_back(input);
      return body.operand(static_cast<int>(inputs.size()) - 1, graph.values[input].dtype);
    };
    index::IndexMap by_channel;
    for (const int axis : weight_sums.axes) by_channel.exprs.push_back(Expr::variable(axis));
    const auto correction = [&](double factor) {
      Tensor corrections(dtype, weight_sums.sums.shape());
      for (int64_t i = 0; i < corrections.num_elems(); ++i) {
        const int64_t product = -static_cast<int64_t>(factor) * weight_sums.sums.at_i64(i);
        if (is_float(dtype)) {
          corrections.set_f64(i, static_cast<double>(product));
        } else {
          corrections.set_i64(i, product);
        }
      }
      return add_operand(graph.add_constant(node.name + "/zero_point", std::move(corrections)),
                         by_channel);
    };
    if (zero_point != 0) value = body.apply(ScalarOp::kAdd, value, correction(zero_point));
    if (match.x_from.zero_point_value >= 0) {
      const int sum_of_weights = correction(-1);
      index::IndexMap only;
      only.exprs.assign(graph.values[match.x_from.zero_point_value].shape.size(), Expr(0));
      const int zero = body.cast(add_operand(match.x_from.zero_point_value, only), dtype);
      value = body.apply(ScalarOp::kSub, value, body.apply(ScalarOp::kMul, zero, sum_of_weights));
    }
    if (match.is_float_sum()) {
      value = body.cast(value, DType::kF32);
      const double x_scale = match.x_from.scale->values[0];
      const std::vector<double>& scales = match.w_from.scale->values;
      if (scales.size() == 1) {
        body.apply(ScalarOp::kMul, value,
                   body.constant(static_cast<float>(x_scale * scales[0]), DType::kF32));
      } else {
        Tensor products(DType::kF32, {static_cast<int64_t>(scales.size())});
        for (size_t i = 0; i < scales.size(); ++i) {
          products.set_f64(static_cast<int64_t>(i), x_scale * scales[i]);
        }
        const ValueId constant = graph.add_constant(node.name + "/scale", std::move(products));
        body.apply(ScalarOp::kMul, value, add_operand(constant, {{channel}}));
      }
    } else {
      value = body.cast(value, DType::kI32);
      if (body.nodes.back().op == ScalarOp::kOperand) return sums;
    }
    return graph.add_compute(node.name + "/dequantized", std::move(compute), std::move(inputs),
                             node.origin);
  }

  ByteOperands bytes_;
};

}  // namespace

Result<Graph> integer_contractions(Graph graph) {
  Rewriter rewriter;
  return without_dead_nodes(rebuild(
      graph, [&](Rebuild& rebuild, const Node& node) { return rewriter.visit(rebuild, node); }));
}

}  // namespace corf::rewrite
