#include "index/expr.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <pthread.h>

#include "support/assert.h"
#include "support/budget.h"
#include "support/checked.h"

namespace corf::index {
namespace {

// Folding must not overflow into undefined behaviour, whatever the constants are.
int64_t wrap_add(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}
int64_t wrap_mul(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}
int64_t safe_floor_div(int64_t a, int64_t b) {
  return b == -1 ? wrap_mul(a, -1) : corf::floor_div(a, b);
}
int64_t safe_mod(int64_t a, int64_t b) { return b == -1 ? 0 : corf::floor_mod(a, b); }

bool is_scaled(const Expr& e) { return e.kind() == ExprKind::kMul && e.lhs().is_constant(); }

/// The terms of a left-associated chain of additions.
void collect_terms(const Expr& e, std::vector<Expr>& terms) {
  std::vector<Expr> reversed;
  const Expr* rest = &e;
  while (rest->kind() == ExprKind::kAdd) {
    reversed.push_back(rest->rhs());
    rest = &rest->lhs();
  }
  reversed.push_back(*rest);
  terms.insert(terms.end(), reversed.rbegin(), reversed.rend());
}

int64_t scale_of(const Expr& term) {
  if (term.is_constant()) return term.constant();
  return is_scaled(term) ? term.lhs().constant() : 1;
}

Expr divided(const Expr& term, int64_t by) {
  if (term.is_constant()) return term.constant() / by;
  return Expr(scale_of(term) / by) * term.rhs();
}

/// Splits e = multiple * c + rest by its terms' constant factors.
void split_multiples(const Expr& e, int64_t c, Expr& multiple, Expr& rest) {
  std::vector<Expr> terms;
  collect_terms(e, terms);
  multiple = 0;
  rest = 0;
  for (const Expr& term : terms) {
    if (term.is_constant()) {
      multiple = multiple + safe_floor_div(term.constant(), c);
      rest = rest + safe_mod(term.constant(), c);
    } else if (c != -1 && scale_of(term) % c == 0) {
      multiple = multiple + divided(term, c);
    } else {
      rest = rest + term;
    }
  }
}

/// Each thread shares the leaves that occur most with itself only: two that count references to one
/// node wait for each other.
template <typename Leaf>
struct SharedLeaves {
  static constexpr int64_t kLargest = 64;
  static constexpr int kVariables = 32;
  std::array<Leaf, 2 * kLargest + 1> constants;  // from -kLargest on
  std::array<Leaf, kVariables> variables;

  static SharedLeaves& of_this_thread() {
    if (current == nullptr) make();
    return *current;
  }

 private:
  /// What frees a thread's leaves when it ends. A thread_local object would do so, too, but where
  /// there is no memory to note that, the C library ends the process.
  class Key {
   public:
    Key() : is_made_(::pthread_key_create(&key_, free) == 0) {}
    ~Key() {
      if (is_made_) ::pthread_key_delete(key_);
    }
    Key(const Key&) = delete;
    Key& operator=(const Key&) = delete;
    void keep(SharedLeaves* leaves) const {
      if (is_made_ && ::pthread_setspecific(key_, leaves) == ENOMEM) throw std::bad_alloc();
    }

   private:
    static void free(void* leaves) {
      current = nullptr;
      delete static_cast<SharedLeaves*>(leaves);
    }
    pthread_key_t key_{};
    bool is_made_;
  };

  static void make() {
    static const Key key;
    auto made = std::make_unique<SharedLeaves>();
    key.keep(made.get());
    current = made.release();
  }

  static constinit inline thread_local SharedLeaves* current = nullptr;
};

}  // namespace

Expr Expr::leaf(ExprKind kind, int64_t value) {
  const Expr none{std::shared_ptr<const Node>()};
  return Expr(std::make_shared<const Node>(Node{kind, value, none, none}));
}

Expr::Expr(int64_t constant) {
  using Leaves = SharedLeaves<std::shared_ptr<const Node>>;
  if (constant < -Leaves::kLargest || constant > Leaves::kLargest) {
    node_ = leaf(ExprKind::kConstant, constant).node_;
    return;
  }
  std::shared_ptr<const Node>& shared =
      Leaves::of_this_thread().constants[constant + Leaves::kLargest];
  if (!shared) shared = leaf(ExprKind::kConstant, constant).node_;
  node_ = shared;
}

Expr Expr::variable(int id) {
  using Leaves = SharedLeaves<std::shared_ptr<const Node>>;
  if (id < 0 || id >= Leaves::kVariables) return leaf(ExprKind::kVariable, id);
  std::shared_ptr<const Node>& shared = Leaves::of_this_thread().variables[id];
  if (!shared) shared = leaf(ExprKind::kVariable, id).node_;
  return Expr(shared);
}

Expr Expr::make(ExprKind kind, const Expr& a, const Expr& b) {
  look_at_budget();
  return Expr(std::make_shared<const Node>(Node{kind, 0, a, b}));
}

Expr operator+(const Expr& a, const Expr& b) {
  if (a.is_constant() && b.is_constant()) return wrap_add(a.constant(), b.constant());
  if (a.is_constant(0)) return b;
  if (b.is_constant(0)) return a;
  if (a.is_constant()) return b + a;
  // Sums lean to the left with their constant last: a + (b + c) is (a + b) + c.
  if (b.kind() == ExprKind::kAdd) return (a + b.lhs()) + b.rhs();
  if (a.kind() == ExprKind::kAdd && a.rhs().is_constant()) {
    if (b.is_constant()) return a.lhs() + wrap_add(a.rhs().constant(), b.constant());
    Expr sum = a.lhs() + b;
    return sum + a.rhs();
  }
  if (!b.is_constant()) {
    // Terms that differ only in their factor are merged, wherever in the sum they stand.
    const Expr& core = is_scaled(b) ? b.rhs() : b;
    std::vector<Expr> terms;
    collect_terms(a, terms);
    for (size_t i = 0; i < terms.size(); ++i) {
      const Expr& other = is_scaled(terms[i]) ? terms[i].rhs() : terms[i];
      if (terms[i].is_constant() || !structurally_equal(other, core)) continue;
      Expr merged = Expr(wrap_add(scale_of(terms[i]), scale_of(b))) * core;
      Expr sum = 0;
      for (size_t j = 0; j < terms.size(); ++j) sum = sum + (j == i ? merged : terms[j]);
      return sum;
    }
  }
  return Expr::make(ExprKind::kAdd, a, b);
}

Expr operator-(const Expr& a, const Expr& b) { return a + Expr(-1) * b; }

Expr operator*(const Expr& a, const Expr& b) {
  if (a.is_constant() && b.is_constant()) return wrap_mul(a.constant(), b.constant());
  if (b.is_constant()) return b * a;
  if (a.is_constant(0)) return 0;
  if (a.is_constant(1)) return b;
  if (a.is_constant()) {
    if (is_scaled(b)) return Expr(wrap_mul(a.constant(), b.lhs().constant())) * b.rhs();
    if (b.kind() == ExprKind::kAdd) return a * b.lhs() + a * b.rhs();
    return Expr::make(ExprKind::kMul, a, b);
  }
  if (is_scaled(a)) return a.lhs() * (a.rhs() * b);
  if (is_scaled(b)) return b.lhs() * (a * b.rhs());
  if (b.kind() == ExprKind::kMul) return (a * b.lhs()) * b.rhs();
  return Expr::make(ExprKind::kMul, a, b);
}

Expr floor_div(const Expr& a, const Expr& b) {
  if (b.is_constant() && b.constant() != 0) {
    int64_t c = b.constant();
    if (a.is_constant()) return safe_floor_div(a.constant(), c);
    if (c == 1) return a;
    if (c == -1) return Expr(-1) * a;
    if (c > 0) {
      Expr multiple, rest;
      split_multiples(a, c, multiple, rest);
      if (rest.is_constant()) return multiple + safe_floor_div(rest.constant(), c);
      if (!structurally_equal(rest, a)) return multiple + floor_div(rest, b);
      if (a.kind() == ExprKind::kFloorDiv && a.rhs().is_constant() && a.rhs().constant() > 0) {
        if (auto product = checked_mul(a.rhs().constant(), c)) return floor_div(a.lhs(), *product);
      }
    }
  }
  if (a.is_constant(0)) return 0;
  return Expr::make(ExprKind::kFloorDiv, a, b);
}

Expr mod(const Expr& a, const Expr& b) {
  if (b.is_constant() && b.constant() != 0) {
    int64_t c = b.constant();
    if (a.is_constant()) return safe_mod(a.constant(), c);
    if (c == 1 || c == -1) return 0;
    if (c > 0) {
      Expr multiple, rest;
      split_multiples(a, c, multiple, rest);
      if (rest.is_constant()) return safe_mod(rest.constant(), c);
      if (!structurally_equal(rest, a)) return mod(rest, b);
      if (a.kind() == ExprKind::kMod && a.rhs().is_constant() && a.rhs().constant() > 0) {
        if (a.rhs().constant() % c == 0) return mod(a.lhs(), b);
        if (a.rhs().constant() <= c) return a;
      }
    }
  }
  if (a.is_constant(0)) return 0;
  return Expr::make(ExprKind::kMod, a, b);
}

Expr min(const Expr& a, const Expr& b) {
  if (a.is_constant() && b.is_constant()) return std::min(a.constant(), b.constant());
  Expr difference = a - b;
  if (difference.is_constant()) return difference.constant() <= 0 ? a : b;
  if (a.is_constant()) return min(b, a);
  if (a.kind() == ExprKind::kMin && a.rhs().is_constant() && b.is_constant()) {
    return min(a.lhs(), std::min(a.rhs().constant(), b.constant()));
  }
  return Expr::make(ExprKind::kMin, a, b);
}

Expr max(const Expr& a, const Expr& b) {
  if (a.is_constant() && b.is_constant()) return std::max(a.constant(), b.constant());
  Expr difference = a - b;
  if (difference.is_constant()) return difference.constant() >= 0 ? a : b;
  if (a.is_constant()) return max(b, a);
  if (a.kind() == ExprKind::kMax && a.rhs().is_constant() && b.is_constant()) {
    return max(a.lhs(), std::max(a.rhs().constant(), b.constant()));
  }
  return Expr::make(ExprKind::kMax, a, b);
}

Expr ceil_div(const Expr& a, int64_t b) { return floor_div(a + (b - 1), b); }

bool structurally_equal(const Expr& a, const Expr& b) {
  if (a.identity() == b.identity()) return true;
  if (a.kind() != b.kind()) return false;
  if (a.kind() == ExprKind::kConstant) return a.constant() == b.constant();
  if (a.kind() == ExprKind::kVariable) return a.variable_id() == b.variable_id();
  return structurally_equal(a.rhs(), b.rhs()) && structurally_equal(a.lhs(), b.lhs());
}

int64_t evaluate(const Expr& expr, std::span<const int64_t> values) {
  switch (expr.kind()) {
    case ExprKind::kConstant:
      return expr.constant();
    case ExprKind::kVariable:
      CORF_ASSERT(static_cast<size_t>(expr.variable_id()) < values.size(),
                  "an expression's variable has no value");
      return values[expr.variable_id()];
    default:
      break;
  }
  int64_t a = evaluate(expr.lhs(), values);
  int64_t b = evaluate(expr.rhs(), values);
  switch (expr.kind()) {
    case ExprKind::kAdd:
      return wrap_add(a, b);
    case ExprKind::kMul:
      return wrap_mul(a, b);
    case ExprKind::kFloorDiv:
      CORF_ASSERT(b != 0, "index expression divides by zero");
      return safe_floor_div(a, b);
    case ExprKind::kMod:
      CORF_ASSERT(b != 0, "index expression divides by zero");
      return safe_mod(a, b);
    case ExprKind::kMin:
      return std::min(a, b);
    default:
      return std::max(a, b);
  }
}

Expr substitute(const Expr& expr, const std::function<std::optional<Expr>(int)>& replacement) {
  switch (expr.kind()) {
    case ExprKind::kConstant:
      return expr;
    case ExprKind::kVariable: {
      auto replaced = replacement(expr.variable_id());
      return replaced ? *replaced : expr;
    }
    default:
      break;
  }
  Expr a = substitute(expr.lhs(), replacement);
  Expr b = substitute(expr.rhs(), replacement);
  if (a.identity() == expr.lhs().identity() && b.identity() == expr.rhs().identity()) return expr;
  switch (expr.kind()) {
    case ExprKind::kAdd:
      return a + b;
    case ExprKind::kMul:
      return a * b;
    case ExprKind::kFloorDiv:
      return floor_div(a, b);
    case ExprKind::kMod:
      return mod(a, b);
    case ExprKind::kMin:
      return min(a, b);
    default:
      return max(a, b);
  }
}

void collect_variables(const Expr& expr, std::vector<bool>& used) {
  if (expr.kind() == ExprKind::kConstant) return;
  if (expr.kind() == ExprKind::kVariable) {
    size_t id = static_cast<size_t>(expr.variable_id());
    if (used.size() <= id) used.resize(id + 1);
    used[id] = true;
    return;
  }
  collect_variables(expr.lhs(), used);
  collect_variables(expr.rhs(), used);
}

bool depends_on(const Expr& expr, int variable) {
  if (expr.kind() == ExprKind::kConstant) return false;
  if (expr.kind() == ExprKind::kVariable) return expr.variable_id() == variable;
  return depends_on(expr.lhs(), variable) || depends_on(expr.rhs(), variable);
}

}  // namespace corf::index
