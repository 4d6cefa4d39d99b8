#include "onnx/normalization.h"

#include <cmath>
#include <numeric>

#include "onnx/compose.h"

namespace corf::onnx {

using graph::Combiner;

ValueId affine(NodeImport& node, std::string name, ValueId normalized, ValueId scale, ValueId shift,
               DType dtype) {
  const DType wide = node.dtype(normalized);
  std::vector<ValueId> inputs = {normalized, scale};
  if (shift >= 0) inputs.push_back(shift);
  return per_element(node.graph, std::move(name), std::move(inputs),
                     [&](ScalarBody& b, const std::vector<int>& in) {
                       int y = b.apply(ScalarOp::kMul, in[0], b.cast(in[1], wide));
                       if (shift >= 0) y = b.apply(ScalarOp::kAdd, y, b.cast(in[2], wide));
                       return b.cast(y, dtype);
                     });
}

ValueId inverse_root(NodeImport& node, std::string name, ValueId x, double epsilon) {
  DType dtype = node.dtype(x);
  return per_element(node.graph, std::move(name), {x},
                     [&](ScalarBody& b, const std::vector<int>& in) {
                       int sum = b.apply(ScalarOp::kAdd, in[0], b.constant(epsilon, dtype));
                       return b.apply(ScalarOp::kRsqrt, sum);
                     });
}

Normalized normalize(NodeImport& node, std::string name, ValueId x, const std::vector<int>& axes,
                     double epsilon) {
  ValueId average = mean(node.graph, node.part("mean"), x, axes);
  ValueId centred = binary(node.graph, node.part("centred"), ScalarOp::kSub, x, average);
  ValueId square = binary(node.graph, node.part("square"), ScalarOp::kMul, centred, centred);
  ValueId variance = mean(node.graph, node.part("variance"), square, axes);
  ValueId inverse = inverse_root(node, node.part("inverse_deviation"), variance, epsilon);
  ValueId value = binary(node.graph, std::move(name), ScalarOp::kMul, centred, inverse);
  return {value, average, variance, inverse};
}

Normalized normalize_by_root(NodeImport& node, std::string name, ValueId x,
                             const std::vector<int>& axes, double epsilon) {
  ValueId square = binary(node.graph, node.part("square"), ScalarOp::kMul, x, x);
  ValueId mean_square = mean(node.graph, node.part("mean_square"), square, axes);
  ValueId inverse = inverse_root(node, node.part("inverse_root"), mean_square, epsilon);
  return {binary(node.graph, std::move(name), ScalarOp::kMul, x, inverse), -1, mean_square,
          inverse};
}

namespace {

bool is_half(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16; }

std::vector<int> axis_range(int begin, int end) {
  std::vector<int> axes(end - begin);
  std::iota(axes.begin(), axes.end(), begin);
  return axes;
}

/// Softmax before opset 13 treats all dimensions from `axis` on as one.
Result<std::vector<int>> softmax_axes(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  int rank = node.rank(x);
  bool flattens = node.opset() < 13;
  int64_t wanted = node.int_attribute("axis", flattens ? 1 : -1);
  if (flattens && wanted == rank) return std::vector<int>();
  CORF_ASSIGN(int axis, normal_axis(node, wanted, rank));
  if (!flattens) return std::vector<int>{axis};
  return axis_range(axis, rank);
}

Status import_softmax(NodeImport& node) {
  CORF_ASSIGN(auto axes, softmax_axes(node));
  CORF_RETURN_IF_ERROR(require_float(node, node.input(0)));
  node.set_output(softmax(node.graph, node.name(), node.input(0), axes));
  return {};
}

Status import_log_softmax(NodeImport& node) {
  CORF_ASSIGN(auto axes, softmax_axes(node));
  CORF_RETURN_IF_ERROR(require_float(node, node.input(0)));
  node.set_output(softmax(node.graph, node.name(), node.input(0), axes, true));
  return {};
}

/// 1 at the first maximum along the axis, 0 elsewhere.
Status import_hardmax(NodeImport& node) {
  CORF_ASSIGN(auto axes, softmax_axes(node));
  ValueId x = node.input(0);
  CORF_RETURN_IF_ERROR(require_float(node, x));
  Shape shape = node.shape(x);
  DType dtype = node.dtype(x);
  int axis = axes.empty() ? static_cast<int>(shape.size()) : axes[0];
  Shape flat = shape;
  if (axes.size() != 1) {
    flat.assign(shape.begin(), shape.begin() + axis);
    flat.push_back(num_elems(Shape(shape.begin() + axis, shape.end())));
    x = reshape(node.graph, node.part("flat"), x, flat);
  }
  ValueId first =
      graph::reduce(node.graph, node.part("arg_max"), x, Combiner::kArgMax, {axis}, true);
  Tensor positions = filled(DType::kI64, {flat[axis]}, [](int64_t i) { return i; });
  Shape along(flat.size() - axis, 1);
  along[0] = flat[axis];
  ValueId coordinate = node.graph.add_constant(node.part("positions"), positions.reshaped(along));
  ValueId y = per_element(node.graph, node.name(), {coordinate, first},
                          [&](ScalarBody& b, const std::vector<int>& in) {
                            return b.cast(b.apply(ScalarOp::kEqual, in[0], in[1]), dtype);
                          });
  node.set_output(reshape(node.graph, node.part("shape"), y, shape));
  return {};
}

/// A per-channel vector as [C, 1, ...], to broadcast over an image of the given rank.
ValueId channel_column(NodeImport& node, std::string_view suffix, ValueId vector, int rank) {
  Shape shape(rank - 1, 1);
  shape[0] = node.shape(vector)[0];
  return reshape(node.graph, node.part(suffix), vector, shape);
}

struct BatchNormFactors {
  ValueId scale;
  ValueId shift;
};

/// scale / sqrt(variance + epsilon) and bias - mean * scale / sqrt(variance + epsilon), computed
/// here where the statistics are known.
BatchNormFactors batch_norm_factors(NodeImport& node, double epsilon, DType dtype) {
  const Tensor* known[4];
  bool all_known = true;
  for (int i = 0; i < 4; ++i) {
    known[i] = node.known(node.input(i + 1));
    all_known = all_known && known[i] != nullptr;
  }
  Shape channels = node.shape(node.input(1));
  if (all_known) {
    Tensor scale(dtype, channels);
    Tensor shift(dtype, channels);
    for (int64_t c = 0; c < channels[0]; ++c) {
      double factor = known[0]->at_f64(c) / std::sqrt(known[3]->at_f64(c) + epsilon);
      scale.set_f64(c, factor);
      shift.set_f64(c, known[1]->at_f64(c) - known[2]->at_f64(c) * factor);
    }
    ValueId scale_value = node.graph.add_constant(node.part("scale"), scale);
    return {scale_value, node.graph.add_constant(node.part("shift"), shift)};
  }
  ValueId inverse = inverse_root(node, node.part("inverse"), node.input(4), epsilon);
  ValueId scale = binary(node.graph, node.part("scale"), ScalarOp::kMul, node.input(1), inverse);
  ValueId shift = per_element(node.graph, node.part("shift"), {node.input(2), node.input(3), scale},
                              [](ScalarBody& b, const std::vector<int>& in) {
                                int product = b.apply(ScalarOp::kMul, in[1], in[2]);
                                return b.apply(ScalarOp::kSub, in[0], product);
                              });
  return {scale, shift};
}

/// Statistics of the batch instead of given ones; outputs 1 and 2 mix those in.
Status import_training_batch_normalization(NodeImport& node) {
  ValueId x = node.input(0);
  const int rank = node.rank(x);
  std::vector<int> axes = axis_range(2, rank);
  axes.insert(axes.begin(), 0);
  const double epsilon = node.float_attribute("epsilon", 1e-5F);
  const double momentum = node.float_attribute("momentum", 0.9F);
  Normalized normalized = normalize(node, node.part("normalized"), x, axes, epsilon);
  ValueId scale = channel_column(node, "scale_column", node.input(1), rank);
  ValueId shift = channel_column(node, "shift_column", node.input(2), rank);
  node.set_output(affine(node, node.name(), normalized.value, scale, shift, node.dtype(x)));
  const ValueId current[] = {normalized.mean, normalized.variance};
  for (int i : {0, 1}) {
    const ValueId given = node.input(3 + i);
    const DType dtype = node.dtype(given);
    const ValueId vector = reshape(node.graph, node.part(i == 0 ? "batch_mean" : "batch_variance"),
                                   current[i], node.shape(given));
    node.set_output(1 + i,
                    per_element(node.graph, node.part(i == 0 ? "running_mean" : "running_variance"),
                                {given, vector}, [&](ScalarBody& b, const std::vector<int>& in) {
                                  auto part = [&](int value, double factor) {
                                    return b.apply(ScalarOp::kMul, b.cast(value, dtype),
                                                   b.constant(factor, dtype));
                                  };
                                  return b.apply(ScalarOp::kAdd, part(in[0], momentum),
                                                 part(in[1], 1 - momentum));
                                }));
  }
  return {};
}

Status import_batch_normalization(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(5));
  bool trains = node.opset() < 14 && node.wants_output(1);
  if (node.opset() < 7) trains = node.int_attribute("is_test", 0) == 0;
  if (trains) return node.unsupported("training mode is not supported before opset 14");
  if (node.opset() < 9 && node.int_attribute("spatial", 1) == 0) {
    return node.unsupported("statistics for each position (spatial = 0) are not supported");
  }
  ValueId x = node.input(0);
  CORF_RETURN_IF_ERROR(require_float(node, x));
  Shape shape = node.shape(x);
  if (shape.size() < 2) return node.invalid("an input of rank {}", shape.size());
  for (int i = 1; i <= 4; ++i) {
    if (node.shape(node.input(i)) != Shape{shape[1]}) {
      return node.invalid("input {} has shape {} for {} channels", i,
                          to_string(node.shape(node.input(i))), shape[1]);
    }
  }
  CORF_RETURN_IF_ERROR(require_same_type(node, {node.input(1), node.input(2)}));
  CORF_RETURN_IF_ERROR(require_same_type(node, {node.input(3), node.input(4)}));
  if (node.int_attribute("training_mode", 0) != 0) {
    CORF_RETURN_IF_ERROR(require_same_type(node, {x, node.input(1)}));
    return import_training_batch_normalization(node);
  }
  bool mixed =
      node.dtype(x) != node.dtype(node.input(1)) || node.dtype(x) != node.dtype(node.input(3));
  bool known = node.known(node.input(1)) != nullptr && node.known(node.input(2)) != nullptr &&
               node.known(node.input(3)) != nullptr && node.known(node.input(4)) != nullptr;
  if (mixed && !known) {
    return node.unsupported("statistics of another element type than the input must be constants");
  }
  double epsilon = node.float_attribute("epsilon", 1e-5F);
  // Factors of a half are not rounded to it, nor do they overflow.
  const DType dtype = node.dtype(x), wide = is_half(dtype) ? DType::kF32 : dtype;
  BatchNormFactors factors = batch_norm_factors(node, epsilon, wide);
  int rank = node.rank(x);
  ValueId scale = channel_column(node, "scale_column", factors.scale, rank);
  ValueId shift = channel_column(node, "shift_column", factors.shift, rank);
  x = cast(node.graph, node.part("wide"), x, wide);
  node.set_output(affine(node, node.name(), x, scale, shift, dtype));
  return {};
}

/// The type that statistics are computed in: stash_type names float for the 16-bit types.
DType stash_type(NodeImport& node, ValueId x) {
  auto stash = node.dtype_attribute("stash_type", DType::kF32);
  DType dtype = node.dtype(x);
  return is_half(dtype) && stash && is_float(*stash) ? *stash : dtype;
}

Status import_layer_normalization(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId x = node.input(0);
  CORF_RETURN_IF_ERROR(require_float(node, x));
  int rank = node.rank(x);
  CORF_ASSIGN(int axis, normal_axis(node, node.int_attribute("axis", -1), rank));
  for (int i = 1; i <= 2; ++i) {
    if (!node.has(i)) continue;
    CORF_RETURN_IF_ERROR(require_same_type(node, {x, node.input(i)}));
    if (broadcast_shape(node.shape(x), node.shape(node.input(i))) != node.shape(x)) {
      return node.invalid("scale or bias {} does not broadcast to {}",
                          to_string(node.shape(node.input(i))), to_string(node.shape(x)));
    }
  }
  double epsilon = node.float_attribute("epsilon", 1e-5F);
  DType stash = stash_type(node, x);
  ValueId wide = cast(node.graph, node.part("wide"), x, stash);
  Normalized normalized =
      normalize(node, node.part("normalized"), wide, axis_range(axis, rank), epsilon);
  const ValueId shift = node.has(2) ? node.input(2) : -1;
  node.set_output(affine(node, node.name(), normalized.value, node.input(1), shift, node.dtype(x)));
  node.set_output(1, normalized.mean);
  node.set_output(2, normalized.inverse_deviation);
  return {};
}

Status import_rms_normalization(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId x = node.input(0);
  ValueId scale = node.input(1);
  CORF_RETURN_IF_ERROR(require_float(node, x));
  CORF_RETURN_IF_ERROR(require_same_type(node, {x, scale}));
  int rank = node.rank(x);
  CORF_ASSIGN(int axis, normal_axis(node, node.int_attribute("axis", -1), rank));
  if (broadcast_shape(node.shape(x), node.shape(scale)) != node.shape(x)) {
    return node.invalid("scale {} does not broadcast to {}", to_string(node.shape(scale)),
                        to_string(node.shape(x)));
  }
  ValueId wide = cast(node.graph, node.part("wide"), x, stash_type(node, x));
  double epsilon = node.float_attribute("epsilon", 1e-5F);
  const Normalized normalized =
      normalize_by_root(node, node.part("normalized"), wide, axis_range(axis, rank), epsilon);
  node.set_output(affine(node, node.name(), normalized.value, scale, -1, node.dtype(x)));
  node.set_output(1, normalized.inverse_deviation);
  return {};
}

Status import_instance_normalization(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  ValueId x = node.input(0);
  CORF_RETURN_IF_ERROR(require_float(node, x));
  CORF_RETURN_IF_ERROR(require_same_type(node, {x, node.input(1), node.input(2)}));
  Shape shape = node.shape(x);
  if (shape.size() < 3 || node.shape(node.input(1)) != Shape{shape[1]} ||
      node.shape(node.input(2)) != Shape{shape[1]}) {
    return node.invalid("scale and bias do not fit the channels");
  }
  int rank = node.rank(x);
  double epsilon = node.float_attribute("epsilon", 1e-5F);
  Normalized normalized = normalize(node, node.part("normalized"), x, axis_range(2, rank), epsilon);
  ValueId scale = channel_column(node, "scale_column", node.input(1), rank);
  ValueId shift = channel_column(node, "shift_column", node.input(2), rank);
  node.set_output(affine(node, node.name(), normalized.value, scale, shift, node.dtype(x)));
  return {};
}

/// Up to opset 20 scale and bias belong to groups, from 21 on to channels.
Status import_group_normalization(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  ValueId x = node.input(0);
  CORF_RETURN_IF_ERROR(require_float(node, x));
  CORF_RETURN_IF_ERROR(require_same_type(node, {x, node.input(1), node.input(2)}));
  Shape shape = node.shape(x);
  int64_t groups = node.int_attribute("num_groups", 0);
  if (shape.size() < 2 || groups < 1 || groups > std::max<int64_t>(shape[1], 1) ||
      shape[1] % groups != 0) {
    return node.invalid("{} groups do not divide the channels", groups);
  }
  int64_t num_factors = node.opset() < 21 ? groups : shape[1];
  for (int i = 1; i <= 2; ++i) {
    if (node.shape(node.input(i)) != Shape{num_factors}) {
      return node.invalid("input {} has shape {}, not {}", i, to_string(node.shape(node.input(i))),
                          num_factors);
    }
  }
  DType dtype = node.dtype(x);
  DType stash = stash_type(node, x);
  Shape grouped = {shape[0], groups, num_elems(shape) / std::max<int64_t>(1, shape[0] * groups)};
  ValueId flat = reshape(node.graph, node.part("groups"), x, grouped);
  ValueId wide = cast(node.graph, node.part("wide"), flat, stash);
  double epsilon = node.float_attribute("epsilon", 1e-5F);
  Normalized normalized = normalize(node, node.part("normalized"), wide, {2}, epsilon);
  ValueId value = normalized.value;
  Shape factors = {groups, 1};
  if (node.opset() >= 21) {
    value = reshape(node.graph, node.part("channels"), value, shape);
    factors.assign(shape.size() - 1, 1);
    factors[0] = shape[1];
  }
  ValueId scale = reshape(node.graph, node.part("scale_column"), node.input(1), factors);
  ValueId shift = reshape(node.graph, node.part("shift_column"), node.input(2), factors);
  ValueId y = affine(node, node.name(), value, scale, shift, dtype);
  node.set_output(reshape(node.graph, node.part("shape"), y, shape));
  return {};
}

Status import_mean_variance_normalization(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  CORF_RETURN_IF_ERROR(require_float(node, x));
  CORF_ASSIGN(auto axes, normal_axes(node, node.ints_attribute("axes", {0, 2, 3}), node.rank(x)));
  node.set_output(normalize(node, node.name(), x, axes, 1e-9).value);
  return {};
}

Status import_lp_normalization(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  CORF_RETURN_IF_ERROR(require_float(node, x));
  CORF_ASSIGN(int axis, normal_axis(node, node.int_attribute("axis", -1), node.rank(x)));
  int64_t p = node.int_attribute("p", 2);
  if (p != 1 && p != 2) return node.invalid("attribute 'p' is {}, not 1 or 2", p);
  auto power = [p](ScalarBody& b, int element) {
    return p == 1 ? b.apply(ScalarOp::kAbs, element) : b.apply(ScalarOp::kMul, element, element);
  };
  ValueId sum = graph::reduce(node.graph, node.part("sum"), x, Combiner::kSum, {axis}, true, power);
  DType dtype = node.dtype(x);
  node.set_output(per_element(
      node.graph, node.name(), {x, sum}, [&](ScalarBody& b, const std::vector<int>& in) {
        int norm = p == 1 ? in[1] : b.apply(ScalarOp::kSqrt, in[1]);
        int zero = b.constant(0, dtype);  // a vector of zeros stays one
        int ratio = b.apply(ScalarOp::kDiv, in[0], norm);
        return b.apply(ScalarOp::kSelect, b.apply(ScalarOp::kEqual, norm, zero), zero, ratio);
      }));
  return {};
}

/// x / (bias + alpha / size * sum of squares over `size` channels)^beta
Status import_lrn(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  CORF_RETURN_IF_ERROR(require_float(node, x));
  Shape shape = node.shape(x);
  int64_t size = node.int_attribute("size", 0);
  double alpha = node.float_attribute("alpha", 1e-4F);
  double beta = node.float_attribute("beta", 0.75);
  double bias = node.float_attribute("bias", 1);
  constexpr int64_t kMaxSize = 1 << 20;
  if (shape.size() < 2 || size < 1 || size > kMaxSize) {
    return node.invalid("attribute 'size' is {}", size);
  }
  graph::Compute compute;
  graph::Operand operand;
  for (size_t d = 0; d < shape.size(); ++d) {
    compute.space.axes.push_back({fmt::format("d{}", d), shape[d], index::AxisKind::kParallel});
    operand.map.exprs.push_back(index::Expr::variable(static_cast<int>(d)));
  }
  compute.space.axes.push_back({"k", size, index::AxisKind::kReduction});
  operand.map.exprs[1] = operand.map.exprs[1] +
                         index::Expr::variable(static_cast<int>(shape.size())) -
                         index::Expr((size - 1) / 2);
  operand.guarded = true;
  compute.operands = {operand};
  int element = compute.body.operand(0, node.dtype(x));
  compute.body.apply(ScalarOp::kMul, element, element);
  compute.combiner = Combiner::kSum;
  ValueId sum = node.graph.add_compute(node.part("square_sum"), std::move(compute), {x});
  DType dtype = node.dtype(x);
  node.set_output(per_element(
      node.graph, node.name(), {x, sum}, [&](ScalarBody& b, const std::vector<int>& in) {
        double factor = alpha / static_cast<double>(size);
        int scaled = b.apply(ScalarOp::kMul, in[1], b.constant(factor, dtype));
        int base = b.apply(ScalarOp::kAdd, scaled, b.constant(bias, dtype));
        int denominator = b.apply(ScalarOp::kPow, base, b.constant(beta, dtype));
        return b.apply(ScalarOp::kDiv, in[0], denominator);
      }));
  return {};
}

constexpr Operator kOperators[] = {
    {"BatchNormalization", 1, import_batch_normalization},
    {"GroupNormalization", 18, import_group_normalization},
    {"Hardmax", 1, import_hardmax},
    {"InstanceNormalization", 1, import_instance_normalization},
    {"LRN", 1, import_lrn},
    // In the default domain of older opsets, too, as ONNX Runtime's optimiser writes it.
    {"LayerNormalization", 1, import_layer_normalization},
    {"LogSoftmax", 1, import_log_softmax},
    {"LpNormalization", 1, import_lp_normalization},
    {"MeanVarianceNormalization", 9, import_mean_variance_normalization},
    {"RMSNormalization", 23, import_rms_normalization},
    {"SimplifiedLayerNormalization", 1, import_rms_normalization},  // of the same optimiser
    {"Softmax", 1, import_softmax},
};

}  // namespace

std::span<const Operator> normalization_operators() { return kOperators; }

}  // namespace corf::onnx
