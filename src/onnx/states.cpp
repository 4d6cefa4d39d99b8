// Operators over sequences that a state is carried along, or whose length differs by batch.
#include <cmath>

#include "onnx/attention.h"
#include "onnx/compose.h"

namespace corf::onnx {
namespace {

using index::Expr;

/// For each point of `shape` the position that `body` makes of operand 0, which has `map`.
ValueId positions(NodeImport& node, const Shape& shape, ValueId operand, index::IndexMap map,
                  const std::function<int(ScalarBody&, int)>& body) {
  graph::Compute compute;
  for (size_t d = 0; d < shape.size(); ++d) {
    compute.space.axes.push_back({fmt::format("d{}", d), shape[d], index::AxisKind::kParallel});
  }
  compute.operands.push_back({std::move(map)});
  body(compute.body, compute.body.operand(0, DType::kI64));
  return node.graph.add_compute(node.part("positions"), std::move(compute), {operand});
}

Status check_lengths(const NodeImport& node, int input, int64_t batch) {
  const ValueId lengths = node.input(input);
  if (node.dtype(lengths) == DType::kI64 && node.shape(lengths) == Shape{batch}) return {};
  return node.invalid("input {} is {} {}, not int64 for each of {} batches", input,
                      to_string(node.dtype(lengths)), to_string(node.shape(lengths)), batch);
}

/// Batches' first elements along the time axis, as many as their lengths say, in reverse order.
Status import_reverse_sequence(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  const ValueId x = node.input(0);
  const Shape shape = node.shape(x);
  const int64_t time = node.int_attribute("time_axis", 0);
  const int64_t batch = node.int_attribute("batch_axis", 1);
  if (shape.size() < 2 || (time != 0 && time != 1) || batch != 1 - time) {
    return node.invalid("time axis {} and batch axis {} of {}", time, batch, to_string(shape));
  }
  CORF_RETURN_IF_ERROR(check_lengths(node, 1, shape[batch]));
  const ValueId from =
      positions(node, {shape[0], shape[1]}, node.input(1),
                {{Expr::variable(static_cast<int>(batch))}}, [&](ScalarBody& b, int length) {
                  int position = b.axis_index(static_cast<int>(time));
                  int after = b.apply(ScalarOp::kAdd, position, b.constant_i64(1, DType::kI64));
                  int mirrored = b.apply(ScalarOp::kSub, length, after);
                  return b.apply(ScalarOp::kSelect, b.apply(ScalarOp::kLess, position, length),
                                 mirrored, position);
                });
  const int rank = static_cast<int>(shape.size());
  graph::Compute compute;
  for (int d = 0; d < rank; ++d) {
    compute.space.axes.push_back({fmt::format("d{}", d), shape[d], index::AxisKind::kParallel});
  }
  graph::Operand source, position;
  source.map = index::IndexMap::identity(rank);
  // The modulo changes no length that fits.
  source.map.exprs[time] = mod(Expr::variable(rank + 1), std::max<int64_t>(1, shape[time]));
  position.map.exprs = {Expr::variable(0), Expr::variable(1)};
  compute.operands = {source, position};
  compute.body.operand(0, node.dtype(x));
  node.set_output(node.graph.add_compute(node.name(), std::move(compute), {x, from}));
  return {};
}

/// The cache, with the update in place of what it holds from each batch's index on.
Status import_tensor_scatter(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  const ValueId cache = node.input(0), update = node.input(1);
  CORF_RETURN_IF_ERROR(require_same_type(node, {cache, update}));
  const Shape shape = node.shape(cache);
  const int rank = node.rank(cache);
  CORF_ASSIGN(const int axis, normal_axis(node, node.int_attribute("axis", -2), rank));
  Shape expected = shape;
  if (node.rank(update) == rank) expected[axis] = node.shape(update)[axis];
  if (axis == 0 || node.shape(update) != expected || expected[axis] > shape[axis]) {
    return node.invalid("update {} does not fit cache {} along axis {}",
                        to_string(node.shape(update)), to_string(shape), axis);
  }
  const std::string mode = node.string_attribute("mode", "linear");
  if (mode != "linear" && mode != "circular") return node.invalid("unknown mode '{}'", mode);
  const int64_t length = expected[axis];
  if (length == 0) {
    node.set_output(cache);
    return {};
  }
  ValueId starts = -1;
  if (node.has(2)) {
    CORF_RETURN_IF_ERROR(check_lengths(node, 2, shape[0]));
    starts = node.input(2);
  } else {
    starts = node.graph.add_constant(node.part("starts"), Tensor(DType::kI64, {shape[0]}));
  }
  const ValueId steps = positions(
      node, {shape[0], shape[axis]}, starts, {{Expr::variable(0)}}, [&](ScalarBody& b, int start) {
        int step = b.apply(ScalarOp::kSub, b.axis_index(1), start);
        if (mode == "linear") return step;
        return b.apply(ScalarOp::kMod, step, b.constant_i64(shape[axis], DType::kI64));
      });
  graph::Compute compute;
  for (int d = 0; d < rank; ++d) {
    compute.space.axes.push_back({fmt::format("d{}", d), shape[d], index::AxisKind::kParallel});
  }
  graph::Operand old, written, step;
  old.map = index::IndexMap::identity(rank);
  written.map = index::IndexMap::identity(rank);
  written.map.exprs[axis] = mod(Expr::variable(rank + 2), length);
  step.map.exprs = {Expr::variable(0), Expr::variable(axis)};
  compute.operands = {old, written, step};
  ScalarBody& b = compute.body;
  int kept = b.operand(0, node.dtype(cache)), replaced = b.operand(1, node.dtype(cache));
  int at = b.operand(2, DType::kI64);
  int is_behind = b.apply(ScalarOp::kLessEqual, b.constant_i64(0, DType::kI64), at);
  int is_before = b.apply(ScalarOp::kLess, at, b.constant_i64(length, DType::kI64));
  b.apply(ScalarOp::kSelect, b.apply(ScalarOp::kAnd, is_behind, is_before), replaced, kept);
  node.set_output(node.graph.add_compute(node.name(), std::move(compute), {cache, update, steps}));
  return {};
}

/// A depthwise convolution along a sequence in front of which its state stands.
Status import_causal_conv_with_state(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  const ValueId x = node.input(0), weights = node.input(1);
  CORF_RETURN_IF_ERROR(require_float(node, x));
  CORF_RETURN_IF_ERROR(require_same_type(node, {x, weights}));
  Shape shape = node.shape(x);
  if (shape.size() != 3 || shape[1] < 1 || shape[2] < 1 || node.rank(weights) != 3 ||
      node.shape(weights)[0] != shape[1] || node.shape(weights)[1] != 1 ||
      node.shape(weights)[2] < 1) {
    return node.invalid("input {} and weights {} do not fit", to_string(shape),
                        to_string(node.shape(weights)));
  }
  const std::string activation = node.string_attribute("activation", "none");
  const bool swish = activation == "silu" || activation == "swish";
  if (!swish && activation != "none") return node.invalid("unknown activation '{}'", activation);
  const int64_t kernel = node.shape(weights)[2];
  const int64_t length = shape[2] + kernel - 1;
  ValueId sequence = x;
  if (node.has(3)) {
    const Shape state = {shape[0], shape[1], kernel - 1};
    if (node.shape(node.input(3)) != state) {
      return node.invalid("past state {}, not {}", to_string(node.shape(node.input(3))),
                          to_string(state));
    }
    CORF_RETURN_IF_ERROR(require_same_type(node, {x, node.input(3)}));
    if (kernel > 1) sequence = concat(node.graph, node.part("sequence"), {node.input(3), x}, 2);
  } else if (kernel > 1) {
    sequence = node.graph.add_view(node.part("sequence"), graph::Pad{{0, 0, kernel - 1}, 0}, {x},
                                   {shape[0], shape[1], length});
  }
  node.set_output(
      1, slice(node.graph, node.part("present_state"), sequence, 2, length - (kernel - 1), length));
  const graph::Window window = {{kernel}, {1}, {1}, {0}, {0}};
  std::vector<ValueId> inputs = {
      graph::conv(node.graph, node.part("conv"), sequence, weights, window, shape[1])};
  if (node.has(2)) {
    if (node.shape(node.input(2)) != Shape{shape[1]}) {
      return node.invalid("bias {} for {} channels", to_string(node.shape(node.input(2))),
                          shape[1]);
    }
    CORF_RETURN_IF_ERROR(require_same_type(node, {x, node.input(2)}));
    inputs.push_back(reshape(node.graph, node.part("bias"), node.input(2), {shape[1], 1}));
  }
  node.set_output(
      per_element(node.graph, node.name(), inputs, [&](ScalarBody& b, const std::vector<int>& in) {
        int sum = in.size() < 2 ? in[0] : b.apply(ScalarOp::kAdd, in[0], in[1]);
        if (!swish) return sum;
        return b.apply(ScalarOp::kMul, sum, b.apply(ScalarOp::kSigmoid, sum));
      }));
  return {};
}

/// Linear attention's inputs by head, in the type that the state is computed in.
struct LinearAttention {
  ValueId query = -1, key = -1, value = -1;  // [batch, heads, sequence, size]
  std::optional<ValueId> decay, rate;        // [batch, heads, sequence, size of a key or 1]
  ValueId state = -1;                        // [batch, heads, size of a key, size of a value]
  double scale = 1;
};

/// A gate of one number for each head, or for each element of its keys.
Result<std::optional<ValueId>> read_gate(NodeImport& node, int input, std::string_view suffix,
                                         bool wanted, int64_t heads) {
  if (node.has(input) != wanted) {
    return node.invalid("its update rule {} input {}", wanted ? "needs" : "has no use for", input);
  }
  if (!wanted) return std::optional<ValueId>();
  const bool is_shared = node.rank(node.input(input)) == 3 && node.shape(node.input(input))[2] == 1;
  CORF_ASSIGN(ValueId gate, split_heads(node, suffix, node.input(input), is_shared ? 1 : heads));
  return std::optional<ValueId>(gate);
}

Result<LinearAttention> read_linear_attention(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  const int64_t q_heads = node.int_attribute("q_num_heads", 0);
  const int64_t heads = node.int_attribute("kv_num_heads", 0);
  const std::string rule = node.string_attribute("update_rule", "gated_delta");
  const bool gated = rule == "gated" || rule == "gated_delta";
  const bool delta = rule == "delta" || rule == "gated_delta";
  if (!gated && !delta && rule != "linear") return node.invalid("unknown update_rule '{}'", rule);
  LinearAttention in;
  CORF_RETURN_IF_ERROR(require_float(node, node.input(0)));
  CORF_RETURN_IF_ERROR(require_same_type(node, {node.input(0), node.input(1), node.input(2)}));
  for (int i : {0, 1, 2}) {
    if (node.rank(node.input(i)) != 3) return node.invalid("input {} is not of rank 3", i);
  }
  CORF_ASSIGN(in.query, split_heads(node, "query", node.input(0), q_heads));
  CORF_ASSIGN(in.key, split_heads(node, "key", node.input(1), heads));
  CORF_ASSIGN(in.value, split_heads(node, "value", node.input(2), heads));
  CORF_ASSIGN(in.decay, read_gate(node, 4, "decay", gated, heads));
  CORF_ASSIGN(in.rate, read_gate(node, 5, "rate", delta, heads));
  const Shape q = node.shape(in.query), k = node.shape(in.key), v = node.shape(in.value);
  bool fits = q_heads % heads == 0 && q[0] == k[0] && q[2] == k[2] && q[3] == k[3] &&
              k[0] == v[0] && k[2] == v[2];
  auto gate_fits = [&](const std::optional<ValueId>& gate, const Shape& full) {
    return !gate || broadcast_shape(node.shape(*gate), full) == full;
  };
  fits = fits && gate_fits(in.decay, k) && gate_fits(in.rate, {k[0], k[1], k[2], 1});
  const Shape state = {k[0], heads, k[3], v[3]};
  if (!fits || (node.has(3) && node.shape(node.input(3)) != state)) {
    return node.invalid("its inputs do not fit; the state is {}", to_string(state));
  }
  const DType wide = node.dtype(in.query) == DType::kF64 ? DType::kF64 : DType::kF32;
  auto widen = [&](std::string_view name, ValueId x) {
    return cast(node.graph, node.part(fmt::format("{}_wide", name)), x, wide);
  };
  in.query = widen("query", in.query);
  in.key = widen("key", in.key);
  in.value = widen("value", in.value);
  if (in.decay) in.decay = widen("decay", *in.decay);
  if (in.rate) in.rate = widen("rate", *in.rate);
  in.state = node.has(3) ? widen("state", node.input(3))
                         : node.graph.add_constant(node.part("state"), Tensor(wide, state));
  in.scale = node.float_attribute("scale", 0);
  if (in.scale == 0) in.scale = 1 / std::sqrt(static_cast<double>(q[3]));
  return in;
}

/// The state's decay, what the key's value differs from what the state has for it, the state with
/// that added and what the query finds there.
ValueId attend_once(NodeImport& node, const LinearAttention& in, int64_t step, ValueId& state) {
  const std::string prefix = fmt::format("step{}", step);
  auto part = [&](std::string_view name) { return node.part(fmt::format("{}_{}", prefix, name)); };
  auto at_step = [&](std::string_view name, ValueId x) {
    return slice(node.graph, part(name), x, 2, step, step + 1);
  };
  auto as_column = [&](std::string_view name, ValueId x) {
    const Shape row = node.shape(x);
    return reshape(node.graph, part(name), x, {row[0], row[1], row[3], 1});
  };
  const ValueId key = at_step("key", in.key);
  ValueId value = at_step("value", in.value);
  if (in.decay) {
    const ValueId decay = as_column("decay_column", at_step("decay", *in.decay));
    state = per_element(node.graph, part("decayed"), {state, decay},
                        [](ScalarBody& b, const std::vector<int>& x) {
                          return b.apply(ScalarOp::kMul, x[0], b.apply(ScalarOp::kExp, x[1]));
                        });
  }
  if (in.rate) {
    const ValueId found = graph::matmul(node.graph, part("found"), key, state);
    value = per_element(node.graph, part("difference"), {value, found, at_step("rate", *in.rate)},
                        [](ScalarBody& b, const std::vector<int>& x) {
                          return b.apply(ScalarOp::kMul, x[2], b.apply(ScalarOp::kSub, x[0], x[1]));
                        });
  }
  state = per_element(node.graph, part("state"), {state, as_column("key_column", key), value},
                      [](ScalarBody& b, const std::vector<int>& x) {
                        return b.apply(ScalarOp::kAdd, x[0], b.apply(ScalarOp::kMul, x[1], x[2]));
                      });
  return multiply_heads(node, part("read"), at_step("query", in.query), state, false);
}

/// The recurrence step by step: chunks of several steps would need fewer, but round differently.
Status import_linear_attention(NodeImport& node) {
  constexpr int64_t kMaxSteps = 256;
  CORF_ASSIGN(const LinearAttention in, read_linear_attention(node));
  const int64_t steps = node.shape(in.query)[2];
  if (steps < 1 || steps > kMaxSteps) {
    return node.unsupported("a sequence of {} steps; 1 to {} are supported", steps, kMaxSteps);
  }
  ValueId state = in.state;
  std::vector<ValueId> rows;
  for (int64_t step = 0; step < steps; ++step) rows.push_back(attend_once(node, in, step, state));
  ValueId y = concat(node.graph, node.part("rows"), rows, 2);
  y = multiply(node.graph, node.part("scaled"), y, in.scale);
  y = cast(node.graph, node.part("narrow"), y, node.dtype(node.input(0)));
  node.set_output(merge_heads(node, node.name(), y));
  const DType state_type = node.dtype(node.input(node.has(3) ? 3 : 0));
  node.set_output(1, cast(node.graph, node.part("present_state"), state, state_type));
  return {};
}

constexpr Operator kOperators[] = {
    {"CausalConvWithState", 27, import_causal_conv_with_state},
    {"LinearAttention", 27, import_linear_attention},
    {"ReverseSequence", 10, import_reverse_sequence},
    {"TensorScatter", 24, import_tensor_scatter},
};

}  // namespace

std::span<const Operator> state_operators() { return kOperators; }

}  // namespace corf::onnx
