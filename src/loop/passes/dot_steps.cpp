#include "loop/passes/dot_steps.h"

#include <algorithm>
#include <map>
#include <optional>

#include "loop/visit.h"

namespace corf::loop {
namespace {

/// The S of the first `variable mod S` in the expression; 1 if there is none.
int64_t modulus_of(const Expr& expr, int variable) {
  if (expr.is_constant() || expr.kind() == index::ExprKind::kVariable) return 1;
  if (expr.kind() == index::ExprKind::kMod && expr.lhs().is_variable(variable) &&
      expr.rhs().is_constant()) {
    return expr.rhs().constant();
  }
  const int64_t modulus = modulus_of(expr.lhs(), variable);
  return modulus > 1 ? modulus : modulus_of(expr.rhs(), variable);
}

/// The expression at step `variable` + `step`, where the variable is a multiple of S and the step
/// is less: that step mod S is `step`.
Expr at_step(const Expr& expr, int variable, const Expr& step, int64_t modulus) {
  const auto inside = [&](const Expr& e) { return at_step(e, variable, step, modulus); };
  switch (expr.kind()) {
    case index::ExprKind::kConstant:
      return expr;
    case index::ExprKind::kVariable:
      return expr.is_variable(variable) ? expr + step : expr;
    case index::ExprKind::kAdd:
      return inside(expr.lhs()) + inside(expr.rhs());
    case index::ExprKind::kMul:
      return inside(expr.lhs()) * inside(expr.rhs());
    case index::ExprKind::kFloorDiv:
      return floor_div(inside(expr.lhs()), inside(expr.rhs()));
    case index::ExprKind::kMod:
      if (expr.lhs().is_variable(variable) && expr.rhs().is_constant(modulus)) return step;
      return mod(inside(expr.lhs()), inside(expr.rhs()));
    case index::ExprKind::kMin:
      return min(inside(expr.lhs()), inside(expr.rhs()));
    case index::ExprKind::kMax:
      return max(inside(expr.lhs()), inside(expr.rhs()));
  }
  return expr;
}

/// The body of a loop that adds up products of two narrow numbers, and nothing else.
struct Products {
  TileLet a, b;  // loads
  TileUpdate update;
};

/// Statements by the register that they define.
using Definitions = std::map<Register, const TileLet*>;

const TileLet* widened_load(const Definitions& lets, Register reg) {
  const auto cast = lets.find(reg);
  if (cast == lets.end()) return nullptr;
  const auto* apply = std::get_if<TileApply>(&cast->second->value);
  if (!apply || apply->op != graph::ScalarOp::kCast) return nullptr;
  const auto load = lets.find(apply->args[0]);
  if (load == lets.end() || !std::holds_alternative<TileLoad>(load->second->value)) return nullptr;
  const bool is_wider = size_bytes(cast->second->dtype) > size_bytes(load->second->dtype);
  return is_wider ? load->second : nullptr;
}

std::optional<Products> find_products(const std::vector<TileStmt>& body) {
  if (body.empty()) return std::nullopt;
  const auto* update = std::get_if<TileUpdate>(&body.back());
  if (!update || update->reduction != Reduction::kSum || !update->over.empty()) return std::nullopt;
  Definitions lets;
  for (size_t i = 0; i + 1 < body.size(); ++i) {
    const auto* let = std::get_if<TileLet>(&body[i]);
    if (!let) return std::nullopt;
    lets[let->reg] = let;
  }
  // Loads, casts, and the product where it is not the update's.
  constexpr size_t kFactors = 4;
  Register a = update->a, b = update->b;
  if (b < 0) {
    const auto product = lets.find(a);
    const auto* apply =
        product == lets.end() ? nullptr : std::get_if<TileApply>(&product->second->value);
    if (!apply || apply->op != graph::ScalarOp::kMul || lets.size() != kFactors + 1) {
      return std::nullopt;
    }
    a = apply->args[0];
    b = apply->args[1];
  } else if (lets.size() != kFactors) {
    return std::nullopt;
  }
  const TileLet *load_a = widened_load(lets, a), *load_b = widened_load(lets, b);
  if (!load_a || !load_b || load_a == load_b) return std::nullopt;
  return Products{*load_a, *load_b, *update};
}

class DotSteps {
 public:
  explicit DotSteps(Kernel& kernel) : kernel_(kernel) {}

  void take(Tile& tile) {
    if (tile.matrix) return;
    take(tile.body, tile);
    take_axes(tile.body, tile);
  }

 private:
  void take(std::vector<TileStmt>& body, Tile& tile) {
    for (TileStmt& stmt : body) {
      auto* loop = std::get_if<TileLoop>(&stmt);
      if (!loop) continue;
      if (const auto products = find_products(loop->body)) {
        take(*loop, *products, tile);
      } else {
        take(loop->body, tile);
      }
    }
  }

  void take(TileLoop& loop, Products products, Tile& tile) {
    auto &a = std::get<TileLoad>(products.a.value), &b = std::get<TileLoad>(products.b.value);
    const int64_t in_a = modulus_of(a.offset, loop.var), in_b = modulus_of(b.offset, loop.var);
    const int64_t steps = std::max(in_a, in_b);
    if (steps == 1 || loop.step != 1 || !is_multiple(loop.lo, steps) ||
        !is_multiple(loop.hi, steps)) {
      return;
    }
    const int axis = static_cast<int>(kernel_.var_names.size());  // until it is certain
    for (TileLoad* load : {&a, &b}) {
      for (const Guard& guard : load->guards) {
        if (index::depends_on(guard.expr, loop.var)) return;
      }
      load->offset = at_step(load->offset, loop.var, Expr::variable(axis), steps);
      const index::Linear linear = index::to_linear(load->offset);
      if (linear.coefficient(axis) != 1 || index::depends_on(linear.rest, axis)) return;
    }
    add_variable(kernel_, "byte_t");
    tile.axes.push_back({axis, steps, false});
    products.update.a = products.a.reg;
    products.update.b = products.b.reg;
    products.update.over = {axis};
    loop.step = steps;
    loop.body.clear();
    loop.body.push_back(std::move(products.a));
    loop.body.push_back(std::move(products.b));
    loop.body.push_back(std::move(products.update));
  }

  /// Updates over axes of the tile.
  void take_axes(std::vector<TileStmt>& body, Tile& tile) {
    std::vector<Register> dead;
    for (size_t i = 0; i < body.size(); ++i) {
      if (auto* loop = std::get_if<TileLoop>(&body[i])) take_axes(loop->body, tile);
      const auto* update = std::get_if<TileUpdate>(&body[i]);
      if (update && !update->over.empty()) take_axis(body, i, tile, dead);
    }
    std::erase_if(body, [&](const TileStmt& stmt) {
      const auto* let = std::get_if<TileLet>(&stmt);
      return let && std::count(dead.begin(), dead.end(), let->reg) > 0;
    });
  }

  /// `dead`: registers that nothing reads any more.
  void take_axis(std::vector<TileStmt>& body, size_t number, Tile& tile,
                 std::vector<Register>& dead) {
    auto& update = std::get<TileUpdate>(body[number]);
    if (update.reduction != Reduction::kSum) return;
    const auto factors = find_factors(body, number);
    if (!factors) return;
    TileLet &a = *factors->a, &b = *factors->b;
    const int fresh = static_cast<int>(kernel_.var_names.size());
    for (const int var : update.over) {
      TileAxis& axis = *std::find_if(tile.axes.begin(), tile.axes.end(),
                                     [&](const TileAxis& one) { return one.var == var; });
      const int64_t in_a = modulus_of(offset_of(a), var), in_b = modulus_of(offset_of(b), var);
      const int64_t steps = std::max(in_a, in_b);
      if (steps == 1 || axis.extent % steps != 0 || axis.vector) continue;
      // Where one block is all there is, its steps take the axis' place.
      const bool has_blocks = axis.extent > steps;
      const int step = has_blocks ? fresh : var;
      const auto rewritten = [&](const Expr& expr) {
        return index::substitute(at_step(expr, var, Expr::variable(fresh), steps),
                                 [&](int id) -> std::optional<Expr> {
                                   if (id == fresh) return Expr::variable(step);
                                   if (id != var) return std::nullopt;
                                   return has_blocks ? Expr::variable(var) * Expr(steps) : Expr(0);
                                 });
      };
      const index::Linear packed = index::to_linear(rewritten(offset_of(in_a == steps ? a : b)));
      if (packed.coefficient(step) != 1 || index::depends_on(packed.rest, step)) continue;
      for (TileLet* let : {&a, &b}) {
        auto& load = std::get<TileLoad>(let->value);
        load.offset = rewritten(load.offset);
        for (Guard& guard : load.guards) guard.expr = rewritten(guard.expr);
      }
      if (has_blocks) {
        add_variable(kernel_, "byte_t");
        axis.extent /= steps;
        tile.axes.push_back({step, steps, false});
        update.over.push_back(step);
      }
      update.a = a.reg;
      update.b = b.reg;
      dead.insert(dead.end(), factors->between.begin(), factors->between.end());
      return;
    }
  }

  /// Loads, and the registers between them and the update that adds up their products.
  struct Factors {
    TileLet *a = nullptr, *b = nullptr;
    std::vector<Register> between;
  };

  /// The widened loads whose products the update adds up; nullopt if something else reads what the
  /// update does not need any more, or it adds up something else.
  static std::optional<Factors> find_factors(std::vector<TileStmt>& body, size_t number) {
    std::map<Register, TileLet*> lets;
    std::map<Register, int> uses;
    for (size_t i = 0; i < body.size(); ++i) {
      if (auto* let = i < number ? std::get_if<TileLet>(&body[i]) : nullptr) lets[let->reg] = let;
      for (const Register reg : used_registers(body[i])) ++uses[reg];
      if (std::holds_alternative<TileLoop>(body[i])) return std::nullopt;
    }
    const auto used_once = [&](Register reg) { return uses[reg] == 1 && lets.contains(reg); };
    const auto applied = [&](Register reg, graph::ScalarOp op) -> const TileApply* {
      const auto* apply = used_once(reg) ? std::get_if<TileApply>(&lets[reg]->value) : nullptr;
      return apply && apply->op == op ? apply : nullptr;
    };
    const auto& update = std::get<TileUpdate>(body[number]);
    Register a = update.a, b = update.b;
    Factors result;
    if (b < 0) {
      const TileApply* product = applied(a, graph::ScalarOp::kMul);
      if (!product) return std::nullopt;
      result.between.push_back(a);
      a = product->args[0];
      b = product->args[1];
    }
    result.between.insert(result.between.end(), {a, b});
    const auto load_of = [&](Register reg) -> TileLet* {
      const TileApply* cast = applied(reg, graph::ScalarOp::kCast);
      if (!cast || !used_once(cast->args[0])) return nullptr;
      TileLet* let = lets[cast->args[0]];
      const bool is_wider = size_bytes(lets[reg]->dtype) > size_bytes(let->dtype);
      return is_wider && std::holds_alternative<TileLoad>(let->value) ? let : nullptr;
    };
    result.a = load_of(a);
    result.b = load_of(b);
    if (!result.a || !result.b || result.a == result.b) return std::nullopt;
    return result;
  }

  static const Expr& offset_of(const TileLet& let) { return std::get<TileLoad>(let.value).offset; }

  static bool is_multiple(const Expr& expr, int64_t steps) {
    return expr.is_constant() && expr.constant() % steps == 0;
  }

  Kernel& kernel_;
};

}  // namespace

Program dot_steps(Program program) {
  for (Kernel& kernel : program.kernels) {
    DotSteps steps(kernel);
    KernelVisitor visitor;
    visitor.enter_tile = [&](Tile& tile) { steps.take(tile); };
    visit(kernel, visitor);
  }
  return program;
}

}  // namespace corf::loop
