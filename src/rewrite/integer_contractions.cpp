#include "rewrite/integer_contractions.h"

#include <algorithm>
#include <cmath>

#include "graph/dot_products.h"
#include "rewrite/byte_operands.h"
#include "rewrite/byte_weights.h"
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

/// Of a byte without its zero point.
constexpr int64_t kLargestByte = 255;
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
  DequantizedWeights weights() const { return {&w_node, &w_from, &w_operand()}; }
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

/// The largest absolute value, at least 1.
int64_t largest(const Tensor& centred) {
  float most = 1;
  for (const float x : centred.elems<float>()) most = std::max(most, std::fabs(x));
  return static_cast<int64_t>(most);
}

int64_t num_terms(const Compute& compute) {
  int64_t terms = 1;
  for (const index::Axis& axis : compute.space.axes) {
    if (axis.kind == index::AxisKind::kReduction) terms *= axis.extent;
  }
  return terms;
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
  explicit Rewriter(bool has_byte_products) : has_byte_products_(has_byte_products) {}

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
    const auto& dequantization = std::get<Compute>(match.x_node.op);
    ValueId x_bytes = match.x_node.inputs[match.x_from.operand];
    Operand x_read = dequantization.operands[match.x_from.operand];
    const bool is_direct =
        reads_own_point(x_read, graph.values[x_bytes].shape, dequantization.space);
    if (!is_direct) look_through_moves(graph, x_bytes, x_read.map);
    if (match.x_operand().guarded && !is_direct) return std::nullopt;
    const std::optional<Expr> channel = scale_channel(match);
    const std::optional<Tensor> centred = centred_weights(graph, match.weights());
    if (!channel || !centred) return std::nullopt;

    Compute sum = old;
    int64_t terms = num_terms(old);
    const int channels = summed_channels(old, match.x_operand(), match.w_operand());
    std::optional<ByteWeights> weights = byte_weights(graph, old, match.weights(), *centred);
    const bool takes_windows = has_byte_products_ && weights && weights->has_all() &&
                               sums_windows(old, match.x_operand(), match.w_operand());
    const bool in_f32 = channels < 0 && !takes_windows;
    if (in_f32) weights = ByteWeights{*centred, {{0}, {}}};
    if (!weights) return std::nullopt;
    std::optional<int64_t> padded_channels;
    bool has_few = false;
    if (channels >= 0 && old.space.axes[channels].extent % kStepsAtOnce != 0) {
      const int64_t extent = old.space.axes[channels].extent;
      has_few = extent < kFewChannels;
      if (has_few && (extent < kStepsAtOnce - 1 || !is_direct)) return std::nullopt;
      padded_channels = round_up(extent, kStepsAtOnce);
      terms = terms / extent * *padded_channels;
    }
    const int64_t most_terms =
        (in_f32 ? int64_t{1} << 24 : INT32_MAX) / (kLargestByte * largest(*centred));
    if (terms > most_terms && match.is_float_sum()) return std::nullopt;
    if (in_f32 && terms > most_terms) return std::nullopt;
    const std::optional<WeightSums> weight_sums = sums_of_weights(old, match.w_operand(), *centred);
    if (!weight_sums) return std::nullopt;

    Operand& x_operand = sum.operands[match.x];
    if (!is_direct) x_operand.map = index::compose(x_read.map, x_operand.map);
    ValueId x = x_bytes;
    const bool is_shifted = graph.values[x].dtype == DType::kI8 && !in_f32;
    const double zero_point =
        (known_zero ? match.x_from.zero_point.values[0] : 0) + (is_shifted ? 128 : 0);
    if (x_operand.guarded && !known_zero) {
      x = with_margins(graph, x, x_operand, sum.space, match.x_from.zero_point_value);
    }
    if (padded_channels) {
      if (has_few) {
        if (!pad_channels(graph, match, channels, *padded_channels, sum, x, weights->values)) {
          return std::nullopt;
        }
      } else if (!read_more_channels(match, channels, *padded_channels, sum, weights->values)) {
        return std::nullopt;
      }
    }
    if (is_shifted) x = bytes_.as_u8(graph, x);
    if (x_operand.guarded) x_operand.padding = zero_point;
    Corrections corrections{*weight_sums, zero_point, {}, weights->rest};
    if (!weights->has_all()) {
      corrections.x_sums = sums_of_bytes(graph, x, x_operand, old.space, channels, node.name);
    }
    if (channels >= 0) x = side_by_side(graph, x, x_operand.map, sum.space, channels);

    const DType x_dtype = graph.values[x].dtype, dtype = in_f32 ? DType::kF32 : DType::kI32;
    sum.body = {};
    const int a = sum.body.cast(sum.body.operand(match.x, x_dtype), dtype);
    const int b_bytes = sum.body.operand(match.w, in_f32 ? DType::kF32 : DType::kI8);
    sum.body.apply(ScalarOp::kMul, a, in_f32 ? b_bytes : sum.body.cast(b_bytes, dtype));
    std::vector<ValueId> inputs(2);
    inputs[match.x] = x;
    inputs[match.w] = graph.add_constant(match.w_node.name, std::move(weights->values));
    const ValueId sums = graph.add_compute(node.name, std::move(sum), inputs, node.origin);
    graph.nodes[graph.values[sums].producer].work_flops = node.work_flops;
    return stood_for(graph, node, match, sums, *channel, corrections);
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

  /// What makes of a sum of bytes the one that it stands for.
  struct Corrections {
    WeightSums weight_sums;
    double zero_point = 0;  // of x, that is known
    std::optional<ByteSums> x_sums;
    PointTable rest;  // of the weights' zero point; times x_sums
  };

  /// (sum - rest * sum of x - zero_point * sum of weights) * scales, as the product's type.
  static ValueId stood_for(Graph& graph, const Node& node, const Match& match, ValueId sums,
                           const Expr& channel, const Corrections& corrections) {
    const WeightSums& weight_sums = corrections.weight_sums;
    const double zero_point = corrections.zero_point;
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
      Tensor products(dtype, weight_sums.sums.shape());
      for (int64_t i = 0; i < products.num_elems(); ++i) {
        const int64_t product = -static_cast<int64_t>(factor) * weight_sums.sums.at_i64(i);
        if (is_float(dtype)) {
          products.set_f64(i, static_cast<double>(product));
        } else {
          products.set_i64(i, product);
        }
      }
      return add_operand(graph.add_constant(node.name + "/zero_point", std::move(products)),
                         by_channel);
    };
    if (corrections.x_sums) {
      index::IndexMap by_axes;
      for (const int axis : corrections.x_sums->axes) by_axes.exprs.push_back(Expr::variable(axis));
      const int x_sum = add_operand(corrections.x_sums->value, by_axes);
      const PointTable& rest = corrections.rest;
      int factor = -1;
      if (rest.is_single()) {
        factor = body.constant_i64(static_cast<int64_t>(rest.values[0]), dtype);
      } else {
        Tensor values(dtype, {static_cast<int64_t>(rest.values.size())});
        for (int64_t i = 0; i < values.num_elems(); ++i) values.set_f64(i, rest.values[i]);
        factor = add_operand(graph.add_constant(node.name + "/weights_zero_point", values),
                             {{rest.index}});
      }
      value = body.apply(ScalarOp::kSub, value, body.apply(ScalarOp::kMul, x_sum, factor));
    }
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

  bool has_byte_products_;
  ByteOperands bytes_;
};

}  // namespace

Result<Graph> integer_contractions(Graph graph, bool has_byte_products) {
  Rewriter rewriter(has_byte_products);
  return without_dead_nodes(rebuild(
      graph, [&](Rebuild& rebuild, const Node& node) { return rewriter.visit(rebuild, node); }));
}

}  // namespace corf::rewrite
