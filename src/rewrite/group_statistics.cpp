#include "rewrite/group_statistics.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "rewrite/rebuild.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::Operand;
using graph::ValueId;
using index::AxisKind;
using index::Expr;

namespace {

/// Fewer points of a channel are not worth a sum of their own.
constexpr int64_t kLeastPoints = 16;

/// v[n, g, ...] = x[n, c, ...] of the group's channels.
struct Grouped {
  ValueId x = -1;
  Shape shape;           // of x
  int64_t channels = 1;  // of a group
};

std::optional<Grouped> match_groups(const Graph& graph, ValueId v) {
  const graph::View* view = producing_view(graph, v);
  if (!view || !std::holds_alternative<graph::Reshape>(*view)) return std::nullopt;
  const ValueId x = graph.producer(v).inputs[0];
  const Shape &from = graph.values[x].shape, &to = graph.values[v].shape;
  if (from.size() < 3 || to.size() < 3 || num_elems(from) == 0 || from[0] != to[0]) {
    return std::nullopt;
  }
  if (from[1] % to[1] != 0 || num_elems(from) / from[0] / from[1] < kLeastPoints) {
    return std::nullopt;
  }
  // Heads are no groups: of each channel a dimension is split, none is joined.
  if (from[1] == to[1] && from.size() <= to.size()) return std::nullopt;
  return Grouped{x, from, from[1] / to[1]};
}

bool is_axis(const Expr& expr, int axis, int64_t extent) {
  return expr.is_variable(axis) || (extent == 1 && expr.is_constant(0));
}

/// Whether the operand's coordinates are image and group, or constant.
bool depends_on_group_alone(const Operand& operand, size_t num_axes) {
  return std::all_of(operand.map.exprs.begin(), operand.map.exprs.end(), [&](const Expr& expr) {
    for (size_t axis = 2; axis < num_axes; ++axis) {
      if (index::depends_on(expr, static_cast<int>(axis))) return false;
    }
    return true;
  });
}

bool depends_on_nothing(const Operand& operand) {
  return std::all_of(operand.map.exprs.begin(), operand.map.exprs.end(),
                     [](const Expr& expr) { return expr.is_constant(); });
}

/// Axes of an image's channels, points of extent 1.
index::IterationSpace channel_space(const Shape& shape) {
  index::IterationSpace space;
  for (size_t d = 0; d < shape.size(); ++d) {
    space.axes.push_back({"d" + std::to_string(d), d < 2 ? shape[d] : 1, AxisKind::kParallel});
  }
  return space;
}

Operand at_own_channel(const Shape& shape) {
  Operand operand;
  for (size_t d = 0; d < shape.size(); ++d) {
    operand.map.exprs.push_back(d < 2 ? Expr::variable(static_cast<int>(d)) : Expr(0));
  }
  return operand;
}

/// Whether an element-wise node makes the value, which so can be made for each channel.
bool is_made_elementwise(const Graph& graph, ValueId value) {
  const Compute* made = producing_compute(graph, value);
  return made && is_elementwise(*made) &&
         std::all_of(made->operands.begin(), made->operands.end(), [&](const Operand& operand) {
           return !operand.guarded && reads_axes_only(operand, made->space);
         });
}

/// What that node makes for each group, made for each channel. `at`: where the reader looks, over
/// image and group.
ValueId for_each_channel(Graph& graph, ValueId value, const Operand& at, const Grouped& groups) {
  Compute compute = *producing_compute(graph, value);
  compute.space = channel_space(groups.shape);
  const Expr group = floor_div(Expr::variable(1), Expr(groups.channels));
  std::vector<Expr> coordinates;
  for (const Expr& expr : at.map.exprs) {
    coordinates.push_back(index::substitute(expr, [&](int axis) -> std::optional<Expr> {
      return axis == 1 ? group : Expr::variable(axis);
    }));
  }
  for (Operand& operand : compute.operands) {
    for (Expr& expr : operand.map.exprs) {
      expr = index::substitute(expr, [&](int axis) -> std::optional<Expr> {
        return coordinates[static_cast<size_t>(axis)];
      });
    }
  }
  const Node node = graph.producer(value);
  return graph.add_compute(node.name + "/channels", std::move(compute), node.inputs, node.origin);
}

/// The inputs that are read element for element and are such reshapes, all of one shape.
struct GroupedInputs {
  std::optional<Grouped> groups;
  std::vector<bool> is_grouped;  // by input
};

std::optional<GroupedInputs> grouped_inputs(const Graph& graph, const Compute& compute,
                                            const std::vector<ValueId>& inputs,
                                            const Shape& shape) {
  GroupedInputs result{std::nullopt, std::vector<bool>(inputs.size(), false)};
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Operand& operand = compute.operands[i];
    if (operand.guarded || !reads_axes_only(operand, compute.space)) return std::nullopt;
    if (graph.values[inputs[i]].shape != shape) continue;
    if (!reads_own_point(operand, shape, compute.space)) continue;
    const std::optional<Grouped> own = match_groups(graph, inputs[i]);
    if (!own || (result.groups && result.groups->shape != own->shape)) return std::nullopt;
    result.groups = own;
    result.is_grouped[i] = true;
  }
  return result.groups ? std::optional(std::move(result)) : std::nullopt;
}

/// f(reshape(x), s) as reshape(f(x, s')).
bool reshape_last(Rebuild& rebuild, const Node& node) {
  const auto* compute = std::get_if<Compute>(&node.op);
  if (!compute || !is_elementwise(*compute)) return false;
  const auto& nodes = compute->body.nodes;
  if (std::any_of(nodes.begin(), nodes.end(), [](const graph::ScalarNode& scalar) {
        return scalar.op == graph::ScalarOp::kIndex;
      })) {
    return false;
  }
  Graph& graph = rebuild.graph();
  std::vector<ValueId> inputs = rebuild.mapped(node.inputs);
  const Shape shape = rebuild.old().values[node.outputs[0]].shape;
  const auto grouped = grouped_inputs(graph, *compute, inputs, shape);
  if (!grouped) return false;
  const Grouped& groups = *grouped->groups;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Operand& operand = compute->operands[i];
    if (grouped->is_grouped[i] || depends_on_nothing(operand)) continue;
    if (!depends_on_group_alone(operand, compute->space.axes.size())) return false;
    if (!is_made_elementwise(graph, inputs[i])) return false;
  }
  Compute by_channel = *compute;
  by_channel.space.axes.clear();
  Operand own_point;
  for (size_t d = 0; d < groups.shape.size(); ++d) {
    by_channel.space.axes.push_back(
        {"d" + std::to_string(d), groups.shape[d], AxisKind::kParallel});
    own_point.map.exprs.push_back(Expr::variable(static_cast<int>(d)));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    Operand& operand = by_channel.operands[i];
    if (grouped->is_grouped[i]) {
      inputs[i] = match_groups(graph, inputs[i])->x;
      operand = own_point;
      continue;
    }
    if (depends_on_nothing(operand)) continue;
    inputs[i] = for_each_channel(graph, inputs[i], operand, groups);
    operand = at_own_channel(groups.shape);
  }
  const ValueId result =
      graph.add_compute(node.name, std::move(by_channel), std::move(inputs), node.origin);
  rebuild.replace(node.outputs[0],
                  graph.add_view(node.name + "/groups", graph::Reshape{}, {result}, shape));
  return true;
}

/// Whether a sum over v, of that shape, takes all of each group once, and makes an element of it.
bool sums_groups(const Compute& compute, const Shape& shape) {
  const auto& axes = compute.space.axes;
  const auto& exprs = compute.operands[0].map.exprs;
  auto is_parallel = [&](size_t axis, int64_t extent) {
    return axes[axis].kind == AxisKind::kParallel && axes[axis].extent == extent;
  };
  if (axes.size() < 2 || !is_parallel(0, shape[0]) || !is_parallel(1, shape[1])) return false;
  if (!is_axis(exprs[0], 0, shape[0]) || !is_axis(exprs[1], 1, shape[1])) return false;
  std::set<int> summed;
  for (size_t d = 2; d < shape.size(); ++d) {
    if (shape[d] == 1 && exprs[d].is_constant(0)) continue;
    if (exprs[d].kind() != index::ExprKind::kVariable) return false;
    const int axis = exprs[d].variable_id();
    if (axis >= static_cast<int>(axes.size()) || axes[axis].kind != AxisKind::kReduction ||
        axes[axis].extent != shape[d] || !summed.insert(axis).second) {
      return false;
    }
  }
  for (int axis = 2; axis < static_cast<int>(axes.size()); ++axis) {
    if (!summed.count(axis) && axes[axis].extent != 1) return false;
  }
  return true;
}

/// Over the points of each channel: [N, C, 1...].
Compute sums_of_channels(const Compute& compute, const Shape& shape) {
  Compute sums;
  sums.space = channel_space(shape);
  Operand points = at_own_channel(shape);
  for (size_t d = 2; d < shape.size(); ++d) {
    points.map.exprs[d] = Expr::variable(static_cast<int>(sums.space.axes.size()));
    sums.space.axes.push_back({"r" + std::to_string(d), shape[d], AxisKind::kReduction});
  }
  sums.operands = {std::move(points)};
  sums.body = compute.body;
  sums.combiner = compute.combiner;
  return sums;
}

/// Of those, over the channels of each group; the result is shaped as that of `compute`.
Compute sums_of_groups(const Compute& compute, const Grouped& groups) {
  Compute sums;
  for (const index::Axis& axis : compute.space.axes) {
    if (axis.kind == AxisKind::kParallel) sums.space.axes.push_back(axis);
  }
  Operand own = at_own_channel(groups.shape);
  own.map.exprs[1] = Expr(groups.channels) * Expr::variable(1) +
                     Expr::variable(static_cast<int>(sums.space.axes.size()));
  sums.space.axes.push_back({"c", groups.channels, AxisKind::kReduction});
  sums.operands = {std::move(own)};
  sums.body = compute.body;
  sums.combiner = compute.combiner;
  return sums;
}

/// A group's sum as the sum of its channels' sums.
bool sum_channels_first(Rebuild& rebuild, const Node& node) {
  const auto* compute = std::get_if<Compute>(&node.op);
  if (!compute || compute->combiner != graph::Combiner::kSum) return false;
  if (compute->operands.size() != 1 || compute->operands[0].guarded) return false;
  if (returned_operand(compute->body) != 0) return false;
  Graph& graph = rebuild.graph();
  const ValueId v = rebuild.mapped(node.inputs)[0];
  const std::optional<Grouped> groups = match_groups(graph, v);
  if (!groups || groups->channels == 1 || !sums_groups(*compute, graph.values[v].shape)) {
    return false;
  }
  const ValueId channels = graph.add_compute(
      node.name + "/channels", sums_of_channels(*compute, groups->shape), {groups->x}, node.origin);
  rebuild.replace(node.outputs[0], graph.add_compute(node.name, sums_of_groups(*compute, *groups),
                                                     {channels}, node.origin));
  return true;
}

}  // namespace

Result<Graph> group_statistics(Graph graph) {
  return rebuild_until_stable(std::move(graph), [](Rebuild& rebuild, const Node& node) {
    return reshape_last(rebuild, node) || sum_channels_first(rebuild, node);
  });
}

}  // namespace corf::rewrite
