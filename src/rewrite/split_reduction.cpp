#include "rewrite/split_reduction.h"

#include <set>

namespace corf::rewrite {
using graph::Compute;
using graph::ScalarNode;
using graph::ScalarOp;
using index::Expr;
using index::ExprKind;

namespace {

/// The divisor of the first division or modulo by a constant whose dividend needs `axis`; 0 if
/// there is none.
int64_t divisor_of(const Expr& expr, int axis) {
  if (expr.is_constant() || expr.kind() == ExprKind::kVariable) return 0;
  if (const int64_t inner = divisor_of(expr.lhs(), axis)) return inner;
  if (const int64_t inner = divisor_of(expr.rhs(), axis)) return inner;
  const bool divides = expr.kind() == ExprKind::kFloorDiv || expr.kind() == ExprKind::kMod;
  if (!divides || !expr.rhs().is_constant() || !index::depends_on(expr.lhs(), axis)) return 0;
  return expr.rhs().constant();
}

std::string unused_name(const Compute& compute, const std::string& name) {
  std::set<std::string> names;
  for (const index::Axis& axis : compute.space.axes) names.insert(axis.name);
  std::string candidate = name + "_in";
  while (names.count(candidate) > 0) candidate += "n";
  return candidate;
}

}  // namespace

std::optional<ReductionSplit> find_split(const Compute& compute, const index::IndexMap& map) {
  // The coordinate of the selected element would need joining again.
  if (compute.combiner == graph::Combiner::kArgMin ||
      compute.combiner == graph::Combiner::kArgMax) {
    return std::nullopt;
  }
  for (size_t i = 0; i < compute.space.axes.size(); ++i) {
    const index::Axis& axis = compute.space.axes[i];
    if (axis.kind != index::AxisKind::kReduction) continue;
    bool coordinate_needed = false;
    for (const ScalarNode& node : compute.body.nodes) {
      coordinate_needed |= node.op == ScalarOp::kIndex && node.index == static_cast<int>(i);
    }
    if (coordinate_needed) continue;
    for (const Expr& expr : map.exprs) {
      const int64_t inner = divisor_of(expr, static_cast<int>(i));
      if (inner > 1 && inner < axis.extent && axis.extent % inner == 0) {
        return ReductionSplit{static_cast<int>(i), inner};
      }
    }
  }
  return std::nullopt;
}

index::IndexMap with_split(const index::IndexMap& map, const ReductionSplit& split) {
  index::IndexMap result;
  for (const Expr& expr : map.exprs) {
    result.exprs.push_back(index::substitute(expr, [&](int variable) -> std::optional<Expr> {
      if (variable < split.axis) return std::nullopt;
      if (variable > split.axis) return Expr::variable(variable + 1);
      return Expr(split.inner) * Expr::variable(split.axis) + Expr::variable(split.axis + 1);
    }));
  }
  return result;
}

Compute with_split(const Compute& compute, const ReductionSplit& split) {
  Compute result = compute;
  index::Axis& outer = result.space.axes[split.axis];
  const index::Axis inner{unused_name(compute, outer.name), split.inner, outer.kind};
  outer.extent /= split.inner;
  result.space.axes.insert(result.space.axes.begin() + split.axis + 1, inner);
  for (graph::Operand& operand : result.operands) operand.map = with_split(operand.map, split);
  for (ScalarNode& node : result.body.nodes) {
    if (node.op == ScalarOp::kIndex && node.index > split.axis) ++node.index;
  }
  return result;
}

}  // namespace corf::rewrite
