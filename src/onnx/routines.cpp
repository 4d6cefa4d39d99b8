// Operators that no compute description fits: routines of the runtime, named as in ONNX.
#include <algorithm>

#include "onnx/compose.h"
#include "support/checked.h"

namespace corf::onnx {
namespace {

using Outputs = std::vector<std::pair<DType, Shape>>;

/// Adds the routine with those of `outputs` that the node names, up to the last one.
void add_routine(NodeImport& node, std::string routine,
                 std::map<std::string, graph::Attribute> attributes, std::vector<ValueId> inputs,
                 Outputs outputs) {
  size_t count = 1;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (node.wants_output(static_cast<int>(i))) count = i + 1;
  }
  outputs.resize(count);
  auto values = node.graph.add_opaque(node.name(), {std::move(routine), std::move(attributes)},
                                      std::move(inputs), std::move(outputs));
  for (size_t i = 0; i < values.size(); ++i) node.set_output(static_cast<int>(i), values[i]);
}

Status import_bit_cast(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  const ValueId x = node.input(0);
  const auto to = static_cast<int>(node.int_attribute("to", 0));
  const auto dtype = dtype_from_onnx(to);
  if (!dtype) return node.unsupported("a cast to {} is not supported", onnx_type_name(to));
  if (size_bytes(*dtype) != size_bytes(node.dtype(x))) {
    return node.invalid("{} and {} differ in width", to_string(node.dtype(x)), to_string(*dtype));
  }
  // Other bytes than 0 and 1 are no booleans.
  if (*dtype == DType::kBool && node.dtype(x) != DType::kBool) {
    return node.unsupported("a cast of bytes to bool is not supported");
  }
  if (*dtype == node.dtype(x)) {
    node.set_output(x);
    return {};
  }
  add_routine(node, "BitCast", {}, {x}, {{*dtype, node.shape(x)}});
  return {};
}

/// k is an attribute before opset 10 and an input from then on.
Status import_top_k(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(node.opset() < 10 ? 1 : 2));
  ValueId x = node.input(0);
  Shape shape = node.shape(x);
  CORF_ASSIGN(int axis, normal_axis(node, node.int_attribute("axis", -1), node.rank(x)));
  int64_t k = node.int_attribute("k", 0);
  if (node.opset() >= 10) {
    CORF_ASSIGN(auto values, node.known_ints(1, "k"));
    if (values.size() != 1) return node.invalid("k is not one number");
    k = values[0];
  }
  if (k < 0 || k > shape[axis]) return node.invalid("k is {} for {} elements", k, shape[axis]);
  std::map<std::string, graph::Attribute> attributes = {
      {"axis", int64_t{axis}},
      {"largest", node.int_attribute("largest", 1)},
      {"sorted", node.int_attribute("sorted", 1)}};
  shape[axis] = k;
  add_routine(node, "TopK", std::move(attributes), {x},
              {{node.dtype(x), shape}, {DType::kI64, shape}});
  return {};
}

/// Determinants or inverses of the square matrices in the last two dimensions.
Status import_matrices(NodeImport& node, const std::string& routine) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  const DType dtype = node.dtype(x);
  const Shape shape = node.shape(x);
  constexpr int64_t kMostRows = 1 << 12;
  if (shape.size() < 2 || shape.back() != shape[shape.size() - 2] || shape.back() > kMostRows) {
    return node.invalid("{} holds no square matrices of at most {} rows", to_string(shape),
                        kMostRows);
  }
  const DType wide = dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  x = cast(node.graph, node.part("wide"), x, wide);
  const Shape result = routine == "Inverse" ? shape : Shape(shape.begin(), shape.end() - 2);
  const ValueId y =
      node.graph.add_opaque(node.part("elimination"), {routine, {}}, {x}, {{wide, result}})[0];
  node.set_output(cast(node.graph, node.name(), y, dtype));
  return {};
}

Status import_det(NodeImport& node) { return import_matrices(node, "Det"); }
Status import_inverse(NodeImport& node) { return import_matrices(node, "Inverse"); }

Status check_scatter(const NodeImport& node, ValueId data, ValueId indices, ValueId updates) {
  CORF_RETURN_IF_ERROR(require_same_type(node, {data, updates}));
  DType dtype = node.dtype(indices);
  if (dtype != DType::kI32 && dtype != DType::kI64) {
    return node.invalid("indices have element type {}", to_string(dtype));
  }
  return {};
}

Status import_scatter_elements(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  ValueId data = node.input(0);
  CORF_RETURN_IF_ERROR(check_scatter(node, data, node.input(1), node.input(2)));
  Shape shape = node.shape(data);
  Shape indices = node.shape(node.input(1));
  CORF_ASSIGN(int axis, normal_axis(node, node.int_attribute("axis", 0), node.rank(data)));
  bool fits = indices == node.shape(node.input(2)) && indices.size() == shape.size();
  for (size_t d = 0; fits && d < shape.size(); ++d) {
    fits = static_cast<int>(d) == axis || indices[d] <= shape[d];
  }
  if (!fits) return node.invalid("indices {} do not fit", to_string(indices));
  add_routine(node, "ScatterElements",
              {{"axis", int64_t{axis}}, {"reduction", node.string_attribute("reduction", "none")}},
              {data, node.input(1), node.input(2)}, {{node.dtype(data), shape}});
  return {};
}

Status import_scatter_nd(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  ValueId data = node.input(0);
  CORF_RETURN_IF_ERROR(check_scatter(node, data, node.input(1), node.input(2)));
  Shape shape = node.shape(data);
  Shape indices = node.shape(node.input(1));
  auto rank = static_cast<int64_t>(shape.size());
  bool fits = !indices.empty() && indices.back() >= 0 && indices.back() <= rank;
  if (fits) {
    Shape expected(indices.begin(), indices.end() - 1);
    expected.insert(expected.end(), shape.begin() + indices.back(), shape.end());
    fits = node.shape(node.input(2)) == expected;
  }
  if (!fits) return node.invalid("indices {} do not fit", to_string(indices));
  add_routine(node, "ScatterND", {{"reduction", node.string_attribute("reduction", "none")}},
              {data, node.input(1), node.input(2)}, {{node.dtype(data), shape}});
  return {};
}

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

/// RNN, GRU and LSTM: x [sequence, batch, features], w [directions, gates * hidden, features],
/// r [directions, gates * hidden, hidden]; batch first if layout is 1. All inputs from 3 on, up to
/// `num_inputs`, are the node's own.
Status add_recurrence(NodeImport& node, std::string routine, int64_t gates, int num_inputs,
                      ValueId weights, ValueId recurrent_weights) {
  ValueId x = node.input(0);
  Shape shape = node.shape(x);
  Shape w = node.shape(weights);
  Shape r = node.shape(recurrent_weights);
  if (node.dtype(x) != DType::kF32) {
    return node.unsupported("only float32 is supported");
  }
  CORF_RETURN_IF_ERROR(require_same_type(node, {x, weights, recurrent_weights}));
  bool batch_first = node.int_attribute("layout", 0) != 0;
  std::string direction = node.string_attribute("direction", "forward");
  int64_t directions = direction == "bidirectional" ? 2 : 1;
  bool fits = shape.size() == 3 && w.size() == 3 && r.size() == 3;
  int64_t hidden = fits ? r[2] : 0;
  fits = fits && w[0] == directions && r[0] == directions && w[1] == gates * hidden &&
         r[1] == gates * hidden && w[2] == shape[2] &&
         node.int_attribute("hidden_size", hidden) == hidden;
  if (!fits) {
    return node.invalid("weights {} and {} do not fit input {}", to_string(w), to_string(r),
                        to_string(shape));
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
  if (node.has_attribute("clip")) attributes["clip"] = node.float_attribute("clip", 0);
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
  std::vector<ValueId> inputs = {project(node, x, weights, bias),
                                 in_panels(node, recurrent_weights, gates), recurrent};
  int count = std::min(num_inputs, node.num_inputs());
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
  Outputs outputs = {{DType::kF32, all}, {DType::kF32, last}};
  if (gates == 4) outputs.push_back({DType::kF32, last});
  add_routine(node, std::move(routine), std::move(attributes), std::move(inputs),
              std::move(outputs));
  return {};
}

Status import_recurrence(NodeImport& node, int64_t gates, int num_inputs) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  return add_recurrence(node, node.op_type(), gates, num_inputs, node.input(1), node.input(2));
}

/// Bytes [directions, features, gates * hidden] as the weights that they stand for, gates first;
/// `scale` and `zero_point` are inputs of one element for each direction, or for each of its gates'
/// rows.
Result<ValueId> dequantized_weights(NodeImport& node, std::string_view suffix, int input, int scale,
                                    int zero_point) {
  const ValueId bytes = node.input(input);
  const Shape shape = node.shape(bytes);
  if (shape.size() != 3) return node.invalid("weights of rank {}, not 3", shape.size());
  std::vector<ValueId> inputs = {bytes};
  for (const int factor : {scale, zero_point}) {
    const ValueId value = node.input(factor);
    const Shape given = node.shape(value);
    if (given != Shape{shape[0]} && given != Shape{shape[0], shape[2]}) {
      return node.invalid("input {} of shape {} for weights {}", factor, to_string(given),
                          to_string(shape));
    }
    inputs.push_back(reshape(node.graph, node.part(fmt::format("{}_{}", suffix, factor)), value,
                             {shape[0], 1, given.size() == 1 ? 1 : shape[2]}));
  }
  const ValueId weights = per_element(
      node.graph, node.part(suffix), inputs, [](ScalarBody& b, const std::vector<int>& in) {
        const int difference =
            b.apply(ScalarOp::kSub, b.cast(in[0], DType::kF32), b.cast(in[2], DType::kF32));
        return b.apply(ScalarOp::kMul, difference, in[1]);
      });
  return transpose(node.graph, node.part(fmt::format("{}_by_gates", suffix)), weights, {0, 2, 1});
}

/// An LSTM with the weights that its bytes stand for. Other engines round inputs and states to
/// bytes too, to multiply faster; what they give is further from the weights' exact result.
Status import_dynamic_quantize_lstm(NodeImport& node) {
  for (int input : {0, 1, 2, 8, 9, 10, 11}) {
    if (!node.has(input)) return node.invalid("its required input {} is missing", input);
  }
  CORF_ASSIGN(const ValueId w, dequantized_weights(node, "w_floats", 1, 8, 9));
  CORF_ASSIGN(const ValueId r, dequantized_weights(node, "r_floats", 2, 10, 11));
  return add_recurrence(node, "LSTM", 4, 8, w, r);
}

Status import_rnn(NodeImport& node) { return import_recurrence(node, 1, 6); }
Status import_gru(NodeImport& node) { return import_recurrence(node, 3, 6); }
Status import_lstm(NodeImport& node) { return import_recurrence(node, 4, 8); }

constexpr Operator kOperators[] = {
    {"BitCast", 26, import_bit_cast},
    {"Det", 11, import_det},
    {"GRU", 1, import_gru},
    {"LSTM", 1, import_lstm},
    {"RNN", 1, import_rnn},
    {"Scatter", 9, import_scatter_elements, 10},
    {"ScatterElements", 11, import_scatter_elements},
    {"ScatterND", 11, import_scatter_nd},
    {"TopK", 1, import_top_k},
    {"com.microsoft.DynamicQuantizeLSTM", 0, import_dynamic_quantize_lstm},
    {"com.microsoft.Inverse", 0, import_inverse},
};

}  // namespace

std::span<const Operator> routine_operators() { return kOperators; }

}  // namespace corf::onnx
