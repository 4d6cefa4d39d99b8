#include "rewrite/fold_empty_values.h"

#include <algorithm>

#include "graph/identity_of.h"
#include "graph/saturated.h"
#include "rewrite/rebuild.h"

namespace corf::rewrite {
using graph::Combiner;
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::ScalarNode;
using graph::ScalarOp;
using graph::ValueId;

namespace {

class EmptyFolder {
 public:
  Result<Graph> run(const Graph& graph) {
    find_needed(graph);
    Graph result = rebuild(graph, [this](Rebuild& rebuild, const Node& node) {
      return status_.ok() && visit(rebuild, node);
    });
    if (!status_.ok()) return status_.error();
    return result;
  }

 private:
  static bool is_empty(const Graph& graph, ValueId value) {
    return num_elems(graph.values[value].shape) == 0;
  }

  /// What an element of some output depends on. A place of nothing that only something empty reads
  /// (Hardmax over no elements) does no harm.
  void find_needed(const Graph& graph) {
    needed_.assign(graph.values.size(), false);
    for (ValueId output : graph.outputs) needed_[output] = !is_empty(graph, output);
    for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
      const bool needed = std::any_of(node->outputs.begin(), node->outputs.end(),
                                      [&](ValueId output) { return needed_[output]; });
      for (ValueId input : node->inputs) {
        if (needed && !is_empty(graph, input)) needed_[input] = true;
      }
    }
  }

  bool visit(Rebuild& rebuild, const Node& node) {
    const Graph& old = rebuild.old();
    const bool given = std::holds_alternative<graph::Input>(node.op) ||
                       std::holds_alternative<graph::Constant>(node.op);
    if (given) return false;
    if (std::all_of(node.outputs.begin(), node.outputs.end(),
                    [&](ValueId output) { return is_empty(old, output); })) {
      for (ValueId output : node.outputs) {
        const graph::Value& value = old.values[output];
        rebuild.replace(output,
                        rebuild.graph().add_constant(value.name, Tensor(value.dtype, value.shape)));
      }
      return true;
    }
    if (std::none_of(node.inputs.begin(), node.inputs.end(),
                     [&](ValueId input) { return is_empty(old, input); })) {
      const auto* compute = std::get_if<Compute>(&node.op);
      if (!compute || has_points(*compute)) return false;
    }
    if (const auto* compute = std::get_if<Compute>(&node.op)) {
      return has_points(*compute) ? pad(rebuild, node, *compute) : reduce(rebuild, node, *compute);
    }
    if (const auto* view = std::get_if<graph::View>(&node.op)) return fold(rebuild, node, *view);
    return false;
  }

  static bool has_points(const Compute& compute) {
    const auto& axes = compute.space.axes;
    return std::none_of(axes.begin(), axes.end(),
                        [](const auto& axis) { return axis.extent == 0; });
  }

  /// All elements of the node's result are the constant.
  static bool fill(Rebuild& rebuild, const Node& node, const ScalarNode& constant) {
    Graph& graph = rebuild.graph();
    const graph::Value& value = rebuild.old().values[node.outputs[0]];
    Tensor tensor(value.dtype, {});
    if (is_float(value.dtype)) {
      tensor.set_f64(0, constant.f64);
    } else {
      tensor.set_i64(0, constant.i64);
    }
    ValueId filled = graph.add_constant(node.name + "/value", std::move(tensor));
    if (!value.shape.empty()) {
      filled = graph.add_view(node.name, graph::Broadcast{}, {filled}, value.shape, node.origin);
    }
    rebuild.replace(node.outputs[0], filled);
    return true;
  }

  bool reduce(Rebuild& rebuild, const Node& node, const Compute& compute) {
    const bool finds_place =
        compute.combiner == Combiner::kArgMin || compute.combiner == Combiner::kArgMax;
    if (finds_place && !needed_[node.outputs[0]]) return fill(rebuild, node, ScalarNode());
    if (finds_place) {
      status_ = make_error(ErrorCode::kInvalidModel,
                           "node '{}' ({}): its input has no elements along the axis, so that none "
                           "of them is the {}; give it at least one",
                           node.name, node.origin,
                           compute.combiner == Combiner::kArgMin ? "least" : "greatest");
      return true;
    }
    return fill(rebuild, node, graph::identity_of(compute.combiner, compute.body.result_dtype()));
  }

  /// Operands without elements become the padding that stands around them.
  bool pad(Rebuild& rebuild, const Node& node, const Compute& compute) {
    const Graph& old = rebuild.old();
    std::vector<int> kept;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (!is_empty(old, node.inputs[i])) {
        kept.push_back(static_cast<int>(i));
        continue;
      }
      if (compute.operands[i].guarded && !indexes(compute, i)) continue;
      if (!needed_[node.outputs[0]]) return fill(rebuild, node, ScalarNode());
      status_ =
          make_error(ErrorCode::kInvalidModel,
                     "node '{}' ({}): it takes elements from '{}' of shape {}, which has none",
                     node.name, node.origin, old.values[node.inputs[i]].name,
                     to_string(old.values[node.inputs[i]].shape));
      return true;
    }
    const auto num_axes = static_cast<int>(compute.space.axes.size());
    const auto position = [&](int operand) {
      const auto found = std::find(kept.begin(), kept.end(), operand);
      return found == kept.end() ? -1 : static_cast<int>(found - kept.begin());
    };
    Compute padded = compute;
    padded.operands.clear();
    std::vector<ValueId> inputs;
    for (int operand : kept) {
      padded.operands.push_back(compute.operands[operand]);
      for (index::Expr& expr : padded.operands.back().map.exprs) {
        expr = index::substitute(expr, [&](int id) -> std::optional<index::Expr> {
          if (id < num_axes) return std::nullopt;
          return index::Expr::variable(num_axes + position(id - num_axes));
        });
      }
      inputs.push_back(rebuild.mapped(node.inputs[operand]));
    }
    for (ScalarNode& scalar : padded.body.nodes) {
      if (scalar.op != ScalarOp::kOperand) continue;
      if (const int at = position(scalar.index); at >= 0) {
        scalar.index = at;
        continue;
      }
      const double padding = compute.operands[scalar.index].padding;
      ScalarNode constant;
      constant.dtype = scalar.dtype;
      constant.f64 = padding;
      if (!is_float(scalar.dtype)) constant.i64 = graph::saturated(padding, scalar.dtype);
      scalar = constant;
    }
    rebuild.replace(node.outputs[0], rebuild.graph().add_compute(node.name, std::move(padded),
                                                                 std::move(inputs), node.origin));
    return true;
  }

  /// Whether another operand is read at coordinates that this one holds.
  static bool indexes(const Compute& compute, size_t operand) {
    const int variable = static_cast<int>(compute.space.axes.size() + operand);
    return std::any_of(compute.operands.begin(), compute.operands.end(), [&](const auto& other) {
      return std::any_of(
          other.map.exprs.begin(), other.map.exprs.end(),
          [&](const index::Expr& expr) { return index::depends_on(expr, variable); });
    });
  }

  bool fold(Rebuild& rebuild, const Node& node, const graph::View& view) {
    if (const auto* pad = std::get_if<graph::Pad>(&view)) {
      ScalarNode constant;
      constant.f64 = pad->value;
      const DType dtype = rebuild.old().values[node.outputs[0]].dtype;
      if (!is_float(dtype)) constant.i64 = static_cast<int64_t>(pad->value);
      return fill(rebuild, node, constant);
    }
    if (!std::holds_alternative<graph::Concat>(view)) return false;
    std::vector<ValueId> parts;
    for (ValueId input : node.inputs) {
      if (!is_empty(rebuild.old(), input)) parts.push_back(rebuild.mapped(input));
    }
    const ValueId only = parts[0];
    rebuild.replace(
        node.outputs[0],
        parts.size() == 1
            ? only
            : rebuild.graph().add_view(node.name, view, std::move(parts),
                                       rebuild.old().values[node.outputs[0]].shape, node.origin));
    return true;
  }

  std::vector<bool> needed_;  // by value
  Status status_;
};

}  // namespace

Result<Graph> fold_empty_values(Graph graph) { return EmptyFolder().run(graph); }

}  // namespace corf::rewrite
