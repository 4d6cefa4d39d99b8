// Operators on bytes that ONNX Runtime's quantizer writes, and products with packed weights, domain
// com.microsoft: as what the numbers stand for, rounded where the model rounds.
#include <algorithm>
#include <numeric>
#include <optional>

#include "onnx/compose.h"
#include "onnx/microsoft_attention.h"
#include "onnx/pooling.h"
#include "onnx/quantization.h"

namespace corf::onnx {
namespace {

bool is_number(const NodeImport& node, int input) {
  return node.has(input) && num_elems(node.shape(node.input(input))) == 1;
}

/// One number of an input, to broadcast over anything.
ValueId scalar_of(NodeImport& node, int input) {
  return reshape(node.graph, node.part(fmt::format("number{}", input)), node.input(input), {});
}

/// (x - zero_point) * scale in f32; inputs `first`, `first` + 1 and, maybe, `first` + 2.
Result<ValueId> real_numbers(NodeImport& node, int first) {
  if (!node.has(first) || !is_number(node, first + 1) ||
      (node.has(first + 2) && !is_number(node, first + 2))) {
    return node.unsupported("one scale and zero point for a tensor are supported");
  }
  if (node.dtype(node.input(first + 1)) != DType::kF32) {
    return node.invalid("input {} is no scale in f32", first + 1);
  }
  std::vector<ValueId> inputs = {node.input(first), scalar_of(node, first + 1)};
  if (node.has(first + 2)) inputs.push_back(scalar_of(node, first + 2));
  return per_element(node.graph, node.part(fmt::format("real{}", first)), inputs,
                     [](ScalarBody& b, const std::vector<int>& in) {
                       int x = b.cast(in[0], DType::kF32);
                       if (in.size() > 2)
                         x = b.apply(ScalarOp::kSub, x, b.cast(in[2], DType::kF32));
                       return b.apply(ScalarOp::kMul, x, in[1]);
                     });
}

/// Sets the output: y as bytes, with the scale in input `scale` and the zero point behind it.
Status set_bytes(NodeImport& node, ValueId y, int scale, DType otherwise) {
  if (!is_number(node, scale) || (node.has(scale + 1) && !is_number(node, scale + 1))) {
    return node.unsupported("one scale and zero point for the result are supported");
  }
  const bool has_zero = node.has(scale + 1);
  const DType to = has_zero ? node.dtype(node.input(scale + 1)) : otherwise;
  std::vector<ValueId> inputs = {y, scalar_of(node, scale)};
  if (has_zero) inputs.push_back(scalar_of(node, scale + 1));
  node.set_output(
      per_element(node.graph, node.name(), inputs, [&](ScalarBody& b, const std::vector<int>& in) {
        return quantized(b, in[0], in[1], has_zero ? in[2] : -1, to);
      }));
  return {};
}

/// a op b: inputs a, scale, zero point, b, scale, zero point, the result's scale and zero point.
Status import_binary(NodeImport& node, ScalarOp op) {
  CORF_ASSIGN(const ValueId a, real_numbers(node, 0));
  CORF_ASSIGN(const ValueId b, real_numbers(node, 3));
  CORF_ASSIGN(const ValueId y, map_elements(node, node.part("result"), {a, b},
                                            [op](ScalarBody& body, const std::vector<int>& in) {
                                              return body.apply(op, in[0], in[1]);
                                            }));
  return set_bytes(node, y, 6, node.dtype(node.input(0)));
}

Status import_qlinear_add(NodeImport& node) { return import_binary(node, ScalarOp::kAdd); }
Status import_qlinear_mul(NodeImport& node) { return import_binary(node, ScalarOp::kMul); }

/// condition ? x : y; inputs condition, x, scale, zero point, y, scale, zero point, the result's
/// scale and zero point.
Status import_qlinear_where(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(8));
  CORF_ASSIGN(const ValueId x, real_numbers(node, 1));
  CORF_ASSIGN(const ValueId y, real_numbers(node, 4));
  CORF_ASSIGN(const ValueId chosen, map_elements(node, node.part("result"), {node.input(0), x, y},
                                                 [](ScalarBody& b, const std::vector<int>& in) {
                                                   return b.apply(ScalarOp::kSelect, in[0], in[1],
                                                                  in[2]);
                                                 }));
  return set_bytes(node, chosen, 7, node.dtype(node.input(1)));
}

/// f(x): inputs x, scale, zero point, the result's scale and zero point.
Status import_unary(NodeImport& node, const Body& body) {
  CORF_ASSIGN(const ValueId x, real_numbers(node, 0));
  const ValueId y = per_element(node.graph, node.part("result"), {x}, body);
  return set_bytes(node, y, 3, node.dtype(node.input(0)));
}

Status import_qlinear_sigmoid(NodeImport& node) {
  return import_unary(node, [](ScalarBody& b, const std::vector<int>& in) {
    return b.apply(ScalarOp::kSigmoid, in[0]);
  });
}

Status import_qlinear_leaky_relu(NodeImport& node) {
  const double alpha = node.float_attribute("alpha", 0.01F);
  return import_unary(node, [alpha](ScalarBody& b, const std::vector<int>& in) {
    const auto real = [&](double value) { return b.constant(value, DType::kF32); };
    const int scaled = b.apply(ScalarOp::kMul, in[0], real(alpha));
    return b.apply(ScalarOp::kSelect, b.apply(ScalarOp::kLess, in[0], real(0)), scaled, in[0]);
  });
}

Status import_qlinear_global_average_pool(NodeImport& node) {
  CORF_ASSIGN(const ValueId x, real_numbers(node, 0));
  const int rank = node.rank(x);
  if (rank < 3 || num_elems(node.shape(x)) == 0) return node.invalid("an image without pixels");
  const bool channels_last = node.int_attribute("channels_last", 0) != 0;
  std::vector<int> axes;
  for (int d = channels_last ? 1 : 2; d < rank - (channels_last ? 1 : 0); ++d) axes.push_back(d);
  const ValueId y = mean(node.graph, node.part("mean"), x, axes);
  return set_bytes(node, y, 3, node.dtype(node.input(0)));
}

Status import_qlinear_average_pool(NodeImport& node) {
  CORF_ASSIGN(ValueId x, real_numbers(node, 0));
  const int rank = node.rank(x);
  if (rank < 3) return node.invalid("an input of rank {}; 3 at least is required", rank);
  const bool channels_last = node.int_attribute("channels_last", 0) != 0;
  const auto operate = [&](ValueId image) { return average_pool(node, node.part("mean"), image); };
  CORF_ASSIGN(const ValueId y, channels_last ? with_channels_first(node, x, operate) : operate(x));
  return set_bytes(node, y, 3, node.dtype(node.input(0)));
}

/// Of all axes where the node names none.
Status import_qlinear_reduce_mean(NodeImport& node) {
  CORF_ASSIGN(const ValueId x, real_numbers(node, 0));
  const int rank = node.rank(x);
  std::vector<int64_t> wanted = node.ints_attribute("axes");
  if (wanted.empty()) {
    wanted.resize(rank);
    std::iota(wanted.begin(), wanted.end(), 0);
  }
  CORF_ASSIGN(const std::vector<int> axes, normal_axes(node, wanted, rank));
  if (num_elems(node.shape(x)) == 0) return node.invalid("a mean of no elements");
  ValueId y = axes.empty() ? x : mean(node.graph, node.part("mean"), x, axes);
  if (node.int_attribute("keepdims", 1) == 0) {
    Shape kept;
    for (int d = 0; d < rank; ++d) {
      if (std::find(axes.begin(), axes.end(), d) == axes.end()) kept.push_back(node.shape(x)[d]);
    }
    y = reshape(node.graph, node.part("squeezed"), y, kept);
  }
  return set_bytes(node, y, 3, node.dtype(node.input(0)));
}

/// (bytes - zero point) scale; scale and zero point, maybe absent, one for all or, of weights, one
/// for each column.
Result<ValueId> dequantized_input(NodeImport& node, int bytes, int scale, int zero_point,
                                  bool by_column) {
  const Shape columns = {node.rank(node.input(bytes)) == 0 ? 1
                                                           : node.shape(node.input(bytes)).back()};
  const auto fits = [&](int input) {
    return is_number(node, input) || (by_column && node.shape(node.input(input)) == columns);
  };
  if (!node.has(scale) || !fits(scale) || (node.has(zero_point) && !fits(zero_point))) {
    return node.unsupported("scale and zero point of input {}: one{} is supported", bytes,
                            by_column ? ", or one for each column," : "");
  }
  const auto factor = [&](int input) {
    return is_number(node, input) ? scalar_of(node, input) : node.input(input);
  };
  std::vector<ValueId> inputs = {node.input(bytes), factor(scale)};
  if (node.has(zero_point)) inputs.push_back(factor(zero_point));
  const DType dtype = node.dtype(inputs[1]);
  node.leave_to_rewriting();
  return per_element(node.graph, node.part(fmt::format("real{}", bytes)), inputs,
                     [dtype](ScalarBody& b, const std::vector<int>& in) {
                       int x = b.cast(in[0], dtype);
                       if (in.size() > 2) x = b.apply(ScalarOp::kSub, x, b.cast(in[2], dtype));
                       return b.apply(ScalarOp::kMul, x, in[1]);
                     });
}

/// Attention of bytes and weights in bytes: inputs x, weights, bias, the scales of x and weights,
/// mask, their zero points, past.
Status import_qattention(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(5));
  PackedAttention inputs;
  CORF_ASSIGN(inputs.x, dequantized_input(node, 0, 3, 6, false));
  CORF_ASSIGN(inputs.weights, dequantized_input(node, 1, 4, 7, true));
  inputs.bias = 2;
  inputs.mask = 5;
  inputs.past = 8;
  return import_packed_attention(node, inputs);
}

/// The axis is that of Softmax in the opset that an attribute names.
Status import_qlinear_softmax(NodeImport& node) {
  CORF_ASSIGN(const ValueId x, real_numbers(node, 0));
  const int rank = node.rank(x);
  const bool flattens = node.int_attribute("opset", 13) < 13;
  CORF_ASSIGN(const int axis,
              normal_axis(node, node.int_attribute("axis", flattens ? 1 : -1), rank));
  std::vector<int> axes;
  for (int d = axis; d < (flattens ? rank : axis + 1); ++d) axes.push_back(d);
  const ValueId y = softmax(node.graph, node.part("softmax"), x, axes);
  return set_bytes(node, y, 3, node.dtype(node.input(0)));
}

/// Inputs: the result's scale and zero point, then tensor, scale and zero point of each part.
Status import_qlinear_concat(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(5));
  if ((node.num_inputs() - 2) % 3 != 0) return node.invalid("its inputs are not threes");
  std::vector<ValueId> parts;
  for (int i = 2; i + 2 < node.num_inputs(); i += 3) {
    CORF_ASSIGN(const ValueId part, real_numbers(node, i));
    parts.push_back(part);
  }
  CORF_ASSIGN(const int axis,
              normal_axis(node, node.int_attribute("axis", 0), node.rank(parts[0])));
  Shape first = node.shape(parts[0]);
  for (ValueId part : parts) {
    Shape shape = node.shape(part);
    if (shape.size() == first.size()) shape[axis] = first[axis];
    if (shape != first) return node.invalid("its parts do not fit: {}", join_shapes(node, parts));
  }
  const ValueId y = concat(node.graph, node.part("joined"), parts, axis);
  return set_bytes(node, y, 0, node.dtype(node.input(1)));
}

/// Weights that `bits` of a byte hold each, in blocks with a scale and a zero point; all known.
struct PackedWeights {
  int64_t rows = 0, columns = 0, bits = 4, block = 0;  // columns are summed over
  Tensor bytes, scales;
  std::optional<Tensor> zero_points;  // nullopt: the middle of the range

  int64_t blocks() const { return (columns + block - 1) / block; }
  int64_t per_byte() const { return 8 / bits; }
  /// The numbers that the bytes hold, each in a byte of its own.
  Tensor numbers() const {
    return unpack_digits(bytes.reshaped({rows, blocks() * block / per_byte()}), bits, columns);
  }
  /// One for each row and block.
  Tensor unpacked_zero_points() const {
    if (is_float(zero_points->dtype())) return zero_points->reshaped({rows, blocks()});
    const int64_t row_bytes = (blocks() + per_byte() - 1) / per_byte();
    return unpack_digits(zero_points->reshaped({rows, row_bytes}), bits, blocks());
  }
};

/// (numbers - zero points) * scales in `dtype`, [rows][columns].
ValueId dequantized(NodeImport& node, const PackedWeights& packed, DType dtype) {
  graph::Compute compute;
  compute.space.axes = {{"n", packed.rows, index::AxisKind::kParallel},
                        {"k", packed.columns, index::AxisKind::kParallel}};
  const index::Expr row = index::Expr::variable(0), column = index::Expr::variable(1);
  const index::IndexMap by_block{{row, floor_div(column, index::Expr(packed.block))}};
  std::vector<ValueId> inputs;
  ScalarBody& body = compute.body;
  const auto add = [&](const char* name, Tensor tensor, const index::IndexMap& map) {
    const DType from = tensor.dtype();
    inputs.push_back(node.graph.add_constant(node.part(name), std::move(tensor)));
    compute.operands.push_back({map});
    return body.cast(body.operand(static_cast<int>(inputs.size()) - 1, from), dtype);
  };
  int value = add("numbers", packed.numbers(), {{row, column}});
  const int zero = packed.zero_points
                       ? add("zero_points", packed.unpacked_zero_points(), by_block)
                       : body.constant(double(int64_t{1} << (packed.bits - 1)), dtype);
  value = body.apply(ScalarOp::kSub, value, zero);
  const Shape blocks = {packed.rows, packed.blocks()};
  body.apply(ScalarOp::kMul, value, add("scales", packed.scales.reshaped(blocks), by_block));
  // Products may read the numbers as they are.
  node.leave_to_rewriting();
  return node.graph.add_compute(node.part("weights"), std::move(compute), std::move(inputs));
}

Result<PackedWeights> read_packed_weights(NodeImport& node) {
  PackedWeights packed;
  packed.rows = node.int_attribute("N", 0);
  packed.columns = node.int_attribute("K", 0);
  packed.bits = node.int_attribute("bits", 4);
  packed.block = node.int_attribute("block_size", 0);
  if (packed.bits != 2 && packed.bits != 4 && packed.bits != 8) {
    return node.unsupported("weights of {} bits are not supported", packed.bits);
  }
  if (node.has(4) || node.int_attribute("weight_prepacked", 0) != 0) {
    return node.unsupported("g_idx and weights that are packed for a device are not supported");
  }
  constexpr int64_t kMost = 1 << 24;
  for (int64_t extent : {packed.rows, packed.columns, packed.block}) {
    if (extent < 1 || extent > kMost) return node.invalid("N, K or block_size is {}", extent);
  }
  if (packed.block % packed.per_byte() != 0) {
    return node.invalid("a block of {} is no number of bytes", packed.block);
  }
  const Tensor *const bytes = node.known(node.input(1)), *const scales = node.known(node.input(2)),
                      *const zero_points = node.has(3) ? node.known(node.input(3)) : nullptr;
  if (bytes == nullptr || scales == nullptr || (node.has(3) && zero_points == nullptr)) {
    return node.unsupported("packed weights must be constants");
  }
  packed.bytes = *bytes;
  packed.scales = *scales;
  if (zero_points != nullptr) packed.zero_points = *zero_points;
  const int64_t blocks = packed.blocks();
  const int64_t zero_bytes = (blocks + packed.per_byte() - 1) / packed.per_byte();
  const bool zeros_fit =
      !packed.zero_points ||
      packed.zero_points->num_elems() ==
          packed.rows * (is_float(packed.zero_points->dtype()) ? blocks : zero_bytes);
  if (packed.bytes.num_elems() != packed.rows * blocks * packed.block / packed.per_byte() ||
      packed.scales.num_elems() != packed.rows * blocks || !zeros_fit) {
    return node.invalid("{} bytes and {} scales for {} x {} weights of {} bits",
                        packed.bytes.num_elems(), packed.scales.num_elems(), packed.rows,
                        packed.columns, packed.bits);
  }
  return packed;
}

/// x w' + bias
Status import_matmul_nbits(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  CORF_ASSIGN(const PackedWeights packed, read_packed_weights(node));
  const ValueId x = node.input(0);
  const Shape shape = node.shape(x);
  if (shape.empty() || shape.back() != packed.columns) {
    return node.invalid("an input of shape {} for {} columns", to_string(shape), packed.columns);
  }
  if (node.has(5) && node.shape(node.input(5)) != Shape{packed.rows}) {
    return node.invalid("its bias does not fit");
  }
  const ValueId weights = dequantized(node, packed, node.dtype(x));
  ValueId y = graph::matmul(node.graph, node.part("product"), x, weights, false, true);
  if (node.has(5)) y = binary(node.graph, node.name(), ScalarOp::kAdd, y, node.input(5));
  node.set_output(y);
  return {};
}

constexpr Operator kOperators[] = {
    {"com.microsoft.MatMulNBits", 0, import_matmul_nbits},
    {"com.microsoft.QAttention", 0, import_qattention},
    {"com.microsoft.QLinearAdd", 0, import_qlinear_add},
    {"com.microsoft.QLinearAveragePool", 0, import_qlinear_average_pool},
    {"com.microsoft.QLinearConcat", 0, import_qlinear_concat},
    {"com.microsoft.QLinearGlobalAveragePool", 0, import_qlinear_global_average_pool},
    {"com.microsoft.QLinearLeakyRelu", 0, import_qlinear_leaky_relu},
    {"com.microsoft.QLinearMul", 0, import_qlinear_mul},
    {"com.microsoft.QLinearReduceMean", 0, import_qlinear_reduce_mean},
    {"com.microsoft.QLinearSigmoid", 0, import_qlinear_sigmoid},
    {"com.microsoft.QLinearSoftmax", 0, import_qlinear_softmax},
    {"com.microsoft.QLinearWhere", 0, import_qlinear_where},
};

}  // namespace

std::span<const Operator> quantized_operators() { return kOperators; }

}  // namespace corf::onnx
