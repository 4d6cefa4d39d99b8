#include <algorithm>
#include <limits>
#include <numeric>

#include "index/expr.h"
#include "support/assert.h"
#include "support/checked.h"

namespace corf::index {
namespace {

constexpr int64_t kLowest = std::numeric_limits<int64_t>::min();
constexpr int64_t kHighest = std::numeric_limits<int64_t>::max();

int64_t saturate(__int128 value) {
  if (value < kLowest) return kLowest;
  if (value > kHighest) return kHighest;
  return static_cast<int64_t>(value);
}

Interval add(Interval a, Interval b) {
  // An unbounded end stays unbounded.
  auto end = [](int64_t x, int64_t y) {
    if (x == kLowest || y == kLowest) return kLowest;
    if (x == kHighest || y == kHighest) return kHighest;
    return saturate(static_cast<__int128>(x) + y);
  };
  return {end(a.lo, b.lo), end(a.hi, b.hi)};
}

Interval multiply(Interval a, Interval b) {
  __int128 products[] = {static_cast<__int128>(a.lo) * b.lo, static_cast<__int128>(a.lo) * b.hi,
                         static_cast<__int128>(a.hi) * b.lo, static_cast<__int128>(a.hi) * b.hi};
  auto [lo, hi] = std::minmax_element(std::begin(products), std::end(products));
  return {saturate(*lo), saturate(*hi)};
}

int64_t quotient(int64_t a, int64_t b) {
  if (a == kLowest || a == kHighest) return (a < 0) == (b < 0) ? kHighest : kLowest;
  return corf::floor_div(a, b);
}

Interval divide(Interval a, Interval b) {
  if (b.lo <= 0 && b.hi >= 0) return {kLowest, kHighest};
  int64_t corners[] = {quotient(a.lo, b.lo), quotient(a.lo, b.hi), quotient(a.hi, b.lo),
                       quotient(a.hi, b.hi)};
  auto [lo, hi] = std::minmax_element(std::begin(corners), std::end(corners));
  return {*lo, *hi};
}

Interval modulo(Interval a, Interval b) {
  if (b.lo <= 0)
    return {b.lo < 0 ? saturate(static_cast<__int128>(b.lo) + 1) : 0, b.hi > 0 ? b.hi - 1 : 0};
  if (b.lo == b.hi && a.lo != kLowest && a.hi != kHighest &&
      corf::floor_div(a.lo, b.lo) == corf::floor_div(a.hi, b.lo)) {
    return {corf::floor_mod(a.lo, b.lo), corf::floor_mod(a.hi, b.lo)};
  }
  return {0, b.hi - 1};
}

// Texts may hold any constants: their sums and products wrap instead of being undefined.
int64_t wrap_add(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}
int64_t wrap_mul(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}

void add_linear(const Expr& expr, int64_t factor, Linear& out) {
  switch (expr.kind()) {
    case ExprKind::kConstant:
      out.constant = wrap_add(out.constant, wrap_mul(factor, expr.constant()));
      return;
    case ExprKind::kVariable: {
      int64_t& coefficient = out.coefficients[expr.variable_id()];
      coefficient = wrap_add(coefficient, factor);
      if (coefficient == 0) out.coefficients.erase(expr.variable_id());
      return;
    }
    case ExprKind::kAdd:
      add_linear(expr.lhs(), factor, out);
      add_linear(expr.rhs(), factor, out);
      return;
    case ExprKind::kMul:
      if (expr.lhs().is_constant()) {
        add_linear(expr.rhs(), wrap_mul(factor, expr.lhs().constant()), out);
        return;
      }
      break;
    default:
      break;
  }
  out.rest = out.rest + Expr(factor) * expr;
}

/// x = group * y + r, where the terms of y are those whose factor `group` divides.
struct Split {
  Expr y, r;
};
Split split_by(const Linear& linear, int64_t group) {
  Linear y, r;
  for (auto [variable, coefficient] : linear.coefficients) {
    if (coefficient % group == 0) {
      y.coefficients[variable] = coefficient / group;
    } else {
      r.coefficients[variable] = coefficient;
    }
  }
  y.constant = corf::floor_div(linear.constant, group);
  r.constant = corf::floor_mod(linear.constant, group);
  const Expr* rest = &linear.rest;
  std::vector<Expr> terms;
  while (rest->kind() == ExprKind::kAdd) {
    terms.push_back(rest->rhs());
    rest = &rest->lhs();
  }
  terms.push_back(*rest);
  for (const Expr& term : terms) {
    bool scaled = term.kind() == ExprKind::kMul && term.lhs().is_constant();
    int64_t factor = scaled ? term.lhs().constant() : 1;
    if (factor % group == 0) {
      y.rest = y.rest + Expr(factor / group) * term.rhs();
    } else {
      r.rest = r.rest + term;
    }
  }
  return {to_expr(y), to_expr(r)};
}

std::vector<int64_t> groups_of(const Linear& linear, int64_t divisor) {
  std::vector<int64_t> groups;
  auto consider = [&](int64_t factor) {
    int64_t group = std::gcd(factor, divisor);
    if (group > 1 && std::find(groups.begin(), groups.end(), group) == groups.end()) {
      groups.push_back(group);
    }
  };
  for (auto [variable, coefficient] : linear.coefficients) consider(coefficient);
  const Expr* rest = &linear.rest;
  while (true) {
    const Expr& term = rest->kind() == ExprKind::kAdd ? rest->rhs() : *rest;
    if (term.kind() == ExprKind::kMul && term.lhs().is_constant()) consider(term.lhs().constant());
    if (rest->kind() != ExprKind::kAdd) break;
    rest = &rest->lhs();
  }
  std::sort(groups.rbegin(), groups.rend());
  return groups;
}

bool within(Interval inner, int64_t lo, int64_t hi) { return inner.lo >= lo && inner.hi <= hi; }

Expr simplify_division(const Expr& a, int64_t c, std::span<const Interval> ranges) {
  Interval range = bounds(a, ranges);
  if (range.lo != kLowest && range.hi != kHighest &&
      corf::floor_div(range.lo, c) == corf::floor_div(range.hi, c)) {
    return corf::floor_div(range.lo, c);
  }
  Linear linear = to_linear(a);
  for (int64_t group : groups_of(linear, c)) {
    Split split = split_by(linear, group);
    if (split.r.is_constant(0) && group != c)
      return simplify(floor_div(split.y, c / group), ranges);
    if (!split.r.is_constant(0) && within(bounds(split.r, ranges), 0, group - 1)) {
      return simplify(floor_div(split.y, c / group), ranges);
    }
  }
  return floor_div(a, c);
}

Expr simplify_modulo(const Expr& a, int64_t c, std::span<const Interval> ranges) {
  Interval range = bounds(a, ranges);
  if (range.lo != kLowest && range.hi != kHighest &&
      corf::floor_div(range.lo, c) == corf::floor_div(range.hi, c)) {
    return a - corf::floor_div(range.lo, c) * c;
  }
  Linear linear = to_linear(a);
  for (int64_t group : groups_of(linear, c)) {
    Split split = split_by(linear, group);
    if (split.r.is_constant(0) && group == c) return 0;
    if (within(bounds(split.r, ranges), 0, group - 1)) {
      return simplify(Expr(group) * mod(split.y, c / group), ranges) + split.r;
    }
  }
  return mod(a, c);
}

/// c * (x floordiv c) + (x mod c) is x.
Expr join_quotients(const Expr& sum) {
  std::vector<Expr> terms;
  const Expr* rest = &sum;
  while (rest->kind() == ExprKind::kAdd) {
    terms.push_back(rest->rhs());
    rest = &rest->lhs();
  }
  terms.push_back(*rest);
  if (terms.size() < 2) return sum;
  auto factor_of = [](const Expr& term) {
    return term.kind() == ExprKind::kMul && term.lhs().is_constant() ? term.lhs().constant() : 1;
  };
  auto core_of = [&](const Expr& term) -> const Expr& {
    return factor_of(term) != 1 ? term.rhs() : term;
  };
  for (size_t i = 0; i < terms.size(); ++i) {
    const Expr& division = core_of(terms[i]);
    if (division.kind() != ExprKind::kFloorDiv || !division.rhs().is_constant()) continue;
    for (size_t j = 0; j < terms.size(); ++j) {
      const Expr& modulo = core_of(terms[j]);
      if (modulo.kind() != ExprKind::kMod || !modulo.rhs().is_constant()) continue;
      int64_t c = modulo.rhs().constant();
      if (division.rhs().constant() != c || factor_of(terms[i]) != c * factor_of(terms[j]) ||
          !structurally_equal(division.lhs(), modulo.lhs())) {
        continue;
      }
      Expr joined = Expr(factor_of(terms[j])) * division.lhs();
      for (size_t k = 0; k < terms.size(); ++k) {
        if (k != i && k != j) joined = joined + terms[k];
      }
      return join_quotients(joined);
    }
  }
  return sum;
}

}  // namespace

Linear to_linear(const Expr& expr) {
  Linear linear;
  add_linear(expr, 1, linear);
  return linear;
}

Expr to_expr(const Linear& linear) {
  Expr sum = 0;
  for (auto [variable, coefficient] : linear.coefficients) {
    sum = sum + Expr(coefficient) * Expr::variable(variable);
  }
  return sum + linear.rest + linear.constant;
}

Interval bounds(const Expr& expr, std::span<const Interval> ranges) {
  switch (expr.kind()) {
    case ExprKind::kConstant:
      return {expr.constant(), expr.constant()};
    case ExprKind::kVariable:
      if (static_cast<size_t>(expr.variable_id()) >= ranges.size()) return {kLowest, kHighest};
      return ranges[expr.variable_id()];
    case ExprKind::kAdd:
      return add(bounds(expr.lhs(), ranges), bounds(expr.rhs(), ranges));
    case ExprKind::kMul:
      return multiply(bounds(expr.lhs(), ranges), bounds(expr.rhs(), ranges));
    case ExprKind::kFloorDiv:
      return divide(bounds(expr.lhs(), ranges), bounds(expr.rhs(), ranges));
    case ExprKind::kMod:
      return modulo(bounds(expr.lhs(), ranges), bounds(expr.rhs(), ranges));
    case ExprKind::kMin: {
      Interval a = bounds(expr.lhs(), ranges), b = bounds(expr.rhs(), ranges);
      return {std::min(a.lo, b.lo), std::min(a.hi, b.hi)};
    }
    case ExprKind::kMax: {
      Interval a = bounds(expr.lhs(), ranges), b = bounds(expr.rhs(), ranges);
      return {std::max(a.lo, b.lo), std::max(a.hi, b.hi)};
    }
  }
  CORF_ASSERT(false, "expression of unknown kind");
}

namespace {

/// Of a sum of multiples of variables, which needs no look into its parts; nullopt for any other.
std::optional<Expr> simplify_affine(const Expr& sum, std::span<const Interval> ranges) {
  Linear linear = to_linear(sum);
  if (!linear.is_affine()) return std::nullopt;
  std::erase_if(linear.coefficients, [&](const auto& term) {
    const Interval range = bounds(Expr::variable(term.first), ranges);
    if (range.lo != range.hi) return false;
    linear.constant += term.second * range.lo;
    return true;
  });
  return to_expr(linear);
}

}  // namespace

Expr simplify(const Expr& expr, std::span<const Interval> ranges) {
  if (expr.kind() == ExprKind::kAdd) {
    if (std::optional<Expr> simple = simplify_affine(expr, ranges)) return *simple;
  }
  switch (expr.kind()) {
    case ExprKind::kConstant:
      return expr;
    case ExprKind::kVariable: {
      Interval range = bounds(expr, ranges);
      return range.lo == range.hi ? Expr(range.lo) : expr;
    }
    default:
      break;
  }
  Expr a = simplify(expr.lhs(), ranges);
  Expr b = simplify(expr.rhs(), ranges);
  switch (expr.kind()) {
    case ExprKind::kAdd:
      return to_expr(to_linear(join_quotients(a + b)));
    case ExprKind::kMul:
      return a * b;
    case ExprKind::kFloorDiv:
      if (b.is_constant() && b.constant() > 0) return simplify_division(a, b.constant(), ranges);
      return floor_div(a, b);
    case ExprKind::kMod:
      if (b.is_constant() && b.constant() > 0) return simplify_modulo(a, b.constant(), ranges);
      return mod(a, b);
    default: {
      Interval difference = bounds(to_expr(to_linear(a - b)), ranges);
      bool is_min = expr.kind() == ExprKind::kMin;
      if (difference.hi <= 0) return is_min ? a : b;
      if (difference.lo >= 0) return is_min ? b : a;
      return is_min ? min(a, b) : max(a, b);
    }
  }
}

}  // namespace corf::index
