#include "rewrite/fold_views_into_operands.h"

#include <algorithm>

#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
#include "rewrite/split_reduction.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::Operand;
using graph::ValueId;
using graph::View;

namespace {

bool is_affine(const index::IndexMap& map) {
  return std::all_of(map.exprs.begin(), map.exprs.end(),
                     [](const index::Expr& expr) { return index::to_linear(expr).is_affine(); });
}

/// A parallel axis over a constant that divides its extent: the value's elements repeat along it.
bool repeats(const index::Expr& expr, const index::IterationSpace& space) {
  if (expr.kind() != index::ExprKind::kFloorDiv || !expr.rhs().is_constant()) return false;
  if (expr.lhs().kind() != index::ExprKind::kVariable) return false;
  const int axis = expr.lhs().variable_id();
  return axis < space.num_parallel() && space.axes[axis].extent % expr.rhs().constant() == 0;
}

/// Whether the map costs nothing to follow: it is affine, or repeats elements along whole axes.
bool is_plain(const index::IndexMap& map, const index::IterationSpace& space) {
  return std::all_of(map.exprs.begin(), map.exprs.end(), [&](const index::Expr& expr) {
    return index::to_linear(expr).is_affine() || repeats(expr, space);
  });
}

/// Whether coordinates outside of the view's output, in its dimension `dim`, are outside of its
/// input as well.
bool passes_outside(const index::IndexMap& view_map, const Shape& input, const Shape& output,
                    int dim) {
  for (size_t i = 0; i < input.size(); ++i) {
    if (view_map.exprs[i].is_variable(dim) && input[i] == output[dim]) return true;
  }
  return false;
}

/// The operand reading the view's input instead of its output; nullopt if it cannot.
std::optional<Operand> through(const View& view, const Shape& input, const Shape& output,
                               const Operand& operand, const Compute& compute) {
  if (std::holds_alternative<graph::Concat>(view)) return std::nullopt;
  const std::vector<index::Interval> ranges = axis_ranges(compute.space);
  const index::IndexMap view_map = graph::index_map(view, input, output);
  Operand result = operand;

  if (const auto* pad = std::get_if<graph::Pad>(&view)) {
    if (compute.combiner == graph::Combiner::kNone) return std::nullopt;
    if (operand.guarded && operand.padding != pad->value) return std::nullopt;
    for (size_t i = 0; i < input.size(); ++i) {
      if (pad->before[i] < 0 || output[i] < input[i] + pad->before[i]) return std::nullopt;
    }
    result.guarded = true;
    result.padding = pad->value;
  } else if (operand.guarded) {
    for (size_t i = 0; i < output.size(); ++i) {
      const index::Interval reach = index::bounds(operand.map.exprs[i], ranges);
      const bool inside = reach.lo >= 0 && reach.hi < output[i];
      if (!inside && !passes_outside(view_map, input, output, static_cast<int>(i))) {
        return std::nullopt;
      }
    }
  }
  result.map = index::compose(view_map, operand.map);
  for (index::Expr& expr : result.map.exprs) expr = index::simplify(expr, ranges);
  return result;
}

/// Reads operand `i` through the view, splitting reduction axes where that keeps its map affine.
/// False, and nothing changed, if it cannot be read so. The map may need divisions, then.
bool read_through(const View& view, const Shape& input, const Shape& output, size_t i,
                  Compute& compute) {
  std::optional<Operand> first = through(view, input, output, compute.operands[i], compute);
  if (!first) return false;
  Compute changed = compute;
  for (std::optional<Operand> operand = first; operand;
       operand = through(view, input, output, changed.operands[i], changed)) {
    if (is_plain(operand->map, changed.space)) {
      changed.operands[i] = std::move(*operand);
      compute = std::move(changed);
      return true;
    }
    const std::optional<ReductionSplit> split = find_split(changed, operand->map);
    if (!split) break;
    changed = with_split(changed, *split);
    for (Operand& other : changed.operands) {
      if (is_affine(other.map)) continue;
      for (index::Expr& expr : other.map.exprs) {
        expr = index::simplify(expr, axis_ranges(changed.space));
      }
    }
  }
  compute.operands[i] = std::move(*first);
  return true;
}

/// Reads operand `i` through all views before it, as far as its map costs nothing to follow: what
/// one view divides, another may join again or repeat (the heads that share a key). Maps that are
/// not affine in the first place may stay so.
bool read_through_views(const Graph& graph, size_t i, Compute& compute, ValueId& input) {
  const bool divides = !is_affine(compute.operands[i].map);
  Compute trial = compute;
  bool changed = false;
  for (ValueId at = input; const View* view = producing_view(graph, at);) {
    const ValueId source = graph.producer(at).inputs[0];
    if (!read_through(*view, graph.values[source].shape, graph.values[at].shape, i, trial)) break;
    at = source;
    if (!divides && !is_plain(trial.operands[i].map, trial.space)) continue;
    compute = trial;
    input = at;
    changed = true;
  }
  return changed;
}

bool fold_node(Rebuild& rebuild, const Node& node) {
  const auto* old_compute = std::get_if<Compute>(&node.op);
  if (!old_compute) return false;
  Graph& graph = rebuild.graph();
  Compute compute = *old_compute;
  std::vector<ValueId> inputs = rebuild.mapped(node.inputs);
  const auto axes_only = [&](const Operand& operand) {
    return reads_axes_only(operand, compute.space);
  };
  if (!std::all_of(compute.operands.begin(), compute.operands.end(), axes_only)) return false;
  bool changed = false;
  for (size_t i = 0; i < inputs.size(); ++i) {
    changed |= read_through_views(graph, i, compute, inputs[i]);
  }
  if (!changed) return false;
  rebuild.replace(node.outputs[0],
                  graph.add_compute(node.name, std::move(compute), std::move(inputs), node.origin));
  return true;
}

}  // namespace

Result<Graph> fold_views_into_operands(Graph graph) {
  return without_dead_nodes(rebuild(graph, fold_node));
}

}  // namespace corf::rewrite
