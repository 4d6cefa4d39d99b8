#include "onnx/quantization.h"

#include <algorithm>

#include "onnx/compose.h"
#include "onnx/windows.h"

namespace corf::onnx {
namespace {

struct Range {
  double lowest, highest;
};

std::optional<Range> range_of(DType dtype) {
  switch (dtype) {
    case DType::kI8:
      return Range{-128, 127};
    case DType::kU8:
      return Range{0, 255};
    case DType::kI16:
      return Range{-32768, 32767};
    case DType::kU16:
      return Range{0, 65535};
    default:
      return std::nullopt;
  }
}

}  // namespace

int quantized(ScalarBody& b, int x, int scale, int zero_point, DType to) {
  DType wide = b.nodes[x].dtype;
  int rounded = b.apply(ScalarOp::kRoundEven, b.apply(ScalarOp::kDiv, x, scale));
  int shifted =
      zero_point < 0 ? rounded : b.apply(ScalarOp::kAdd, rounded, b.cast(zero_point, wide));
  Range range = *range_of(to);
  int bounded =
      b.apply(ScalarOp::kMin, b.apply(ScalarOp::kMax, shifted, number(b, range.lowest, wide)),
              number(b, range.highest, wide));
  return b.cast(bounded, to);
}

namespace {

/// One number for each block of elements along an axis, as one for each element of x.
Result<ValueId> by_blocks(NodeImport& node, std::string_view suffix, ValueId factor, const Shape& x,
                          int64_t wanted_axis) {
  const Shape shape = node.shape(factor);
  CORF_ASSIGN(const int axis, normal_axis(node, wanted_axis, static_cast<int>(x.size())));
  const int64_t block = node.int_attribute("block_size", 0), blocks = shape[axis];
  Shape expected = x;
  expected[axis] = blocks;
  const bool fits = shape == expected && block >= 1 && blocks >= 1 && x[axis] <= block * blocks &&
                    x[axis] > block * (blocks - 1) && block <= x[axis];
  if (!fits) {
    return node.invalid("a scale or zero point of shape {} for {} in blocks of {}",
                        to_string(shape), to_string(x), block);
  }
  Shape single = shape, repeated = shape, merged = x;
  single.insert(single.begin() + axis + 1, 1);
  repeated.insert(repeated.begin() + axis + 1, block);
  merged[axis] = blocks * block;
  const auto part = [&](const char* name) { return node.part(fmt::format("{}_{}", suffix, name)); };
  const ValueId apart = reshape(node.graph, part("blocks"), factor, single);
  const ValueId all = broadcast(node.graph, part("repeated"), apart, repeated);
  const ValueId flat = reshape(node.graph, part("flat"), all, merged);
  return slice(node.graph, node.part(suffix), flat, axis, 0, x[axis]);
}

/// A scale or zero point (one number, one for each slice along an axis, or one for each block) as
/// an operand that broadcasts over x.
Result<ValueId> along_axis(NodeImport& node, std::string_view suffix, ValueId factor,
                           const Shape& x, int64_t wanted_axis) {
  Shape shape = node.shape(factor);
  if (num_elems(shape) == 1) return reshape(node.graph, node.part(suffix), factor, {});
  if (shape.size() == x.size() && shape.size() > 1 && node.has_attribute("block_size")) {
    return by_blocks(node, suffix, factor, x, wanted_axis);
  }
  if (shape.size() != 1) {
    return node.unsupported(
        "a scale or zero point of shape {}; one for the tensor, for an axis or for "
        "blocks is supported",
        to_string(shape));
  }
  CORF_ASSIGN(int axis, normal_axis(node, wanted_axis, static_cast<int>(x.size())));
  if (shape[0] != x[axis]) {
    return node.invalid("a scale or zero point of {} elements for an axis of {}", shape[0],
                        x[axis]);
  }
  Shape column(x.size() - axis, 1);
  column[0] = shape[0];
  return reshape(node.graph, node.part(suffix), factor, column);
}

Status import_quantize_linear(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId x = node.input(0);
  Shape shape = node.shape(x);
  int64_t axis = node.int_attribute("axis", 1);
  DType to = DType::kU8;
  if (node.has(2)) {
    to = node.dtype(node.input(2));
  } else if (node.int_attribute("output_dtype", 0) != 0) {
    auto dtype = node.dtype_attribute("output_dtype", to);
    if (!dtype) return node.unsupported("its output type is not supported");
    to = *dtype;
  }
  if (!range_of(to)) return node.unsupported("quantization to {} is not supported", to_string(to));
  if (!is_float(node.dtype(node.input(1)))) return node.invalid("its scale is no float");
  CORF_ASSIGN(ValueId scale, along_axis(node, "scale", node.input(1), shape, axis));
  std::vector<ValueId> inputs = {cast(node.graph, node.part("x"), x, node.dtype(scale)), scale};
  if (node.has(2)) {
    CORF_ASSIGN(ValueId zero_point, along_axis(node, "zero_point", node.input(2), shape, axis));
    inputs.push_back(zero_point);
  }
  CORF_ASSIGN(ValueId y, map_elements(node, node.name(), inputs,
                                      [&](ScalarBody& b, const std::vector<int>& in) {
                                        int zero_point = in.size() > 2 ? in[2] : -1;
                                        return quantized(b, in[0], in[1], zero_point, to);
                                      }));
  node.set_output(y);
  return {};
}

Status import_dequantize_linear(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId x = node.input(0);
  Shape shape = node.shape(x);
  int64_t axis = node.int_attribute("axis", 1);
  CORF_ASSIGN(ValueId scale, along_axis(node, "scale", node.input(1), shape, axis));
  DType to = node.dtype(scale);
  if (!is_float(to)) return node.invalid("its scale is no float");
  // Matrices may be weights of products, which read the bytes.
  if (shape.size() > 1) node.leave_to_rewriting();
  std::vector<ValueId> inputs = {x, scale};
  if (node.has(2)) {
    CORF_RETURN_IF_ERROR(require_same_type(node, {x, node.input(2)}));
    CORF_ASSIGN(ValueId zero_point, along_axis(node, "zero_point", node.input(2), shape, axis));
    inputs.push_back(zero_point);
  }
  CORF_ASSIGN(ValueId y, map_elements(node, node.name(), inputs,
                                      [&](ScalarBody& b, const std::vector<int>& in) {
                                        int value = b.cast(in[0], to);
                                        if (in.size() > 2) {
                                          value = b.apply(ScalarOp::kSub, value, b.cast(in[2], to));
                                        }
                                        return b.apply(ScalarOp::kMul, value, in[1]);
                                      }));
  node.set_output(y);
  return {};
}

/// x - zero_point in i32. `zero_point` (an input, maybe absent) has one element, or one for each
/// slice along `axis`.
Result<ValueId> centred(NodeImport& node, std::string_view suffix, ValueId x, int zero_point,
                        int64_t axis) {
  if (!range_of(node.dtype(x))) {
    return node.invalid("element type {} is not quantized", to_string(node.dtype(x)));
  }
  if (!node.has(zero_point)) return cast(node.graph, node.part(suffix), x, DType::kI32);
  CORF_RETURN_IF_ERROR(require_same_type(node, {x, node.input(zero_point)}));
  CORF_ASSIGN(ValueId zero, along_axis(node, fmt::format("{}_zero", suffix), node.input(zero_point),
                                       node.shape(x), axis));
  return per_element(
      node.graph, node.part(suffix), {x, zero}, [](ScalarBody& b, const std::vector<int>& in) {
        return b.apply(ScalarOp::kSub, b.cast(in[0], DType::kI32), b.cast(in[1], DType::kI32));
      });
}

bool can_multiply(const NodeImport& node, ValueId a, ValueId b) {
  Shape left = node.shape(a);
  Shape right = node.shape(b);
  if (left.size() < 2 || right.size() < 2 || left.back() != right[right.size() - 2]) return false;
  return broadcast_shape(Shape(left.begin(), left.end() - 2), Shape(right.begin(), right.end() - 2))
      .has_value();
}

Status import_matmul_integer(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  if (!can_multiply(node, node.input(0), node.input(1))) {
    return node.invalid("its matrices cannot be multiplied");
  }
  CORF_ASSIGN(ValueId a, centred(node, "a", node.input(0), 2, -2));
  CORF_ASSIGN(ValueId b, centred(node, "b", node.input(1), 3, -1));
  node.set_output(graph::matmul(node.graph, node.name(), a, b));
  return {};
}

/// round(sums * a_scale * b_scale / y_scale) + y_zero_point
Result<ValueId> requantized(NodeImport& node, ValueId sums, int a_scale, int b_scale, int y_scale,
                            int y_zero, int64_t b_axis) {
  Shape shape = node.shape(sums);
  DType to = node.dtype(node.input(y_zero));
  if (!range_of(to)) return node.unsupported("output type {} is not supported", to_string(to));
  for (int i : {a_scale, b_scale, y_scale}) {
    if (!is_float(node.dtype(node.input(i)))) return node.invalid("input {} is no float", i);
  }
  CORF_ASSIGN(ValueId scale_a, along_axis(node, "a_scale", node.input(a_scale), shape, -2));
  CORF_ASSIGN(ValueId scale_b, along_axis(node, "b_scale", node.input(b_scale), shape, b_axis));
  CORF_ASSIGN(ValueId scale_y, along_axis(node, "y_scale", node.input(y_scale), shape, b_axis));
  CORF_ASSIGN(ValueId zero_y, along_axis(node, "y_zero", node.input(y_zero), shape, b_axis));
  auto body = [&](ScalarBody& b, const std::vector<int>& in) {
    int product = b.apply(ScalarOp::kMul, b.cast(in[0], DType::kF32), b.cast(in[1], DType::kF32));
    product = b.apply(ScalarOp::kMul, product, b.cast(in[2], DType::kF32));
    return quantized(b, product, b.cast(in[3], DType::kF32), in[4], to);
  };
  return map_elements(node, node.name(), {sums, scale_a, scale_b, scale_y, zero_y}, body);
}

Status import_qlinear_matmul(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(8));
  if (!can_multiply(node, node.input(0), node.input(3))) {
    return node.invalid("its matrices cannot be multiplied");
  }
  CORF_ASSIGN(ValueId a, centred(node, "a", node.input(0), 2, -2));
  CORF_ASSIGN(ValueId b, centred(node, "b", node.input(3), 5, -1));
  ValueId sums = graph::matmul(node.graph, node.part("sums"), a, b);
  CORF_ASSIGN(ValueId y, requantized(node, sums, 1, 4, 6, 7, -1));
  node.set_output(y);
  return {};
}

/// The convolution of i32 values; padding is 0, which is the zero point.
Result<ValueId> convolve(NodeImport& node, std::string name, ValueId x, ValueId w) {
  Shape image = node.shape(x);
  Shape weights = node.shape(w);
  int64_t groups = node.int_attribute("group", 1);
  bool fits = image.size() >= 3 && weights.size() == image.size() && groups >= 1 &&
              groups <= std::max<int64_t>(weights[0], 1) && weights[0] % groups == 0 &&
              weights[1] * groups == image[1];
  if (!fits) {
    return node.invalid("input {} and weights {} do not fit with {} groups", to_string(image),
                        to_string(weights), groups);
  }
  CORF_ASSIGN(WindowExtents window, read_window(node, Shape(image.begin() + 2, image.end()),
                                                Shape(weights.begin() + 2, weights.end()), false));
  return graph::conv(node.graph, std::move(name), x, w, window.window, groups);
}

Status import_conv_integer(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  CORF_ASSIGN(ValueId x, centred(node, "x", node.input(0), 2, 1));
  CORF_ASSIGN(ValueId w, centred(node, "w", node.input(1), 3, 0));
  CORF_ASSIGN(ValueId y, convolve(node, node.name(), x, w));
  node.set_output(y);
  return {};
}

Result<ValueId> qlinear_conv(NodeImport& node, ValueId image) {
  CORF_ASSIGN(ValueId x, centred(node, "x", image, 2, 1));
  CORF_ASSIGN(ValueId w, centred(node, "w", node.input(3), 5, 0));
  CORF_ASSIGN(ValueId sums, convolve(node, node.part("sums"), x, w));
  if (node.has(8)) {
    ValueId bias = node.input(8);
    Shape shape = node.shape(sums);
    if (node.shape(bias) != Shape{shape[1]} || node.dtype(bias) != DType::kI32) {
      return node.invalid("its bias is not i32 of {} elements", shape[1]);
    }
    Shape column(shape.size() - 1, 1);
    column[0] = shape[1];
    ValueId operand = reshape(node.graph, node.part("bias_column"), bias, column);
    sums = binary(node.graph, node.part("bias"), ScalarOp::kAdd, sums, operand);
  }
  return requantized(node, sums, 1, 4, 6, 7, 1);
}

/// Of images with the channels first, or last where the operator has `channels_last`.
Status import_qlinear_conv(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(8));
  const auto operate = [&](ValueId image) { return qlinear_conv(node, image); };
  const bool channels_last = node.int_attribute("channels_last", 0) != 0;
  CORF_ASSIGN(const ValueId y, channels_last ? with_channels_first(node, node.input(0), operate)
                                             : operate(node.input(0)));
  node.set_output(y);
  return {};
}

}  // namespace

Tensor unpack_digits(const Tensor& bytes, int64_t bits, int64_t extent) {
  Shape shape = bytes.shape();
  const int64_t per_byte = 8 / bits, row_bytes = shape.back(), mask = (int64_t{1} << bits) - 1;
  shape.back() = extent;
  Tensor digits(DType::kU8, shape);
  auto* out = digits.data<uint8_t>();
  const int64_t rows = extent == 0 ? 0 : digits.num_elems() / extent;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < extent; ++i) {
      const int64_t byte = bytes.at_i64(row * row_bytes + i / per_byte);
      *out++ = static_cast<uint8_t>(byte >> (i % per_byte * bits) & mask);
    }
  }
  return digits;
}

QuantizedByRange quantized_by_range(NodeImport& node, std::string name, ValueId x) {
  DType dtype = node.dtype(x);
  std::vector<int> axes;
  for (int d = 0; d < node.rank(x); ++d) axes.push_back(d);
  using graph::Combiner;
  ValueId low = graph::reduce(node.graph, node.part("min"), x, Combiner::kMin, axes, false);
  ValueId high = graph::reduce(node.graph, node.part("max"), x, Combiner::kMax, axes, false);
  auto zero = [&](ScalarBody& b) { return number(b, 0, dtype); };
  ValueId scale = per_element(
      node.graph, node.part("scale"), {low, high}, [&](ScalarBody& b, const std::vector<int>& in) {
        int span = b.apply(ScalarOp::kSub, b.apply(ScalarOp::kMax, in[1], zero(b)),
                           b.apply(ScalarOp::kMin, in[0], zero(b)));
        return b.apply(ScalarOp::kDiv, span, number(b, 255, dtype));
      });
  ValueId zero_point = per_element(node.graph, node.part("zero_point"), {low, scale},
                                   [&](ScalarBody& b, const std::vector<int>& in) {
                                     int bound = b.apply(ScalarOp::kMin, in[0], zero(b));
                                     int negated = b.apply(ScalarOp::kNeg, bound);
                                     return quantized(b, negated, in[1], -1, DType::kU8);
                                   });
  const ValueId value = per_element(node.graph, std::move(name), {x, scale, zero_point},
                                    [&](ScalarBody& b, const std::vector<int>& in) {
                                      return quantized(b, in[0], in[1], in[2], DType::kU8);
                                    });
  return {value, scale, zero_point};
}

namespace {

Status import_dynamic_quantize_linear(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  CORF_RETURN_IF_ERROR(require_float(node, node.input(0)));
  const QuantizedByRange y = quantized_by_range(node, node.name(), node.input(0));
  node.set_output(y.value);
  node.set_output(1, y.scale);
  node.set_output(2, y.zero_point);
  return {};
}

/// sums * a_scale * b_scale + bias (an input, maybe absent): sums of products as what they stand
/// for. `b_scale` is an input of one element, or of one for each column.
Result<ValueId> dequantized(NodeImport& node, ValueId sums, ValueId a_scale, int b_scale,
                            int bias) {
  const Shape shape = node.shape(sums);
  if (num_elems(node.shape(a_scale)) != 1) {
    return node.unsupported("a scale for each column of the first factor is not supported");
  }
  const DType dtype = node.dtype(node.input(b_scale));
  CORF_ASSIGN(const ValueId by_column, along_axis(node, "b_scale", node.input(b_scale), shape, -1));
  std::vector<ValueId> inputs = {sums, reshape(node.graph, node.part("a_scale"), a_scale, {}),
                                 by_column};
  if (node.has(bias)) {
    if (node.shape(node.input(bias)) != Shape{shape.back()}) {
      return node.invalid("a bias of shape {} for {} columns",
                          to_string(node.shape(node.input(bias))), shape.back());
    }
    inputs.push_back(node.input(bias));
  }
  return map_elements(node, node.name(), inputs, [&](ScalarBody& b, const std::vector<int>& in) {
    const auto wide = [&](int x) { return b.cast(x, DType::kF32); };
    const int scale = b.apply(ScalarOp::kMul, wide(in[1]), wide(in[2]));
    int y = b.apply(ScalarOp::kMul, wide(in[0]), scale);
    if (in.size() > 3) y = b.apply(ScalarOp::kAdd, y, wide(in[3]));
    return b.cast(y, dtype);
  });
}

/// (a - a_zero) (b - b_zero) a_scale b_scale + bias: inputs a, b, scales, zero points, bias.
Status import_matmul_integer_to_float(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(4));
  if (!can_multiply(node, node.input(0), node.input(1))) {
    return node.invalid("its matrices cannot be multiplied");
  }
  CORF_ASSIGN(const ValueId a, centred(node, "a", node.input(0), 4, -1));
  CORF_ASSIGN(const ValueId b, centred(node, "b", node.input(1), 5, -1));
  const ValueId sums = graph::matmul(node.graph, node.part("sums"), a, b);
  CORF_ASSIGN(const ValueId y, dequantized(node, sums, node.input(2), 3, 6));
  node.set_output(y);
  return {};
}

/// The same with a's bytes, scale and zero point from its range: inputs a, b, b's scale and zero
/// point, bias.
Status import_dynamic_quantize_matmul(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  if (!can_multiply(node, node.input(0), node.input(1))) {
    return node.invalid("its matrices cannot be multiplied");
  }
  const QuantizedByRange a = quantized_by_range(node, node.part("a_bytes"), node.input(0));
  const ValueId differences = per_element(
      node.graph, node.part("a"), {a.value, a.zero_point},
      [](ScalarBody& b, const std::vector<int>& in) {
        return b.apply(ScalarOp::kSub, b.cast(in[0], DType::kI32), b.cast(in[1], DType::kI32));
      });
  CORF_ASSIGN(const ValueId b, centred(node, "b", node.input(1), 3, -1));
  const ValueId sums = graph::matmul(node.graph, node.part("sums"), differences, b);
  CORF_ASSIGN(const ValueId y, dequantized(node, sums, a.scale, 2, 4));
  node.set_output(y);
  return {};
}

/// (a b + c) alpha a_scale b_scale, of integers a and b without their zero points and c in i32; as
/// bytes where the result has a scale. Inputs: a, scale, zero point, b, scale, zero point, c, the
/// result's scale and zero point; the last three may be absent.
Status import_qgemm(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(6));
  const bool turn_a = node.int_attribute("transA", 0) != 0;
  const bool turn_b = node.int_attribute("transB", 0) != 0;
  const Shape left = node.shape(node.input(0)), right = node.shape(node.input(3));
  if (left.size() != 2 || right.size() != 2 || left[turn_a ? 0 : 1] != right[turn_b ? 1 : 0]) {
    return node.invalid("its matrices cannot be multiplied");
  }
  CORF_ASSIGN(const ValueId a, centred(node, "a", node.input(0), 2, turn_a ? 1 : 0));
  CORF_ASSIGN(const ValueId b, centred(node, "b", node.input(3), 5, turn_b ? 0 : 1));
  ValueId sums = graph::matmul(node.graph, node.part("sums"), a, b, turn_a, turn_b);
  const Shape shape = node.shape(sums);
  if (node.has(6)) {
    const Shape c = node.shape(node.input(6));
    if (broadcast_shape(c, shape) != shape) {
      return node.invalid("c of shape {} for {}", to_string(c), to_string(shape));
    }
    sums = binary(node.graph, node.part("with_c"), ScalarOp::kAdd, sums, node.input(6));
  }
  const bool has_scale = node.has(7);
  const DType to = node.has(8) ? node.dtype(node.input(8)) : node.dtype(node.input(0));
  CORF_ASSIGN(const ValueId a_scale, along_axis(node, "a_scale", node.input(1), shape, 0));
  CORF_ASSIGN(const ValueId b_scale, along_axis(node, "b_scale", node.input(4), shape, 1));
  std::vector<ValueId> inputs = {sums, a_scale, b_scale};
  for (const int input : {7, 8}) {
    if (!has_scale || !node.has(input)) break;
    CORF_ASSIGN(const ValueId factor,
                along_axis(node, fmt::format("y{}", input), node.input(input), shape, 1));
    inputs.push_back(factor);
  }
  const double alpha = node.float_attribute("alpha", 1);
  auto body = [&](ScalarBody& scalar, const std::vector<int>& in) {
    int scale = scalar.apply(ScalarOp::kMul, in[1], in[2]);
    if (alpha != 1) {
      scale = scalar.apply(ScalarOp::kMul, scale, scalar.constant(alpha, DType::kF32));
    }
    const int y = scalar.apply(ScalarOp::kMul, scalar.cast(in[0], DType::kF32), scale);
    return has_scale ? quantized(scalar, y, in[3], in.size() > 4 ? in[4] : -1, to) : y;
  };
  CORF_ASSIGN(const ValueId y, map_elements(node, node.name(), inputs, body));
  node.set_output(y);
  return {};
}

constexpr Operator kOperators[] = {
    {"ConvInteger", 10, import_conv_integer},
    {"DequantizeLinear", 10, import_dequantize_linear},
    {"DynamicQuantizeLinear", 11, import_dynamic_quantize_linear},
    {"MatMulInteger", 10, import_matmul_integer},
    {"QLinearConv", 10, import_qlinear_conv},
    {"com.microsoft.QLinearConv", 0, import_qlinear_conv},
    {"QLinearMatMul", 10, import_qlinear_matmul},
    {"QuantizeLinear", 10, import_quantize_linear},
    {"com.microsoft.DequantizeLinear", 0, import_dequantize_linear},
    {"com.microsoft.DynamicQuantizeMatMul", 0, import_dynamic_quantize_matmul},
    {"com.microsoft.MatMulIntegerToFloat", 0, import_matmul_integer_to_float},
    {"com.microsoft.QGemm", 0, import_qgemm},
    {"com.microsoft.QuantizeLinear", 0, import_quantize_linear},
};

}  // namespace

std::span<const Operator> quantization_operators() { return kOperators; }

}  // namespace corf::onnx
