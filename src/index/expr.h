#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace corf::index {

enum class ExprKind : uint8_t { kConstant, kVariable, kAdd, kMul, kFloorDiv, kMod, kMin, kMax };

/// An immutable integer expression over numbered variables: what index maps, loop bounds and
/// addresses are made of. What a variable stands for (an axis of an iteration space, a loop, a
/// kernel parameter) is the owner's convention. Division and modulo round towards minus infinity;
/// dividing by zero is never evaluated. Operators fold constants and drop neutral elements, so
/// equal constructions print equally.
class Expr {
 public:
  Expr() : Expr(0) {}
  Expr(int64_t constant);  // NOLINT: integers are expressions
  static Expr variable(int id);

  ExprKind kind() const;
  int64_t constant() const;
  int variable_id() const { return static_cast<int>(constant()); }
  /// Operands of a kind other than constant and variable.
  const Expr& lhs() const;
  const Expr& rhs() const;

  bool is_constant() const { return kind() == ExprKind::kConstant; }
  bool is_constant(int64_t value) const { return is_constant() && constant() == value; }
  bool is_variable(int id) const { return kind() == ExprKind::kVariable && variable_id() == id; }
  /// Identity of the node, for memo tables; equal expressions may differ in it.
  const void* identity() const { return node_.get(); }

  friend Expr operator+(const Expr& a, const Expr& b);
  friend Expr operator-(const Expr& a, const Expr& b);
  friend Expr operator*(const Expr& a, const Expr& b);
  friend Expr floor_div(const Expr& a, const Expr& b);
  friend Expr mod(const Expr& a, const Expr& b);
  friend Expr min(const Expr& a, const Expr& b);
  friend Expr max(const Expr& a, const Expr& b);

 private:
  struct Node;
  explicit Expr(std::shared_ptr<const Node> node) : node_(std::move(node)) {}
  static Expr leaf(ExprKind kind, int64_t value);
  static Expr make(ExprKind kind, const Expr& a, const Expr& b);
  std::shared_ptr<const Node> node_;
};

struct Expr::Node {
  ExprKind kind;
  int64_t value;  // constant, or variable id
  Expr lhs, rhs;  // without a node where there are no operands
};

inline ExprKind Expr::kind() const { return node_->kind; }
inline int64_t Expr::constant() const { return node_->value; }
inline const Expr& Expr::lhs() const { return node_->lhs; }
inline const Expr& Expr::rhs() const { return node_->rhs; }

Expr floor_div(const Expr& a, const Expr& b);
Expr mod(const Expr& a, const Expr& b);
Expr min(const Expr& a, const Expr& b);
Expr max(const Expr& a, const Expr& b);
Expr ceil_div(const Expr& a, int64_t b);

bool structurally_equal(const Expr& a, const Expr& b);

/// Value under `values[id]` for each variable.
int64_t evaluate(const Expr& expr, std::span<const int64_t> values);

/// Replaces variables; nullopt keeps one.
Expr substitute(const Expr& expr, const std::function<std::optional<Expr>(int)>& replacement);

void collect_variables(const Expr& expr, std::vector<bool>& used);
bool depends_on(const Expr& expr, int variable);

/// sum(coefficients[v] * v) + constant + rest, where rest holds the terms that are not linear
/// with a constant coefficient (rest is the constant 0 if the expression is affine).
struct Linear {
  std::map<int, int64_t> coefficients;  // zero coefficients are absent
  int64_t constant = 0;
  Expr rest;
  bool is_affine() const { return rest.is_constant(0); }
  int64_t coefficient(int variable) const {
    auto it = coefficients.find(variable);
    return it == coefficients.end() ? 0 : it->second;
  }
};
Linear to_linear(const Expr& expr);
Expr to_expr(const Linear& linear);

/// Inclusive bounds. `ranges[id]` are the variables' inclusive ranges.
struct Interval {
  int64_t lo = 0;
  int64_t hi = 0;
};
Interval bounds(const Expr& expr, std::span<const Interval> ranges);
/// Simplifies divisions, modulos, minima and maxima that the ranges decide.
Expr simplify(const Expr& expr, std::span<const Interval> ranges);

/// Text such as "4*oh + kh - 1", "(c floordiv 16)", "min(a, b)"; `name` gives a variable's name.
std::string to_string(const Expr& expr, const std::function<std::string(int)>& name);

/// Parses what to_string prints, from `text` at `position`, which it advances past the expression.
/// `variable` maps a name to its id or nullopt if unknown. nullopt on a syntax error.
std::optional<Expr> parse_expr(std::string_view text, size_t& position,
                               const std::function<std::optional<int>(std::string_view)>& variable);

}  // namespace corf::index
