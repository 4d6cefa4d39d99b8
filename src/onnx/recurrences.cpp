// RNN, GRU, LSTM, and the LSTM of bytes that ONNX Runtime's quantizer writes: routines of the
// runtime behind products with the inputs of all steps.
#include <algorithm>

#include "onnx/compose.h"
#include "onnx/quantization.h"
#include "support/checked.h"

namespace corf::onnx {
namespace {

/// Inputs that are left out in the middle become empty ones of shape {0}.
ValueId or_empty(NodeImport& node, int input, DType dtype) {
  if (node.has(input)) return node.input(input);
  return node.graph.add_constant(node.part(fmt::format("no_input{}", input)), Tensor(dtype, {0}));
}

/// x w' + the first half of b, for all steps and directions at once: one product.
ValueId project(NodeImport& node, ValueId x, ValueId w, ValueId bias) {
  const Shape shape = node.shape(w);
  const int64_t rows = shape[0] * shape[1];
  const ValueId weights = reshape(node.graph, node.part("w"), w, {rows, shape[2]});
  const ValueId turned = transpose(node.graph, node.part("w_transposed"), weights, {1, 0});
  const ValueId product = graph::matmul(node.graph, node.part("projected"), x, turned);
  if (bias < 0) return product;
  const ValueId half = slice(node.graph, node.part("w_bias"), bias, 1, 0, shape[1]);
  const ValueId row = reshape(node.graph, node.part("w_bias_row"), half, {rows});
  return binary(node.graph, node.part("projected_bias"), ScalarOp::kAdd, product, row);
}

/// r [directions, gates * hidden, hidden] as the routines read it: each gate in panels of 16 rows,
/// filled up with zeros, and each panel transposed.
ValueId in_panels(NodeImport& node, ValueId r, int64_t gates) {
  constexpr int64_t kPanel = 16;  // of runtime/routines/wide_math.h
  graph::Graph& graph = node.graph;
  const Shape shape = node.shape(r);
  const int64_t directions = shape[0], hidden = shape[2], panels = ceil_div(hidden, kPanel);
  ValueId rows = reshape(graph, node.part("r_gates"), r, {directions, gates, hidden, hidden});
  if (const int64_t missing = panels * kPanel - hidden; missing > 0) {
    const ValueId zeros = graph.add_constant(
        node.part("r_zeros"), Tensor(DType::kF32, {directions, gates, missing, hidden}));
    rows = concat(graph, node.part("r_filled"), {rows, zeros}, 2);
  }
  rows = reshape(graph, node.part("r_rows"), rows, {directions, gates, panels, kPanel, hidden});
  return transpose(graph, node.part("r_panels"), rows, {0, 1, 2, 4, 3});
}

/// What differs between recurrences of floats and of bytes.
struct RecurrentWeights {
  Shape w, r;                                 // as RNN, GRU and LSTM have them
  std::function<ValueId(ValueId)> projected;  // x w' + the first half of the bias, -1 for none
  ValueId panels = -1;                        // r, as the routine reads it
  std::vector<ValueId> more;                  // inputs of the routine behind all others
};

/// RNN, GRU and LSTM: x [sequence, batch, features], w [directions, gates * hidden, features],
/// r [directions, gates * hidden, hidden]; batch first if layout is 1. All inputs from 3 on, up to
/// `num_inputs`, are the node's own.
Status add_recurrence(NodeImport& node, std::string routine, int64_t gates, int num_inputs,
                      const RecurrentWeights& weights) {
  const Shape shape = node.shape(node.input(0)), &w = weights.w, &r = weights.r;
  for (const char* flag : {"layout", "linear_before_reset", "input_forget"}) {
    const int64_t value = node.int_attribute(flag, 0);
    if (value != 0 && value != 1) return node.invalid("{} is {} and must be 0 or 1", flag, value);
  }
  bool batch_first = node.int_attribute("layout", 0) != 0;
  std::string direction = node.string_attribute("direction", "forward");
  int64_t directions = direction == "bidirectional" ? 2 : 1;
  const int64_t hidden = r[2];
  if (w[0] != directions || r[0] != directions) {
    return node.invalid("weights {} and {} for {} directions", to_string(w), to_string(r),
                        directions);
  }
  int64_t batch = shape[batch_first ? 0 : 1];
  int64_t sequence = shape[batch_first ? 1 : 0];
  Shape all = batch_first ? Shape{batch, sequence, directions, hidden}
                          : Shape{sequence, directions, batch, hidden};
  Shape last = batch_first ? Shape{batch, directions, hidden} : Shape{directions, batch, hidden};
  std::map<std::string, graph::Attribute> attributes = {
      {"hidden_size", hidden},
      {"direction", direction},
      {"layout", int64_t{batch_first}},
      {"linear_before_reset", node.int_attribute("linear_before_reset", 0)},
      {"input_forget", node.int_attribute("input_forget", 0)}};
  if (node.has_attribute("clip")) {
    const double clip = node.float_attribute("clip", 0);
    if (!(clip >= 0)) return node.invalid("clip is {}, which is no bound", clip);
    attributes["clip"] = clip;
  }
  if (node.has_attribute("activations"))
    attributes["activations"] = node.strings_attribute("activations");
  for (const char* name : {"activation_alpha", "activation_beta"}) {
    if (node.has_attribute(name)) attributes[name] = node.floats_attribute(name);
  }
  const ValueId bias = node.has(3) ? node.input(3) : -1;
  if (bias >= 0 && (node.dtype(bias) != DType::kF32 || node.shape(bias) != Shape{w[0], 2 * w[1]})) {
    return node.invalid("bias {} does not fit weights {}", to_string(node.shape(bias)),
                        to_string(w));
  }
  const ValueId recurrent =
      bias >= 0 ? slice(node.graph, node.part("r_bias"), bias, 1, w[1], 2 * w[1])
                : node.graph.add_constant(node.part("r_bias"), Tensor(DType::kF32, {w[0], w[1]}));
  std::vector<ValueId> inputs = {weights.projected(bias), weights.panels, recurrent};
  const int count = weights.more.empty() ? std::min(num_inputs, node.num_inputs()) : num_inputs;
  // Lengths, states before the first step, peepholes.
  const Shape optional_shapes[] = {{batch}, last, last, {directions, 3 * hidden}};
  for (int i = 4; i < count; ++i) {
    const Shape& expected = optional_shapes[i - 4];
    if (node.has(i) && node.shape(node.input(i)) != expected) {
      return node.invalid("input {} of shape {}, where {} is expected", i,
                          to_string(node.shape(node.input(i))), to_string(expected));
    }
    inputs.push_back(or_empty(node, i, i == 4 ? DType::kI32 : DType::kF32));
  }
  inputs.insert(inputs.end(), weights.more.begin(), weights.more.end());
  std::vector<std::pair<DType, Shape>> outputs = {{DType::kF32, all}, {DType::kF32, last}};
  if (gates == 4) outputs.push_back({DType::kF32, last});
  while (outputs.size() > 1 && !node.wants_output(static_cast<int>(outputs.size()) - 1)) {
    outputs.pop_back();
  }
  const auto values =
      node.graph.add_opaque(node.name(), {std::move(routine), std::move(attributes)},
                            std::move(inputs), std::move(outputs));
  for (size_t i = 0; i < values.size(); ++i) node.set_output(static_cast<int>(i), values[i]);
  return {};
}

/// Errors: kInvalidModel if weights [directions, gates * hidden, features] and [directions,
/// gates * hidden, hidden] do not fit the node's input.
Status check_weights(NodeImport& node, int64_t gates, const Shape& w, const Shape& r) {
  const Shape shape = node.shape(node.input(0));
  bool fits = shape.size() == 3 && w.size() == 3 && r.size() == 3;
  const int64_t hidden = fits ? r[2] : 0;
  fits = fits && w[0] == r[0] && w[1] == gates * hidden && r[1] == gates * hidden &&
         w[2] == shape[2] && node.int_attribute("hidden_size", hidden) == hidden;
  if (fits) return {};
  return node.invalid("weights {} and {} do not fit input {}", to_string(w), to_string(r),
                      to_string(shape));
}

Status import_recurrence(NodeImport& node, int64_t gates, int num_inputs) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  const ValueId x = node.input(0), w = node.input(1), r = node.input(2);
  if (node.dtype(x) != DType::kF32) return node.unsupported("only float32 is supported");
  CORF_RETURN_IF_ERROR(require_same_type(node, {x, w, r}));
  RecurrentWeights weights{node.shape(w), node.shape(r), {}, -1, {}};
  CORF_RETURN_IF_ERROR(check_weights(node, gates, weights.w, weights.r));
  weights.projected = [&](ValueId bias) { return project(node, x, w, bias); };
  weights.panels = in_panels(node, r, gates);
  return add_recurrence(node, node.op_type(), gates, num_inputs, weights);
}

/// Bytes [directions, features, gates * hidden] with a scale and a zero point for each direction or
/// for each row of its gates.
struct ByteWeights {
  ValueId bytes = -1;
  ValueId scales = -1, zero_points = -1;  // [directions, gates * hidden]
};

Result<ByteWeights> read_byte_weights(NodeImport& node, std::string_view name, int input,
                                      int scale) {
  ByteWeights weights;
  weights.bytes = node.input(input);
  const Shape shape = node.shape(weights.bytes);
  if (shape.size() != 3) return node.invalid("weights of rank {}, not 3", shape.size());
  const Shape by_row = {shape[0], shape[2]};
  for (const int factor : {scale, scale + 1}) {
    ValueId value = node.input(factor);
    const Shape given = node.shape(value);
    if (given != Shape{shape[0]} && given != by_row) {
      return node.invalid("input {} of shape {} for weights {}", factor, to_string(given),
                          to_string(shape));
    }
    const auto part = [&](const char* of) { return node.part(fmt::format("{}_{}", name, of)); };
    if (given != by_row) {
      value = reshape(node.graph, part("factor"), value, {shape[0], 1});
      value = broadcast(node.graph, part("factors"), value, by_row);
    }
    (factor == scale ? weights.scales : weights.zero_points) = value;
  }
  return weights;
}

/// x w' of bytes, exact but for the rounding of x to them, all of it on one scale.
ValueId project_bytes(NodeImport& node, const ByteWeights& w, ValueId bias) {
  graph::Graph& graph = node.graph;
  const Shape shape = node.shape(w.bytes);
  const int64_t rows = shape[2];
  const auto less = [](ScalarBody& b, const std::vector<int>& in) {
    return b.apply(ScalarOp::kSub, b.cast(in[0], DType::kI32), b.cast(in[1], DType::kI32));
  };
  const QuantizedByRange x = quantized_by_range(node, node.part("x_bytes"), node.input(0));
  const ValueId centred_x = per_element(graph, node.part("x"), {x.value, x.zero_point}, less);
  std::vector<ValueId> directions;
  for (int64_t d = 0; d < shape[0]; ++d) {
    const auto part = [&](const char* name) { return node.part(fmt::format("{}{}", name, d)); };
    const auto of_direction = [&](const char* name, ValueId all) {
      Shape own = graph.values[all].shape;
      const ValueId slice_of_all = slice(graph, part(name), all, 0, d, d + 1);
      own.erase(own.begin());
      return reshape(graph, part(name) + "_matrix", slice_of_all, own);
    };
    const ValueId centred_w = per_element(
        graph, part("w"),
        {of_direction("w_bytes", w.bytes), of_direction("w_zeros", w.zero_points)}, less);
    std::vector<ValueId> inputs = {graph::matmul(graph, part("sums"), centred_x, centred_w),
                                   x.scale, of_direction("w_scales", w.scales)};
    if (bias >= 0) {
      inputs.push_back(slice(graph, part("w_bias_half"), of_direction("w_bias", bias), 0, 0, rows));
    }
    directions.push_back(per_element(
        graph, part("projected"), inputs, [](ScalarBody& b, const std::vector<int>& in) {
          const int scale = b.apply(ScalarOp::kMul, in[1], in[2]);
          const int y = b.apply(ScalarOp::kMul, b.cast(in[0], DType::kF32), scale);
          return in.size() > 3 ? b.apply(ScalarOp::kAdd, y, in[3]) : y;
        }));
  }
  return concat(graph, node.part("projected"), directions, 2);
}

/// Recurrent weights as the routine reads them: i8, 128 less than u8 ones, in panels of 16 rows
/// with four steps of the sum side by side, filled up with zeros; then scales, sums over the steps
/// of what the bytes stand for, and what is to be taken away from them.
void set_recurrent_bytes(NodeImport& node, const ByteWeights& r, int64_t gates,
                         RecurrentWeights& weights) {
  constexpr int64_t kPanel = 16, kSteps = 4;  // of runtime/routines
  graph::Graph& graph = node.graph;
  const Shape shape = node.shape(r.bytes);
  const int64_t directions = shape[0], hidden = shape[1];
  const int64_t depth = round_up(hidden, kSteps), rows = round_up(hidden, kPanel);
  const bool is_signed = node.dtype(r.bytes) == DType::kI8;
  const auto shifted = [&](const char* name, ValueId value) {
    return per_element(graph, node.part(name), {value},
                       [&](ScalarBody& b, const std::vector<int>& in) {
                         const int shift = b.constant_i64(is_signed ? 0 : 128, DType::kI32);
                         return b.apply(ScalarOp::kSub, b.cast(in[0], DType::kI32), shift);
                       });
  };
  const ValueId numbers = shifted("r_shifted", r.bytes);
  const ValueId rests = shifted("r_rests", r.zero_points);
  ValueId bytes = cast(graph, node.part("r_bytes"), numbers, DType::kI8);
  const auto fill = [&](int axis, int64_t extent) {
    Shape missing = graph.values[bytes].shape;
    missing[axis] = extent - missing[axis];
    if (missing[axis] == 0) return;
    const std::string name = fmt::format("r_zeros{}", axis);
    const ValueId zeros = graph.add_constant(node.part(name), Tensor(DType::kI8, missing));
    bytes = concat(graph, node.part(name + "_filled"), {bytes, zeros}, axis);
  };
  bytes = reshape(graph, node.part("r_gates"), bytes, {directions, hidden, gates, hidden});
  fill(1, depth);
  fill(3, rows);
  bytes = reshape(graph, node.part("r_steps"), bytes,
                  {directions, depth / kSteps, kSteps, gates, rows / kPanel, kPanel});
  weights.panels = transpose(graph, node.part("r_panels"), bytes, {0, 3, 4, 1, 5, 2});
  const ValueId all = graph::reduce(graph, node.part("r_sums_of_bytes"), numbers,
                                    graph::Combiner::kSum, {1}, false);
  const ValueId sums = per_element(
      graph, node.part("r_sums"), {all, rests}, [&](ScalarBody& b, const std::vector<int>& in) {
        const int count = b.constant_i64(hidden, DType::kI32);
        return b.apply(ScalarOp::kSub, in[0], b.apply(ScalarOp::kMul, in[1], count));
      });
  weights.more = {copy(graph, node.part("r_scales"), r.scales), sums, rests};
}

/// An LSTM whose products are of bytes: inputs are rounded to bytes of one scale, states at each
/// step to those of a scale of its own for each sequence, so that none depends on the others of its
/// batch. ONNX Runtime takes one for as many sequences as a thread has; one at a time they agree.
Status import_dynamic_quantize_lstm(NodeImport& node) {
  for (int input : {0, 1, 2, 8, 9, 10, 11}) {
    if (!node.has(input)) return node.invalid("its required input {} is missing", input);
  }
  constexpr int64_t kGates = 4;
  CORF_ASSIGN(const ByteWeights w, read_byte_weights(node, "w", 1, 8));
  CORF_ASSIGN(const ByteWeights r, read_byte_weights(node, "r", 2, 10));
  const Shape w_shape = node.shape(w.bytes), r_shape = node.shape(r.bytes);
  RecurrentWeights weights{
      {w_shape[0], w_shape[2], w_shape[1]}, {r_shape[0], r_shape[2], r_shape[1]}, {}, -1, {}};
  CORF_RETURN_IF_ERROR(check_weights(node, kGates, weights.w, weights.r));
  weights.projected = [&](ValueId bias) { return project_bytes(node, w, bias); };
  set_recurrent_bytes(node, r, kGates, weights);
  return add_recurrence(node, "DynamicQuantizeLSTM", kGates, 8, weights);
}

Status import_rnn(NodeImport& node) { return import_recurrence(node, 1, 6); }
Status import_gru(NodeImport& node) { return import_recurrence(node, 3, 6); }
Status import_lstm(NodeImport& node) { return import_recurrence(node, 4, 8); }

constexpr Operator kOperators[] = {
    {"GRU", 1, import_gru},
    {"LSTM", 1, import_lstm},
    {"RNN", 1, import_rnn},
    {"com.microsoft.DynamicQuantizeLSTM", 0, import_dynamic_quantize_lstm},
};

}  // namespace

std::span<const Operator> recurrence_operators() { return kOperators; }

}  // namespace corf::onnx
