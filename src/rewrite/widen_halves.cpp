#include "rewrite/widen_halves.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "graph/evaluate_view.h"
#include "graph/operators.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::ScalarBody;
using graph::ScalarNode;
using graph::ScalarOp;
using graph::Value;
using graph::ValueId;

namespace {

bool is_half(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16; }
DType widened(DType dtype) { return is_half(dtype) ? DType::kF32 : dtype; }

// ---- which roundings stay ----

/// Whether a result can jump where an argument changes by a rounding. Comparisons are not among
/// them where they only choose between numbers: importers write guards and branches so.
bool is_step(ScalarOp op) {
  return op == ScalarOp::kFloor || op == ScalarOp::kCeil || op == ScalarOp::kRoundEven ||
         op == ScalarOp::kMod || op == ScalarOp::kFmod;
}

/// Whether the operation's result is one of its arguments, or a half without its sign, so that
/// rounding the result and rounding the arguments come to the same.
bool keeps_halves(ScalarOp op) {
  switch (op) {
    case ScalarOp::kOperand:
    case ScalarOp::kConstant:
    case ScalarOp::kIndex:
    case ScalarOp::kMin:
    case ScalarOp::kMax:
    case ScalarOp::kNeg:
    case ScalarOp::kAbs:
    case ScalarOp::kLess:
    case ScalarOp::kLessEqual:
    case ScalarOp::kSelect:
      return true;
    default:
      return false;
  }
}

bool is_routine(const Node& node, std::string_view name) {
  const auto* opaque = std::get_if<graph::Opaque>(&node.op);
  return opaque && opaque->routine == name;
}

/// Whether the node is about a value's bits, not about the number.
bool reads_bits(const Node& node) { return is_routine(node, "BitCast"); }

bool has_step(const Node& node, const Graph& graph) {
  if (is_routine(node, "TopK") || reads_bits(node)) return true;
  const auto* compute = std::get_if<Compute>(&node.op);
  if (!compute) return false;
  if (!is_float(graph.values[node.outputs[0]].dtype)) return true;
  return std::any_of(compute->body.nodes.begin(), compute->body.nodes.end(),
                     [](const ScalarNode& scalar) { return is_step(scalar.op); });
}

bool is_widening_cast(const ScalarBody& body, const ScalarNode& scalar) {
  return scalar.op == ScalarOp::kCast && is_half(body.nodes[scalar.args[0]].dtype) &&
         is_float(scalar.dtype) && !is_half(scalar.dtype);
}

bool is_exact(const Node& node) {
  if (std::holds_alternative<graph::View>(node.op)) return true;
  const auto* compute = std::get_if<Compute>(&node.op);
  if (!compute) return false;
  if (compute->combiner == graph::Combiner::kSum ||
      compute->combiner == graph::Combiner::kProduct) {
    return false;
  }
  return std::all_of(compute->body.nodes.begin(), compute->body.nodes.end(),
                     [&](const ScalarNode& scalar) {
                       return keeps_halves(scalar.op) || is_widening_cast(compute->body, scalar);
                     });
}

/// The float values on which a step depends, at first hand or through operators that are exact.
std::vector<bool> values_before_steps(const Graph& graph) {
  std::vector<bool> before(graph.values.size(), false);
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    const bool passes_on = is_exact(*node) && before[node->outputs[0]];
    if (!passes_on && !has_step(*node, graph)) continue;
    for (ValueId input : node->inputs) {
      if (is_float(graph.values[input].dtype)) before[input] = true;
    }
  }
  return before;
}

// ---- bodies ----

/// The value of `half`'s type that is next to an f32 one.
int rounded(ScalarBody& body, int value, DType half) {
  return body.cast(body.cast(value, half), DType::kF32);
}

/// The body in f32, its result rounded to `round_to` if that is a half. Numbers that it holds are
/// the importer's (an epsilon, the square root of 2), and as exact as f32 has them.
ScalarBody widened(const ScalarBody& body, std::optional<DType> round_to) {
  ScalarBody result;
  std::vector<int> map;
  for (const ScalarNode& old : body.nodes) {
    ScalarNode node = old;
    node.dtype = widened(old.dtype);
    for (int& argument : node.args) {
      if (argument >= 0) argument = map[argument];
    }
    if (node.op == ScalarOp::kCast) {
      map.push_back(result.cast(node.args[0], node.dtype));
    } else {
      map.push_back(static_cast<int>(result.nodes.size()));
      result.nodes.push_back(node);
    }
  }
  int last = map.back();
  if (round_to) last = rounded(result, last, *round_to);
  // The last node is the result, even where a cast has left nothing to do.
  if (last != static_cast<int>(result.nodes.size()) - 1) result.nodes.push_back(result.nodes[last]);
  return result;
}

/// Whether the body is a cast of something else to a half, and nothing more: the model asks for
/// that rounding. Where importers narrow a result, it is an operator's rounding like any other.
bool casts_to_half(const ScalarBody& body) {
  const ScalarNode& last = body.nodes.back();
  return body.nodes.size() == 2 && last.op == ScalarOp::kCast && is_half(last.dtype);
}

// ---- the graph ----

class Widening {
 public:
  explicit Widening(const Graph& old)
      : old_(old),
        rounds_(values_before_steps(old)),
        halves_(old.values.size(), -1),
        wide_(old.values.size(), -1) {}

  Graph run() {
    for (const Node& node : old_.nodes) emit(node);
    graph_.output_names = old_.output_names;
    for (ValueId output : old_.outputs) graph_.outputs.push_back(in_own_type(output));
    return std::move(graph_);
  }

 private:
  const Value& old_value(ValueId id) const { return old_.values[id]; }
  bool was_half(ValueId old_id) const { return is_half(old_value(old_id).dtype); }
  bool is_constant(ValueId old_id) const { return constant_tensor(old_, old_id) != nullptr; }

  void emit(const Node& node) {
    if (std::holds_alternative<graph::Input>(node.op)) {
      const Value& value = old_value(node.outputs[0]);
      set(node.outputs[0], graph_.add_input(value.name, value.dtype, value.shape));
    } else if (std::holds_alternative<graph::Constant>(node.op)) {
      // Halves are added in the type that their readers ask for.
      if (!was_half(node.outputs[0])) copy(node, {}, false);
    } else if (reads_bits(node)) {
      std::vector<ValueId> inputs;
      for (ValueId input : node.inputs) inputs.push_back(in_own_type(input));
      copy(node, std::move(inputs), true);
    } else if (moves_halves(node)) {
      copy(node, own_inputs(node), true);
    } else if (const auto* compute = std::get_if<Compute>(&node.op)) {
      emit_compute(node, *compute);
    } else {
      copy(node, wide_inputs(node), false);
    }
  }

  /// Whether the node only moves elements that are at hand as halves. Gathers take constants as
  /// halves too: few of a table's elements are read. Views of constants are widened, so that they
  /// fold, and what repeats elements comes behind the cast.
  bool moves_halves(const Node& node) const {
    if (!was_half(node.outputs[0])) return false;
    const auto* compute = std::get_if<Compute>(&node.op);
    const bool gathers = compute && compute->combiner == graph::Combiner::kNone &&
                         returned_operand(compute->body) && !is_elementwise(*compute);
    const auto* view = std::get_if<graph::View>(&node.op);
    if (!gathers && (!view || std::holds_alternative<graph::Broadcast>(*view))) return false;
    return std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId input) {
      return !was_half(input) || halves_[input] >= 0 || (gathers && is_constant(input));
    });
  }

  void emit_compute(const Node& node, const Compute& old) {
    const ValueId output = node.outputs[0];
    Compute compute = old;
    std::optional<DType> round_to;
    const bool rounds =
        was_half(output) && (casts_to_half(old.body) || (rounds_[output] && !is_exact(node)));
    const bool reduces = old.combiner != graph::Combiner::kNone;
    if (rounds && !reduces) round_to = old_value(output).dtype;
    compute.body = widened(old.body, round_to);
    set(output, graph_.add_compute(node.name, std::move(compute), wide_inputs(node), node.origin));
    if (rounds && reduces) round(output);
  }

  /// The node as it is; outputs that were halves become f32, unless they are to stay.
  void copy(const Node& node, std::vector<ValueId> inputs, bool keeps_types) {
    Node copied = node;
    copied.inputs = std::move(inputs);
    for (ValueId& output : copied.outputs) {
      Value value = old_value(output);
      if (!keeps_types) value.dtype = widened(value.dtype);
      value.producer = static_cast<graph::NodeId>(graph_.nodes.size());
      const ValueId id = static_cast<ValueId>(graph_.values.size());
      graph_.values.push_back(std::move(value));
      set(output, id);
      output = id;
    }
    graph_.nodes.push_back(std::move(copied));
    for (ValueId output : node.outputs) {
      if (!keeps_types && was_half(output) && rounds_[output] && !is_exact(node)) round(output);
    }
  }

  void round(ValueId old_id) {
    const DType half = old_value(old_id).dtype;
    const std::string& name = old_value(old_id).name;
    wide_[old_id] = graph::elementwise(
        graph_, name, {wide_[old_id]},
        [&](ScalarBody& body, const std::vector<int>& in) { return rounded(body, in[0], half); },
        "Cast");
    graph_.values[wide_[old_id]].name = name;
  }

  ValueId cast(ValueId id, DType dtype) {
    return graph::elementwise(
        graph_, graph_.values[id].name, {id},
        [&](ScalarBody& body, const std::vector<int>& in) { return body.cast(in[0], dtype); },
        "Cast");
  }

  void set(ValueId old_id, ValueId id) {
    (is_half(graph_.values[id].dtype) ? halves_ : wide_)[old_id] = id;
    graph_.values[id].name = old_value(old_id).name;
  }

  std::vector<ValueId> own_inputs(const Node& node) {
    std::vector<ValueId> inputs;
    for (ValueId input : node.inputs) inputs.push_back(own(input));
    return inputs;
  }
  std::vector<ValueId> wide_inputs(const Node& node) {
    std::vector<ValueId> inputs;
    for (ValueId input : node.inputs) inputs.push_back(wide(input));
    return inputs;
  }

  /// The old value in its own type, where it is at hand or a constant.
  ValueId own(ValueId old_id) {
    if (!was_half(old_id)) return wide_[old_id];
    if (halves_[old_id] < 0)
      set(old_id, graph_.add_constant(old_.producer(old_id).name, *constant_tensor(old_, old_id)));
    return halves_[old_id];
  }

  /// The old value as f32, if it was a half.
  ValueId wide(ValueId old_id) {
    if (wide_[old_id] >= 0) return wide_[old_id];
    if (const Tensor* tensor = constant_tensor(old_, old_id)) {
      set(old_id,
          graph_.add_constant(old_.producer(old_id).name, graph::converted(*tensor, DType::kF32)));
    } else {
      wide_[old_id] = cast(halves_[old_id], DType::kF32);
    }
    return wide_[old_id];
  }

  ValueId in_own_type(ValueId old_id) {
    if (!was_half(old_id) || halves_[old_id] >= 0 || is_constant(old_id)) return own(old_id);
    halves_[old_id] = cast(wide_[old_id], old_value(old_id).dtype);
    return halves_[old_id];
  }

  const Graph& old_;
  const std::vector<bool> rounds_;
  // Of each old value: what stands for it in its own type and, of a half, as f32; -1: nothing yet.
  std::vector<ValueId> halves_, wide_;
  Graph graph_;
};

}  // namespace

Result<Graph> widen_halves(Graph graph) {
  const bool has_halves = std::any_of(graph.values.begin(), graph.values.end(),
                                      [](const Value& value) { return is_half(value.dtype); });
  return has_halves ? Widening(graph).run() : graph;
}

}  // namespace corf::rewrite
