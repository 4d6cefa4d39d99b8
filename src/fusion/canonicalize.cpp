#include <functional>

#include "fusion/nest.h"
#include "support/checked.h"

namespace corf::fusion {
namespace {

using index::ExprKind;
using index::Interval;

/// Applies f to every expression of the nest.
void for_each_expr(Nest& nest, const std::function<void(Expr&)>& f) {
  auto visit = [&](Access& access) {
    f(access.address);
    for (Access::Guard& guard : access.guards) f(guard.expr);
  };
  for (Access& access : nest.loads) visit(access);
  for (Nest::Store& store : nest.stores) visit(store.access);
  for (NestOp& op : nest.ops) {
    if (op.kind == NestOp::Kind::kIndex) f(op.index);
  }
}

bool has_gather(const Expr& expr) {
  if (expr.is_constant()) return false;
  if (expr.kind() == ExprKind::kVariable) return expr.variable_id() >= kGatherBase;
  return has_gather(expr.lhs()) || has_gather(expr.rhs());
}

/// The first `axis floordiv c` or `axis mod c` whose c cuts the axis evenly.
bool find_cut(const Expr& expr, const std::vector<NestAxis>& axes, int& axis, int64_t& divisor) {
  if (expr.is_constant() || expr.kind() == ExprKind::kVariable) return false;
  if (expr.kind() == ExprKind::kFloorDiv || expr.kind() == ExprKind::kMod) {
    if (expr.rhs().is_constant() && expr.lhs().kind() == ExprKind::kVariable) {
      int id = expr.lhs().variable_id();
      int64_t c = expr.rhs().constant();
      if (id < static_cast<int>(axes.size()) && c > 1 && c < axes[id].extent &&
          axes[id].extent % c == 0) {
        axis = id;
        divisor = c;
        return true;
      }
    }
  }
  return find_cut(expr.lhs(), axes, axis, divisor) || find_cut(expr.rhs(), axes, axis, divisor);
}

void replace_axes(Nest& nest, const std::vector<Expr>& replacement) {
  std::vector<Interval> ranges;
  for (const NestAxis& axis : nest.axes) ranges.push_back({0, axis.extent - 1});
  for_each_expr(nest, [&](Expr& expr) {
    expr = index::substitute(expr, [&](int id) -> std::optional<Expr> {
      if (id >= kGatherBase) return std::nullopt;
      return replacement[id];
    });
    if (!has_gather(expr)) expr = index::simplify(expr, ranges);
  });
}

bool split_one_axis(Nest& nest) {
  int axis = -1;
  int64_t divisor = 0;
  bool found = false;
  for_each_expr(nest, [&](Expr& expr) {
    if (!found && !has_gather(expr)) found = find_cut(expr, nest.axes, axis, divisor);
  });
  if (!found || nest.axes.size() > 24) return false;
  NestAxis inner = nest.axes[axis];
  inner.extent = divisor;
  inner.name += "_in";
  nest.axes[axis].extent /= divisor;
  nest.axes[axis].unit *= divisor;
  inner.shared = -1;
  nest.axes.insert(nest.axes.begin() + axis + 1, inner);
  std::vector<Expr> replacement;
  for (int i = 0; i + 1 < static_cast<int>(nest.axes.size()); ++i) {
    int shifted = i > axis ? i + 1 : i;
    Expr variable = Expr::variable(shifted);
    replacement.push_back(i == axis ? variable * Expr(divisor) + Expr::variable(axis + 1)
                                    : variable);
  }
  replace_axes(nest, replacement);
  return true;
}

void drop_unit_axes(Nest& nest) {
  std::vector<NestAxis> kept;
  std::vector<Expr> replacement;
  for (const NestAxis& axis : nest.axes) {
    if (axis.extent == 1 && axis.shared < 0) {
      replacement.push_back(Expr(0));
    } else {
      replacement.push_back(Expr::variable(static_cast<int>(kept.size())));
      kept.push_back(axis);
    }
  }
  if (kept.size() == nest.axes.size()) return;
  nest.axes = kept;
  replace_axes(nest, replacement);
}

bool walks_as_one(const Access& access, int outer, int inner, int64_t inner_extent) {
  for (const Access::Guard& guard : access.guards) {
    if (index::depends_on(guard.expr, outer) || index::depends_on(guard.expr, inner)) return false;
  }
  index::Linear linear = index::to_linear(access.address);
  if (index::depends_on(linear.rest, outer) || index::depends_on(linear.rest, inner)) return false;
  return linear.coefficient(outer) == inner_extent * linear.coefficient(inner);
}

bool can_merge(const Nest& nest, int outer, int inner) {
  if (nest.axes[outer].reduction != nest.axes[inner].reduction) return false;
  if (nest.axes[outer].shared >= 0 || nest.axes[inner].shared >= 0) return false;
  if (nest.combiner == graph::Combiner::kArgMax || nest.combiner == graph::Combiner::kArgMin) {
    if (nest.axes[outer].reduction) return false;
  }
  int64_t extent = nest.axes[inner].extent;
  for (const Access& access : nest.loads) {
    if (!walks_as_one(access, outer, inner, extent)) return false;
  }
  for (const Nest::Store& store : nest.stores) {
    if (!walks_as_one(store.access, outer, inner, extent)) return false;
  }
  for (const NestOp& op : nest.ops) {
    if (op.kind == NestOp::Kind::kIndex &&
        (index::depends_on(op.index, outer) || index::depends_on(op.index, inner))) {
      return false;
    }
  }
  return true;
}

bool merge_one_pair(Nest& nest) {
  const int n = static_cast<int>(nest.axes.size());
  for (int outer = 0; outer < n; ++outer) {
    for (int inner = 0; inner < n; ++inner) {
      if (inner == outer || !can_merge(nest, outer, inner)) continue;
      // Every address holds outer only as outer * extent + inner: the merged axis takes inner's
      // place.
      std::vector<Expr> replacement;
      std::vector<NestAxis> kept;
      for (int i = 0; i < n; ++i) {
        replacement.push_back(i == outer ? Expr(0) : Expr::variable(static_cast<int>(kept.size())));
        if (i != outer) kept.push_back(nest.axes[i]);
        if (i == inner) {
          kept.back().extent *= nest.axes[outer].extent;
          kept.back().name = nest.axes[outer].name + "_" + nest.axes[inner].name;
        }
      }
      nest.axes = kept;
      replace_axes(nest, replacement);
      return true;
    }
  }
  return false;
}

}  // namespace

Nest canonicalize(Nest nest) {
  for (Access& access : nest.loads) access.coordinates.clear();
  for (Nest::Store& store : nest.stores) store.access.coordinates.clear();
  while (split_one_axis(nest)) {
  }
  drop_unit_axes(nest);
  while (merge_one_pair(nest)) {
  }
  for (size_t i = 0; i < nest.axes.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (nest.axes[i].name == nest.axes[j].name) nest.axes[i].name += std::to_string(i);
    }
  }
  return nest;
}

}  // namespace corf::fusion
