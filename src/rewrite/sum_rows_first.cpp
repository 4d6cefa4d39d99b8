#include "rewrite/sum_rows_first.h"

#include <algorithm>
#include <set>

#include "rewrite/rebuild.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::Operand;
using graph::ScalarNode;
using graph::ScalarOp;
using graph::ValueId;
using index::AxisKind;
using index::Expr;
using index::ExprKind;

namespace {

/// Smaller images stay in the first levels of the caches until they are pooled.
constexpr int64_t kLeastRows = 28, kLeastPoints = 784;

/// The axes that the operand's dimensions run along, each whole and once; -1: of extent 1. nullopt
/// if the map is any other.
std::optional<std::vector<int>> axes_of_dimensions(const Compute& compute, const Operand& operand,
                                                   const Shape& shape) {
  std::vector<int> axes;
  std::set<int> seen;
  for (size_t d = 0; d < shape.size(); ++d) {
    const Expr& expr = operand.map.exprs[d];
    if (expr.is_constant() && shape[d] == 1) {
      axes.push_back(-1);
      continue;
    }
    if (expr.is_constant() || expr.kind() != ExprKind::kVariable) return std::nullopt;
    const int axis = expr.variable_id();
    if (axis >= static_cast<int>(compute.space.axes.size()) || !seen.insert(axis).second ||
        compute.space.axes[static_cast<size_t>(axis)].extent != shape[d]) {
      return std::nullopt;
    }
    axes.push_back(axis);
  }
  return axes;
}

bool sums_large_images(const Compute& compute) {
  if (compute.combiner != graph::Combiner::kSum || compute.operands.size() != 1) return false;
  if (compute.operands[0].guarded) return false;
  // The rows' sums would be rounded to half precision.
  const DType dtype = compute.body.result_dtype();
  if (dtype == DType::kF16 || dtype == DType::kBF16) return false;
  for (const ScalarNode& node : compute.body.nodes) {
    if (node.op == ScalarOp::kIndex) return false;
  }
  std::vector<int64_t> reduced;
  for (const index::Axis& axis : compute.space.axes) {
    if (axis.kind == AxisKind::kReduction) reduced.push_back(axis.extent);
  }
  if (reduced.size() != 2 || reduced[1] == 1) return false;
  return reduced[0] >= kLeastRows && reduced[0] * reduced[1] >= kLeastPoints;
}

/// The sums of rows, over the operand's dimensions: the one along `row` has extent 1.
Compute sums_of_rows(const Compute& compute, const std::vector<int>& axes, const Shape& shape,
                     int row) {
  Compute rows;
  Operand operand;
  for (size_t d = 0; d < shape.size(); ++d) {
    rows.space.axes.push_back(
        {"d" + std::to_string(d), axes[d] == row ? 1 : shape[d], AxisKind::kParallel});
    const Expr along = axes[d] == row ? Expr::variable(static_cast<int>(shape.size()))
                                      : Expr::variable(static_cast<int>(d));
    operand.map.exprs.push_back(axes[d] < 0 ? Expr(0) : along);
  }
  const index::Axis& summed = compute.space.axes[static_cast<size_t>(row)];
  rows.space.axes.push_back({summed.name, summed.extent, AxisKind::kReduction});
  rows.operands = {std::move(operand)};
  rows.body = compute.body;
  rows.combiner = compute.combiner;
  return rows;
}

/// What is left of the sum once rows are summed up.
Compute sum_of_sums(const Compute& compute, const std::vector<int>& axes, int row, DType dtype) {
  Compute sum;
  sum.space = compute.space;
  sum.space.axes.erase(sum.space.axes.begin() + row);
  Operand operand;
  for (int axis : axes) {
    const bool gone = axis < 0 || axis == row;
    operand.map.exprs.push_back(gone ? Expr(0) : Expr::variable(axis > row ? axis - 1 : axis));
  }
  sum.operands = {std::move(operand)};
  sum.body.operand(0, dtype);
  sum.combiner = compute.combiner;
  return sum;
}

bool split_sum(Rebuild& rebuild, const Node& node) {
  const auto* compute = std::get_if<Compute>(&node.op);
  if (!compute || !sums_large_images(*compute)) return false;
  Graph& graph = rebuild.graph();
  const ValueId x = rebuild.mapped(node.inputs)[0];
  if (!producing_compute(graph, x)) return false;
  const Shape shape = graph.values[x].shape;
  const auto axes = axes_of_dimensions(*compute, compute->operands[0], shape);
  if (!axes) return false;
  int row = -1;
  for (size_t i = 0; i < compute->space.axes.size(); ++i) {
    if (compute->space.axes[i].kind == AxisKind::kReduction) row = static_cast<int>(i);
  }
  if (std::count(axes->begin(), axes->end(), row) != 1) return false;
  const ValueId rows = graph.add_compute(
      node.name + "/rows", sums_of_rows(*compute, *axes, shape, row), {x}, node.origin);
  rebuild.replace(
      node.outputs[0],
      graph.add_compute(node.name, sum_of_sums(*compute, *axes, row, graph.values[rows].dtype),
                        {rows}, node.origin));
  return true;
}

}  // namespace

Result<Graph> sum_rows_first(Graph graph) {
  return rebuild_until_stable(std::move(graph), split_sum);
}

}  // namespace corf::rewrite
