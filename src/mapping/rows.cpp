#include "mapping/rows.h"

#include <cstdlib>

#include "support/checked.h"

namespace corf::mapping {
namespace {

using index::ExprKind;

std::optional<Expr> bound(const Expr& expr, std::span<const int64_t> extents, int stream,
                          const Expr& row, bool upper) {
  auto both = [&](auto combine) -> std::optional<Expr> {
    auto a = bound(expr.lhs(), extents, stream, row, upper);
    auto b = bound(expr.rhs(), extents, stream, row, upper);
    if (!a || !b) return std::nullopt;
    return combine(*a, *b);
  };
  switch (expr.kind()) {
    case ExprKind::kConstant:
      return expr;
    case ExprKind::kVariable:
      if (expr.variable_id() >= static_cast<int>(extents.size())) return std::nullopt;
      if (expr.variable_id() == stream) return row;
      return Expr(upper ? extents[expr.variable_id()] - 1 : 0);
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
      auto result = bound(other, extents, stream, row, upper != negative);
      return result ? std::optional<Expr>(factor * *result) : std::nullopt;
    }
    case ExprKind::kFloorDiv: {
      if (!expr.rhs().is_constant() || expr.rhs().constant() <= 0) return std::nullopt;
      auto result = bound(expr.lhs(), extents, stream, row, upper);
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

std::optional<Expr> least_row(const Expr& coordinate, std::span<const int64_t> extents, int stream,
                              const Expr& row) {
  return bound(coordinate, extents, stream, row, /*upper=*/false);
}

std::optional<Expr> greatest_row(const Expr& coordinate, std::span<const int64_t> extents,
                                 int stream, const Expr& row) {
  return bound(coordinate, extents, stream, row, /*upper=*/true);
}

int64_t RowTaps::lag(int64_t tap) const { return floor_div(step * (count - 1 - tap), rate); }

Expr RowTaps::lag(const Expr& tap) const {
  return index::floor_div(Expr(step) * (Expr(count - 1) - tap), Expr(rate));
}

Expr RowTaps::position(const Expr& tap) const { return backwards ? Expr(count - 1) - tap : tap; }

std::optional<RowTaps> row_taps(const Expr& coordinate, std::span<const int64_t> extents,
                                int stream, int window) {
  const index::Linear linear = index::to_linear(coordinate);
  const int64_t rate = linear.coefficient(stream), step = linear.coefficient(window);
  if (!linear.is_affine() || linear.coefficients.size() != 2 || rate <= 0 || step == 0)
    return std::nullopt;
  return RowTaps{rate, std::abs(step), extents[window], step < 0};
}

}  // namespace corf::mapping
