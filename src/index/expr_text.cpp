#include <cctype>
#include <charconv>

#include "index/expr.h"
#include "support/assert.h"

namespace corf::index {
namespace {

using NameFunction = std::function<std::string(int)>;
using VariableFunction = std::function<std::optional<int>(std::string_view)>;

std::string print(const Expr& expr, const NameFunction& name);

std::string print_factor(const Expr& expr, const NameFunction& name) {
  std::string text = print(expr, name);
  return expr.kind() == ExprKind::kAdd ? "(" + text + ")" : text;
}

/// Text of a product, and whether its sign is left to the caller's " - ".
std::string print_term(const Expr& expr, const NameFunction& name, bool& negative) {
  negative = false;
  if (expr.is_constant()) {
    std::string text = std::to_string(expr.constant());
    negative = expr.constant() < 0;
    return negative ? text.substr(1) : text;
  }
  if (expr.kind() != ExprKind::kMul) return print(expr, name);
  if (!expr.lhs().is_constant()) {
    return print_factor(expr.lhs(), name) + "*" + print_factor(expr.rhs(), name);
  }
  std::string factor = std::to_string(expr.lhs().constant());
  negative = factor[0] == '-';
  if (negative) factor = factor.substr(1);
  std::string core = print_factor(expr.rhs(), name);
  // "2*(a + b)*c" would read as (2*(a + b))*c, whose factor is multiplied out.
  if (expr.rhs().kind() == ExprKind::kMul && core[0] == '(') core = "(" + core + ")";
  return factor == "1" ? core : factor + "*" + core;
}

std::string print(const Expr& expr, const NameFunction& name) {
  auto call = [&](const char* function) {
    return std::string(function) + "(" + print(expr.lhs(), name) + ", " + print(expr.rhs(), name) +
           ")";
  };
  auto infix = [&](const char* word) {
    return "(" + print_factor(expr.lhs(), name) + " " + word + " " +
           print_factor(expr.rhs(), name) + ")";
  };
  switch (expr.kind()) {
    case ExprKind::kVariable:
      return name(expr.variable_id());
    case ExprKind::kAdd: {
      bool negative;
      std::string right = print_term(expr.rhs(), name, negative);
      return print(expr.lhs(), name) + (negative ? " - " : " + ") + right;
    }
    case ExprKind::kConstant:
    case ExprKind::kMul: {
      bool negative;
      std::string text = print_term(expr, name, negative);
      return negative ? "-" + text : text;
    }
    case ExprKind::kFloorDiv:
      return infix("floordiv");
    case ExprKind::kMod:
      return infix("mod");
    case ExprKind::kMin:
      return call("min");
    case ExprKind::kMax:
      return call("max");
  }
  CORF_ASSERT(false, "expression of unknown kind");
}

class ExprParser {
 public:
  ExprParser(std::string_view text, size_t position, const VariableFunction& variable)
      : text_(text), position_(position), variable_(variable) {}

  std::optional<Expr> sum() {
    // Nested text is parsed by recursion, which must not exhaust the stack.
    if (depth_ > 200) return std::nullopt;
    ++depth_;
    auto result = product();
    while (result) {
      if (take('+')) {
        auto right = product();
        if (!right) return std::nullopt;
        result = *result + *right;
      } else if (take('-')) {
        auto right = product();
        if (!right) return std::nullopt;
        result = *result - *right;
      } else {
        break;
      }
    }
    --depth_;
    return result;
  }

  size_t position() const { return position_; }

 private:
  void skip_space() {
    while (position_ < text_.size() && (text_[position_] == ' ' || text_[position_] == '\t')) {
      ++position_;
    }
  }
  bool take(char c) {
    size_t before = position_;
    skip_space();
    if (position_ < text_.size() && text_[position_] == c) {
      ++position_;
      return true;
    }
    position_ = before;
    return false;
  }
  static bool is_word(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '@' ||
           c == '$' || c == '%';
  }
  std::string_view peek_word() {
    skip_space();
    size_t end = position_;
    while (end < text_.size() && is_word(text_[end])) ++end;
    return text_.substr(position_, end - position_);
  }

  std::optional<Expr> product() {
    auto result = factor();
    while (result && take('*')) {
      auto right = factor();
      if (!right) return std::nullopt;
      result = *result * *right;
    }
    return result;
  }

  std::optional<Expr> factor() {
    if (take('-')) {
      std::string_view word = peek_word();
      if (!word.empty() && std::isdigit(static_cast<unsigned char>(word[0]))) {
        return number(word, true);
      }
      if (depth_ > 200) return std::nullopt;
      ++depth_;
      auto inner = factor();
      --depth_;
      if (!inner) return std::nullopt;
      return Expr(-1) * *inner;
    }
    if (take('(')) return parenthesis();
    std::string_view word = peek_word();
    if (word.empty()) return std::nullopt;
    if (std::isdigit(static_cast<unsigned char>(word[0]))) return number(word, false);
    size_t before = position_;
    position_ += word.size();
    if ((word == "min" || word == "max") && take('(')) {
      auto a = sum();
      if (!a || !take(',')) return std::nullopt;
      auto b = sum();
      if (!b || !take(')')) return std::nullopt;
      return word == "min" ? min(*a, *b) : max(*a, *b);
    }
    auto id = variable_(word);
    if (!id) {
      position_ = before;
      return std::nullopt;
    }
    return Expr::variable(*id);
  }

  std::optional<Expr> number(std::string_view word, bool negative) {
    std::string digits = (negative ? "-" : "") + std::string(word);
    int64_t value = 0;
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    position_ += word.size();
    return Expr(value);
  }

  std::optional<Expr> parenthesis() {
    auto a = sum();
    if (!a) return std::nullopt;
    if (take(')')) return a;
    std::string_view word = peek_word();
    if (word != "floordiv" && word != "mod") return std::nullopt;
    position_ += word.size();
    auto b = sum();
    if (!b || !take(')')) return std::nullopt;
    if (b->is_constant(0)) return std::nullopt;
    return word == "mod" ? mod(*a, *b) : floor_div(*a, *b);
  }

  std::string_view text_;
  size_t position_;
  int depth_ = 0;
  const VariableFunction& variable_;
};

}  // namespace

std::string to_string(const Expr& expr, const NameFunction& name) { return print(expr, name); }

std::optional<Expr> parse_expr(std::string_view text, size_t& position,
                               const VariableFunction& variable) {
  ExprParser parser(text, position, variable);
  auto result = parser.sum();
  position = parser.position();
  return result;
}

}  // namespace corf::index
