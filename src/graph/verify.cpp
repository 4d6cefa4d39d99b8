#include <cctype>
#include <limits>
#include <set>

#include "graph/scalar_types.h"
#include "graph/text.h"
#include "support/checked.h"

namespace corf::graph {

using corf::to_string;  // a Shape is found by no argument-dependent lookup
using index::AxisKind;
using index::Interval;

namespace {

constexpr int64_t kLowest = std::numeric_limits<int64_t>::min();
constexpr int64_t kHighest = std::numeric_limits<int64_t>::max();
constexpr int64_t kMaxPad = int64_t{1} << 40;  // beyond any memory; sums with it do not overflow

template <typename... Args>
Error broken(fmt::format_string<Args...> format, Args&&... args) {
  return make_error(ErrorCode::kInternal, format, std::forward<Args>(args)...);
}

bool is_axis_name(const std::string& name) {
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) return false;
  for (char c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '.') return false;
  }
  return name != "min" && name != "max" && name != "mod" && name != "floordiv";
}

Status verify_scalar(const Graph& graph, const Node& node, const Compute& compute, size_t number) {
  const ScalarNode& s = compute.body.nodes[number];
  auto wrong = [&](std::string_view what) -> Status {
    return broken("s{} = {}: {}", number, to_string(s.op), what);
  };
  int arity = num_args(s.op);
  DType types[3] = {};
  for (int i = 0; i < 3; ++i) {
    if (i >= arity) {
      if (s.args[i] != -1) return wrong("it has too many arguments");
      continue;
    }
    if (s.args[i] < 0 || s.args[i] >= static_cast<int>(number)) {
      return wrong("its arguments must be earlier results");
    }
    types[i] = compute.body.nodes[s.args[i]].dtype;
  }
  switch (s.op) {
    case ScalarOp::kOperand:
      if (s.index < 0 || s.index >= static_cast<int>(node.inputs.size())) {
        return wrong("there is no such operand");
      }
      if (graph.values[node.inputs[s.index]].dtype != s.dtype) {
        return wrong("its type is not the operand's");
      }
      return {};
    case ScalarOp::kIndex:
      if (s.index < 0 || s.index >= static_cast<int>(compute.space.axes.size())) {
        return wrong("there is no such axis");
      }
      return is_integer(s.dtype) ? Status() : wrong("an axis' coordinate is an integer");
    case ScalarOp::kConstant:
      return {};
    case ScalarOp::kTruncate:
      return wrong("only kernels truncate");
    default:
      break;
  }
  const std::string_view fault = type_fault(s.op, s.dtype, std::span(types, arity));
  return fault.empty() ? Status() : wrong(fault);
}

/// What integers of that type can be.
Interval numbers_of(DType dtype) {
  if (dtype == DType::kU8) return {0, UINT8_MAX};
  return dtype == DType::kI8 ? Interval{INT8_MIN, INT8_MAX} : Interval{kLowest, kHighest};
}

Status verify_operand(const Graph& graph, const Node& node, const Compute& compute, size_t number,
                      bool has_points) {
  const Operand& operand = compute.operands[number];
  const Value& value = graph.values[node.inputs[number]];
  int num_axes = static_cast<int>(compute.space.axes.size());
  if (operand.map.exprs.size() != value.shape.size()) {
    return broken("operand {} has {} coordinates, but its shape is {}", number,
                  operand.map.exprs.size(), to_string(value.shape));
  }
  std::vector<Interval> ranges;
  for (const index::Axis& axis : compute.space.axes) ranges.push_back({0, axis.extent - 1});
  for (const ValueId held : node.inputs) ranges.push_back(numbers_of(graph.values[held].dtype));
  for (size_t d = 0; d < value.shape.size(); ++d) {
    std::vector<bool> used;
    collect_variables(operand.map.exprs[d], used);
    for (size_t v = num_axes; v < used.size(); ++v) {
      if (!used[v]) continue;
      size_t held = v - num_axes;
      if (held >= compute.operands.size()) {
        return broken("operand {} uses a variable that is neither axis nor operand", number);
      }
      if (!is_integer(graph.values[node.inputs[held]].dtype)) {
        return broken("operand {} is indexed by operand {}, which holds no integers", number, held);
      }
      // An index may itself be indexed, but not in a circle.
      if (held <= number) {
        return broken("operand {} may only be indexed by later operands", number);
      }
    }
    if (operand.guarded || !has_points) continue;
    Interval range = bounds(simplify(operand.map.exprs[d], ranges), ranges);
    if (range.lo < 0 || range.hi >= value.shape[d]) {
      return broken("operand {} may read coordinate {} from {} to {}, outside of its shape {}",
                    number, d, range.lo, range.hi, to_string(value.shape));
    }
  }
  return {};
}

Status verify_compute(const Graph& graph, const Node& node, const Compute& compute) {
  if (node.outputs.size() != 1) return broken("a compute operator has one output");
  if (compute.operands.size() != node.inputs.size()) {
    return broken("it has {} operands but {} inputs", compute.operands.size(), node.inputs.size());
  }
  Shape parallel;
  Shape all;
  std::set<std::string> names;
  int reductions = 0;
  for (const index::Axis& axis : compute.space.axes) {
    if (!is_axis_name(axis.name) || !names.insert(axis.name).second) {
      return broken("'{}' is not a name for an axis, or not the only one", axis.name);
    }
    all.push_back(axis.extent);
    if (axis.kind == AxisKind::kReduction) {
      ++reductions;
    } else if (reductions > 0) {
      return broken("parallel axis '{}' comes after a reduction axis", axis.name);
    } else {
      parallel.push_back(axis.extent);
    }
  }
  auto points = checked_num_elems(all);
  if (!points.ok()) return broken("its iteration space is not sound: {}", points.error().message);
  const Value& output = graph.values[node.outputs[0]];
  if (output.shape != parallel) {
    return broken("its parallel axes are {}, but its output's shape is {}", to_string(parallel),
                  to_string(output.shape));
  }
  if ((compute.combiner == Combiner::kNone) != (reductions == 0)) {
    return broken("{} reduction axes do not go with combiner '{}'", reductions,
                  to_string(compute.combiner));
  }
  bool selects = compute.combiner == Combiner::kArgMin || compute.combiner == Combiner::kArgMax;
  if (selects && reductions != 1) return broken("arg-min and arg-max have one reduction axis");
  if (compute.body.nodes.empty()) return broken("its body is empty");
  for (size_t i = 0; i < compute.body.nodes.size(); ++i) {
    CORF_RETURN_IF_ERROR(verify_scalar(graph, node, compute, i));
  }
  if (reductions > 0 && compute.body.result_dtype() == DType::kBool) {
    return broken("combiner '{}' takes numbers, not bool", to_string(compute.combiner));
  }
  DType result = selects ? DType::kI64 : compute.body.result_dtype();
  if (output.dtype != result) {
    return broken("it gives {}, but its output holds {}", to_string(result),
                  to_string(output.dtype));
  }
  for (size_t i = 0; i < compute.operands.size(); ++i) {
    CORF_RETURN_IF_ERROR(verify_operand(graph, node, compute, i, *points > 0));
  }
  return {};
}

Status verify_concat(const Graph& graph, const Node& node, const Concat& concat) {
  Shape sum = graph.values[node.inputs[0]].shape;
  if (concat.axis < 0 || concat.axis >= static_cast<int>(sum.size())) {
    return broken("axis {} is not a dimension of {}", concat.axis, to_string(sum));
  }
  for (size_t i = 1; i < node.inputs.size(); ++i) {
    Shape shape = graph.values[node.inputs[i]].shape;
    if (shape.size() != sum.size()) return broken("its inputs' ranks differ");
    auto extent = checked_add(sum[concat.axis], shape[concat.axis]);
    if (!extent) return broken("its inputs together have more than 2^63 elements");
    sum[concat.axis] = *extent;
    shape[concat.axis] = sum[concat.axis];
    if (shape != sum) return broken("its inputs differ beside axis {}", concat.axis);
  }
  const Shape& output = graph.values[node.outputs[0]].shape;
  if (sum != output) {
    return broken("its inputs together are {}, its output {}", to_string(sum), to_string(output));
  }
  return {};
}

Status verify_transpose(const Transpose& transpose, const Shape& input, const Shape& output) {
  std::vector<bool> seen(input.size());
  if (transpose.permutation.size() != input.size() || output.size() != input.size()) {
    return broken("its permutation has not the rank of its input {}", to_string(input));
  }
  for (size_t i = 0; i < input.size(); ++i) {
    int from = transpose.permutation[i];
    if (from < 0 || from >= static_cast<int>(input.size()) || seen[from]) {
      return broken("its permutation is none");
    }
    seen[from] = true;
    if (output[i] != input[from]) {
      return broken("{} is not its input {} transposed", to_string(output), to_string(input));
    }
  }
  return {};
}

Status verify_view(const Graph& graph, const Node& node, const View& view) {
  if (node.outputs.size() != 1) return broken("a view has one output");
  if (node.inputs.empty()) return broken("a view has an input");
  for (ValueId input : node.inputs) {
    if (graph.values[input].dtype != graph.values[node.outputs[0]].dtype) {
      return broken("a view keeps the element type");
    }
  }
  if (const auto* concat = std::get_if<Concat>(&view)) return verify_concat(graph, node, *concat);
  if (node.inputs.size() != 1) return broken("this view has one input");
  const Shape& input = graph.values[node.inputs[0]].shape;
  const Shape& output = graph.values[node.outputs[0]].shape;
  if (std::holds_alternative<Reshape>(view)) {
    if (num_elems(input) == num_elems(output)) return {};
    return broken("{} has not as many elements as {}", to_string(output), to_string(input));
  }
  if (const auto* transpose = std::get_if<Transpose>(&view)) {
    return verify_transpose(*transpose, input, output);
  }
  if (std::holds_alternative<Broadcast>(view)) {
    if (input.size() > output.size()) return broken("a broadcast keeps all dimensions");
    for (size_t d = 0; d < input.size(); ++d) {
      int64_t extent = output[d + output.size() - input.size()];
      if (input[d] != 1 && input[d] != extent) {
        return broken("{} does not broadcast to {}", to_string(input), to_string(output));
      }
    }
    return {};
  }
  if (input.size() != output.size()) return broken("this view keeps the rank");
  if (const auto* slice = std::get_if<Slice>(&view)) {
    if (slice->starts.size() != input.size() || slice->steps.size() != input.size()) {
      return broken("a slice has a start and a step for each dimension");
    }
    for (size_t d = 0; d < input.size(); ++d) {
      if (output[d] == 0) continue;
      __int128 last = static_cast<__int128>(slice->steps[d]) * (output[d] - 1) + slice->starts[d];
      if (slice->starts[d] < 0 || slice->starts[d] >= input[d] || last < 0 || last >= input[d]) {
        return broken("dimension {} of the slice leaves its input {}", d, to_string(input));
      }
    }
    return {};
  }
  const auto& pad = std::get<Pad>(view);
  if (pad.before.size() != input.size()) return broken("a pad has a width for each dimension");
  for (int64_t width : pad.before) {
    if (width < -kMaxPad || width > kMaxPad) return broken("a pad of {} is out of range", width);
  }
  return {};
}

Status verify_node(const Graph& graph, const Node& node) {
  if (const auto* compute = std::get_if<Compute>(&node.op)) {
    return verify_compute(graph, node, *compute);
  }
  if (const auto* view = std::get_if<View>(&node.op)) return verify_view(graph, node, *view);
  if (const auto* constant = std::get_if<Constant>(&node.op)) {
    if (node.outputs.size() != 1 || !node.inputs.empty()) {
      return broken("a constant has one output and no inputs");
    }
    const Value& value = graph.values[node.outputs[0]];
    if (constant->tensor.empty()) return broken("the constant has no data");
    if (constant->tensor.dtype() != value.dtype || constant->tensor.shape() != value.shape) {
      return broken("the constant's tensor is not of its value's type and shape");
    }
  }
  if (std::holds_alternative<Input>(node.op) &&
      (node.outputs.size() != 1 || !node.inputs.empty())) {
    return broken("an input has one output and no inputs");
  }
  return {};
}

/// Ids in range, values produced once, in order.
Status verify_links(const Graph& graph) {
  ValueId num_values = static_cast<ValueId>(graph.values.size());
  std::vector<bool> produced(graph.values.size());
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    for (ValueId input : node.inputs) {
      if (input < 0 || input >= num_values || !produced[input]) {
        return broken("node '{}' reads value %{}, which no earlier node produces", node.name,
                      input);
      }
    }
    for (ValueId output : node.outputs) {
      if (output < 0 || output >= num_values || produced[output]) {
        return broken("node '{}' produces value %{}, which is none or another's", node.name,
                      output);
      }
      if (graph.values[output].producer != static_cast<NodeId>(n)) {
        return broken("value %{} names a producer other than node '{}'", output, node.name);
      }
      produced[output] = true;
    }
  }
  for (ValueId v = 0; v < num_values; ++v) {
    if (!produced[v]) {
      return broken("value %{} '{}' has no producer", v, graph.values[v].name);
    }
    auto elems = checked_num_elems(graph.values[v].shape);
    if (!elems.ok()) {
      return broken("value %{} '{}': {}", v, graph.values[v].name, elems.error().message);
    }
  }
  for (ValueId input : graph.inputs) {
    if (input < 0 || input >= num_values ||
        !std::holds_alternative<Input>(graph.producer(input).op)) {
      return broken("%{} is listed as an input but is none", input);
    }
  }
  for (ValueId output : graph.outputs) {
    if (output < 0 || output >= num_values) return broken("output %{} does not exist", output);
  }
  if (graph.output_names.size() != graph.outputs.size()) {
    return broken("{} outputs have {} names", graph.outputs.size(), graph.output_names.size());
  }
  return {};
}

}  // namespace

Status verify(const Graph& graph) {
  CORF_RETURN_IF_ERROR(verify_links(graph));
  for (const Node& node : graph.nodes) {
    Status status = verify_node(graph, node);
    if (status.ok()) continue;
    std::string origin = node.origin.empty() ? "" : " (" + node.origin + ")";
    return broken("node '{}'{}: {}", node.name, origin, status.error().message);
  }
  return {};
}

}  // namespace corf::graph
