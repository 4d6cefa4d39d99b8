#include "rewrite/drop_outside_steps.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "rewrite/rebuild.h"
#include "rewrite/structure.h"
#include "support/checked.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::Operand;
using graph::ScalarOp;
using graph::ValueId;
using index::Expr;

namespace {

/// Whether a factor of 0 makes the body 0.
bool is_product(const graph::ScalarBody& body) {
  return std::all_of(body.nodes.begin(), body.nodes.end(), [](const graph::ScalarNode& node) {
    return node.op == ScalarOp::kOperand || node.op == ScalarOp::kMul;
  });
}

/// Steps [first, end) of a reduction axis.
struct Steps {
  int axis = -1;
  int64_t first = 0, end = 0;
};

/// Those steps of the axis at which some point has the coordinate in [0, extent); all of them where
/// that cannot be told.
Steps steps_inside(const index::Linear& coordinate, const std::vector<index::Interval>& ranges,
                   int axis, int64_t extent) {
  Steps steps{axis, 0, ranges[static_cast<size_t>(axis)].hi + 1};
  index::Linear others = coordinate;
  others.coefficients.erase(axis);
  const index::Interval reached = index::bounds(index::to_expr(others), ranges);
  const int64_t step = coordinate.coefficient(axis);
  if (step == 0) return steps;
  // reached.lo + step * k < extent and reached.hi + step * k >= 0
  const int64_t least = step > 0 ? -reached.hi : reached.lo - extent + 1;
  const int64_t most = step > 0 ? extent - 1 - reached.lo : reached.hi;
  steps.first = std::max(steps.first, ceil_div(least, std::abs(step)));
  steps.end = std::min(steps.end, floor_div(most, std::abs(step)) + 1);
  return steps;
}

/// A reduction axis with steps that are outside for every point.
std::optional<Steps> find_steps(const Graph& graph, const Compute& compute,
                                const std::vector<ValueId>& inputs) {
  const std::vector<index::Interval> ranges = axis_ranges(compute.space);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Operand& operand = compute.operands[i];
    if (!operand.guarded || operand.padding != 0) continue;
    if (!reads_axes_only(operand, compute.space)) continue;
    const Shape& shape = graph.values[inputs[i]].shape;
    for (size_t d = 0; d < shape.size(); ++d) {
      const index::Linear coordinate = index::to_linear(operand.map.exprs[d]);
      if (!coordinate.is_affine()) continue;
      for (const auto& [axis, coefficient] : coordinate.coefficients) {
        const index::Axis& own = compute.space.axes[static_cast<size_t>(axis)];
        if (own.kind != index::AxisKind::kReduction || coefficient == 0) continue;
        const Steps steps = steps_inside(coordinate, ranges, axis, shape[d]);
        // Nothing but zeros is left to others.
        if (steps.first >= steps.end) continue;
        if (steps.first > 0 || steps.end < own.extent) return steps;
      }
    }
  }
  return std::nullopt;
}

/// The value without what the steps leave out along dimension d.
ValueId sliced(Graph& graph, ValueId value, size_t d, const Steps& steps) {
  Shape shape = graph.values[value].shape;
  graph::Slice slice{std::vector<int64_t>(shape.size(), 0), std::vector<int64_t>(shape.size(), 1)};
  slice.starts[d] = steps.first;
  shape[d] = steps.end - steps.first;
  const std::string name = graph.values[value].name + "/inside";
  return graph.add_view(name, std::move(slice), {value}, std::move(shape));
}

bool drop_steps(Rebuild& rebuild, const Node& node) {
  const auto* old = std::get_if<Compute>(&node.op);
  if (!old || old->combiner != graph::Combiner::kSum || !is_product(old->body)) return false;
  Graph& graph = rebuild.graph();
  std::vector<ValueId> inputs = rebuild.mapped(node.inputs);
  const std::optional<Steps> steps = find_steps(graph, *old, inputs);
  if (!steps) return false;
  Compute compute = *old;
  compute.space.axes[static_cast<size_t>(steps->axis)].extent = steps->end - steps->first;
  const Expr moved = Expr::variable(steps->axis) + Expr(steps->first);
  for (size_t i = 0; i < inputs.size(); ++i) {
    Operand& operand = compute.operands[i];
    for (size_t d = 0; d < operand.map.exprs.size(); ++d) {
      Expr& expr = operand.map.exprs[d];
      const bool whole = graph.values[inputs[i]].shape[d] ==
                         old->space.axes[static_cast<size_t>(steps->axis)].extent;
      if (!operand.guarded && whole && expr.is_variable(steps->axis)) {
        inputs[i] = sliced(graph, inputs[i], d, *steps);
        continue;
      }
      expr = index::substitute(expr, [&](int axis) -> std::optional<Expr> {
        return axis == steps->axis ? std::optional(moved) : std::nullopt;
      });
    }
  }
  const ValueId result =
      graph.add_compute(node.name, std::move(compute), std::move(inputs), node.origin);
  rebuild.replace(node.outputs[0], result);
  return true;
}

}  // namespace

Result<Graph> drop_outside_steps(Graph graph) {
  return rebuild_until_stable(std::move(graph), drop_steps);
}

}  // namespace corf::rewrite
