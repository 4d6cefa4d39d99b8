#include <functional>

#include "fusion/nest.h"
#include "support/checked.h"

namespace corf::fusion {
namespace {

using index::ExprKind;
using index::Interval;

/// Applies f to every expression of the nest but what rings make of addresses.
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

/// An axis that divisions and modulos by a constant cut into pieces of that size.
struct Cut {
  int axis = -1;
  int64_t size = 0;
};

/// Whether expr is `axis floordiv size` or `axis mod size`.
bool cuts(const Expr& expr, const Cut& cut) {
  const bool divides = expr.kind() == ExprKind::kFloorDiv || expr.kind() == ExprKind::kMod;
  return divides && expr.rhs().is_constant(cut.size) && expr.lhs().is_variable(cut.axis);
}

/// The first cut of an axis; of a reduction axis only an even one.
std::optional<Cut> find_cut(const Expr& expr, const std::vector<NestAxis>& axes) {
  if (expr.is_constant() || expr.kind() == ExprKind::kVariable) return std::nullopt;
  const bool divides = expr.kind() == ExprKind::kFloorDiv || expr.kind() == ExprKind::kMod;
  if (divides && expr.rhs().is_constant() && expr.lhs().kind() == ExprKind::kVariable) {
    const Cut cut{expr.lhs().variable_id(), expr.rhs().constant()};
    if (cut.axis < static_cast<int>(axes.size()) && cut.size > 1) {
      const NestAxis& axis = axes[cut.axis];
      const bool even = axis.extent % cut.size == 0;
      const bool by_tap = axis.in_parts() && axis.shared < 0;
      if (cut.size < axis.extent && (even || !axis.reduction) && !by_tap) return cut;
    }
  }
  const std::optional<Cut> left = find_cut(expr.lhs(), axes);
  return left ? left : find_cut(expr.rhs(), axes);
}

/// Whether expr holds the axis elsewhere than in what cuts it.
bool depends_on_uncut(const Expr& expr, const Cut& cut) {
  if (expr.is_constant() || cuts(expr, cut)) return false;
  if (expr.kind() == ExprKind::kVariable) return expr.is_variable(cut.axis);
  return depends_on_uncut(expr.lhs(), cut) || depends_on_uncut(expr.rhs(), cut);
}

void replace_axes(Nest& nest, const std::vector<Expr>& replacement) {
  std::vector<Interval> ranges;
  for (const NestAxis& axis : nest.axes) ranges.push_back({0, axis.extent - 1});
  auto replace = [&](Expr& expr) {
    expr = index::substitute(expr, [&](int id) -> std::optional<Expr> {
      if (id >= kGatherBase) return std::nullopt;
      return replacement[id];
    });
    if (!is_gathered(expr)) expr = index::simplify(expr, ranges);
  };
  for_each_expr(nest, replace);
  for (Access& access : nest.loads) {
    if (access.turning) replace(access.turning->row);
    for (Access::Guard& guard : access.zeros) replace(guard.expr);
    std::erase_if(access.zeros, [](const Access::Guard& guard) {
      return !index::to_linear(guard.expr).is_affine();
    });
  }
  for (Nest::Store& store : nest.stores) {
    if (store.access.turning) replace(store.access.turning->row);
  }
}

/// Where the last piece is not whole: stores stay within the axis, and so do loads that the points
/// beyond it would take out of their value. Quotient and remainder alone are never out of range.
void guard_last_piece(Nest& nest, const Cut& cut) {
  const Access::Guard guard{Expr::variable(cut.axis), 0, nest.axes[cut.axis].extent};
  for (Access& access : nest.loads) {
    if (depends_on_uncut(access.address, cut)) access.guards.push_back(guard);
  }
  for (Nest::Store& store : nest.stores) store.access.guards.push_back(guard);
}

bool split_one_axis(Nest& nest) {
  std::optional<Cut> cut;
  for_each_expr(nest, [&](Expr& expr) {
    if (!cut && !is_gathered(expr)) cut = find_cut(expr, nest.axes);
  });
  if (!cut || nest.axes.size() > 24) return false;
  const int axis = cut->axis;
  if (nest.axes[axis].extent % cut->size != 0) guard_last_piece(nest, *cut);
  NestAxis inner = nest.axes[axis];
  inner.extent = cut->size;
  inner.name += "_in";
  inner.shared = -1;
  inner.unit = 1;
  inner.block = 0;
  nest.axes[axis].extent = ceil_div(nest.axes[axis].extent, cut->size);
  nest.axes[axis].unit *= cut->size;
  nest.axes.insert(nest.axes.begin() + axis + 1, inner);
  std::vector<Expr> replacement;
  for (int i = 0; i + 1 < static_cast<int>(nest.axes.size()); ++i) {
    int shifted = i > axis ? i + 1 : i;
    Expr variable = Expr::variable(shifted);
    replacement.push_back(i == axis ? variable * Expr(cut->size) + Expr::variable(axis + 1)
                                    : variable);
  }
  replace_axes(nest, replacement);
  return true;
}

void drop_unit_axes(Nest& nest) {
  std::vector<NestAxis> kept;
  std::vector<Expr> replacement;
  for (const NestAxis& axis : nest.axes) {
    if (axis.extent == 1 && axis.shared < 0 && !axis.in_parts()) {
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

bool walks_as_one(const Expr& address, int outer, int inner, int64_t inner_extent) {
  index::Linear linear = index::to_linear(address);
  if (index::depends_on(linear.rest, outer) || index::depends_on(linear.rest, inner)) return false;
  return linear.coefficient(outer) == inner_extent * linear.coefficient(inner);
}

bool walks_as_one(const Access& access, int outer, int inner, int64_t inner_extent) {
  for (const Access::Guard& guard : access.guards) {
    if (index::depends_on(guard.expr, outer) || index::depends_on(guard.expr, inner)) return false;
  }
  if (access.turning) {
    const Expr& row = access.turning->row;
    if (index::depends_on(row, outer) || index::depends_on(row, inner)) return false;
  }
  return walks_as_one(access.address, outer, inner, inner_extent);
}

bool can_merge(const Nest& nest, int outer, int inner) {
  if (nest.axes[outer].reduction != nest.axes[inner].reduction) return false;
  if (nest.axes[outer].shared >= 0 || nest.axes[inner].shared >= 0) return false;
  if (nest.axes[outer].in_parts() || nest.axes[inner].in_parts()) return false;
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
      for (Access& access : nest.loads) {
        std::erase_if(access.zeros, [&](const Access::Guard& guard) {
          return index::depends_on(guard.expr, outer) || index::depends_on(guard.expr, inner);
        });
      }
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
  nest.contraction = find_contraction(nest);
  return nest;
}

}  // namespace corf::fusion
