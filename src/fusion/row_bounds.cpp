#include "fusion/row_bounds.h"

namespace corf::fusion {
namespace {

using index::ExprKind;

std::optional<Expr> bound(const Expr& expr, const std::vector<NestAxis>& axes, int stream,
                          const Expr& row, bool upper) {
  auto both = [&](auto combine) -> std::optional<Expr> {
    auto a = bound(expr.lhs(), axes, stream, row, upper);
    auto b = bound(expr.rhs(), axes, stream, row, upper);
    if (!a || !b) return std::nullopt;
    return combine(*a, *b);
  };
  switch (expr.kind()) {
    case ExprKind::kConstant:
      return expr;
    case ExprKind::kVariable:
      if (expr.variable_id() >= kGatherBase) return std::nullopt;
      if (expr.variable_id() == stream) return row;
      return Expr(upper ? axes[expr.variable_id()].extent - 1 : 0);
    case ExprKind::kAdd:
      return both([](const Expr& a, const Expr& b) { return a + b; });
    case ExprKind::kMin:
      return both([](const Expr& a, const Expr& b) { return min(a, b); });
    case ExprKind::kMax:
      return both([](const Expr& a, const Expr& b) { return max(a, b); });
    case ExprKind::kMul: {
      const bool left = expr.lhs().is_constant();
      const Expr& factor = left ? expr.lhs() : expr.rhs();
      const Expr& other = left ? expr.rhs() : expr.lhs();
      if (!factor.is_constant()) return std::nullopt;
      const bool negative = factor.constant() < 0;
      if (negative && index::depends_on(other, stream)) return std::nullopt;
      auto result = bound(other, axes, stream, row, upper != negative);
      return result ? std::optional<Expr>(factor * *result) : std::nullopt;
    }
    case ExprKind::kFloorDiv: {
      if (!expr.rhs().is_constant() || expr.rhs().constant() <= 0) return std::nullopt;
      auto result = bound(expr.lhs(), axes, stream, row, upper);
      return result ? std::optional<Expr>(floor_div(*result, expr.rhs())) : std::nullopt;
    }
    case ExprKind::kMod:
      if (index::depends_on(expr.lhs(), stream) || !expr.rhs().is_constant() ||
          expr.rhs().constant() <= 0) {
        return std::nullopt;
      }
      return Expr(upper ? expr.rhs().constant() - 1 : 0);
  }
  return std::nullopt;
}

}  // namespace

std::optional<Expr> least_at(const Expr& coordinate, const std::vector<NestAxis>& axes, int stream,
                             const Expr& row) {
  return bound(coordinate, axes, stream, row, /*upper=*/false);
}

std::optional<Expr> greatest_at(const Expr& coordinate, const std::vector<NestAxis>& axes,
                                int stream, const Expr& row) {
  return bound(coordinate, axes, stream, row, /*upper=*/true);
}

}  // namespace corf::fusion
