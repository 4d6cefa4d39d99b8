#include "loop/passes/block_sums.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "graph/dot_products.h"
#include "loop/visit.h"
#include "support/checked.h"

namespace corf::loop {
namespace {

/// The loops of a sum, by their steps, the outermost first.
using LoopSteps = std::vector<int64_t>;

/// Where a sum is cut into blocks.
struct Cut {
  size_t level = 0;   // of the loops; what runs inside is summed up on its own
  int64_t steps = 0;  // of that loop in a block; 0: all of them
};

std::optional<Cut> choose_cut(const LoopSteps& loops, bool products) {
  const int64_t longest = products ? 512 : 32, block = products ? 256 : 16;
  int64_t all = 1;
  for (int64_t steps : loops) all *= steps;
  if (all <= longest) return std::nullopt;
  int64_t inner = 1;
  size_t level = loops.size();
  while (inner * loops[level - 1] <= longest) inner *= loops[--level];
  if (level < loops.size() && inner >= block / 4) return Cut{level, 0};
  const int64_t length = loops[level - 1];
  return Cut{level - 1, ceil_div(length, ceil_div(length, std::max<int64_t>(1, block / inner)))};
}

void collect_addends(const Expr& expr, std::vector<Expr>& addends) {
  if (expr.kind() != index::ExprKind::kAdd) {
    addends.push_back(expr);
    return;
  }
  collect_addends(expr.lhs(), addends);
  collect_addends(expr.rhs(), addends);
}

/// The most that the expression can be, as far as its constants tell: minima are no greater than
/// what they choose from, nor is the negative of a maximum. `looks`: how many more choices are
/// looked at.
std::optional<int64_t> most(const Expr& expr, int& looks) {
  if (--looks < 0) return std::nullopt;
  std::vector<Expr> addends;
  collect_addends(expr, addends);
  for (size_t i = 0; i < addends.size(); ++i) {
    const Expr& addend = addends[i];
    const bool is_min = addend.kind() == index::ExprKind::kMin;
    const bool is_negative_max = addend.kind() == index::ExprKind::kMul &&
                                 addend.lhs().is_constant(-1) &&
                                 addend.rhs().kind() == index::ExprKind::kMax;
    if (!is_min && !is_negative_max) continue;
    Expr rest(0);
    for (size_t other = 0; other < addends.size(); ++other) {
      if (other != i) rest = rest + addends[other];
    }
    const Expr& choice = is_min ? addend : addend.rhs();
    const auto with = [&](const Expr& chosen) {
      return most(is_min ? rest + chosen : rest - chosen, looks);
    };
    const std::optional<int64_t> a = with(choice.lhs()), b = with(choice.rhs());
    return a && b ? std::min(*a, *b) : a ? a : b;
  }
  const index::Linear linear = index::to_linear(expr);
  if (!linear.is_affine() || !linear.coefficients.empty()) return std::nullopt;
  return linear.constant;
}

/// The sum of one accumulator of a tile.
class Sum {
 public:
  Sum(Kernel& kernel, Tile& tile, size_t accumulator)
      : kernel_(kernel),
        tile_(tile),
        declaration_(accumulator),
        acc_(std::get<TileAccumulator>(tile.body[accumulator]).reg) {}

  void take_in_blocks() {
    LoopSteps loops;
    if (!is_only_added_to(tile_.body) || !find_loops(tile_.body, loops) || loops.empty()) return;
    const std::optional<Cut> cut = choose_cut(loops, adds_products_);
    if (!cut) return;
    cut_ = *cut;
    prepare();
    cut_region(tile_.body, declaration_ + 1, 0);
    declare();
  }

 private:
  /// Whether the statement, or one inside of it, adds to the sum.
  bool adds(const TileStmt& stmt) const {
    if (const auto* update = std::get_if<TileUpdate>(&stmt)) return update->acc == acc_;
    const auto* loop = std::get_if<TileLoop>(&stmt);
    return loop && std::any_of(loop->body.begin(), loop->body.end(),
                               [this](const TileStmt& inner) { return adds(inner); });
  }
  /// Whether terms that are no sums themselves are all that the body has to do with the
  /// accumulator. Behind its last term the sum may be read.
  bool is_only_added_to(const std::vector<TileStmt>& body) const {
    std::set<Register> accumulators;
    for (const TileStmt& stmt : tile_.body) {
      const auto* accumulator = std::get_if<TileAccumulator>(&stmt);
      if (accumulator) accumulators.insert(accumulator->reg);
    }
    const bool is_outside = &body == &tile_.body;
    size_t end = body.size();
    while (is_outside && end > 0 && !adds(body[end - 1])) --end;
    return std::all_of(body.begin(), body.begin() + std::ptrdiff_t(end), [&](const auto& stmt) {
      if (const auto* loop = std::get_if<TileLoop>(&stmt)) return is_only_added_to(loop->body);
      const auto* update = std::get_if<TileUpdate>(&stmt);
      if (update && update->acc == acc_) {
        return update->reduction == Reduction::kSum && accumulators.count(update->a) == 0 &&
               accumulators.count(update->b) == 0;
      }
      const auto* assign = std::get_if<TileAssign>(&stmt);
      if (assign && assign->acc == acc_) return false;
      const std::vector<Register> used = used_registers(stmt);
      return std::find(used.begin(), used.end(), acc_) == used.end();
    });
  }

  /// The first loop of each level; false if one has bounds that do not tell how long it can be, or
  /// there are terms in front of it.
  bool find_loops(const std::vector<TileStmt>& body, LoopSteps& loops) {
    for (const TileStmt& stmt : body) {
      if (const auto* let = std::get_if<TileLet>(&stmt)) values_[let->reg] = &let->value;
    }
    const auto first =
        std::find_if(body.begin(), body.end(), [this](const auto& stmt) { return adds(stmt); });
    if (first == body.end()) return false;
    if (const auto* update = std::get_if<TileUpdate>(&*first)) {
      adds_products_ = is_product_of_loads(*update);
      return std::none_of(first, body.end(), [this](const auto& stmt) {
        return std::holds_alternative<TileLoop>(stmt) && adds(stmt);
      });
    }
    const auto& loop = std::get<TileLoop>(*first);
    int looks = 64;
    const std::optional<int64_t> length = most(loop.hi - loop.lo, looks);
    if (!length) return false;
    loops.push_back(ceil_div(std::max<int64_t>(*length, 1), loop.step));
    return find_loops(loop.body, loops);
  }

  bool is_product_of_loads(const TileUpdate& update) const {
    return update.b >= 0 && is_load(update.a) && is_load(update.b);
  }
  /// Of a value in memory, as it is or in a wider type.
  bool is_load(Register reg) const {
    const auto found = values_.find(reg);
    if (found == values_.end()) return false;
    const auto* apply = std::get_if<TileApply>(found->second);
    if (apply && apply->op == graph::ScalarOp::kCast) return is_narrow_load(apply->args[0]);
    return std::holds_alternative<TileLoad>(*found->second) ||
           std::holds_alternative<TileTable>(*found->second);
  }
  bool is_narrow_load(Register reg) const {
    const auto found = values_.find(reg);
    const auto* load = found == values_.end() ? nullptr : std::get_if<TileLoad>(found->second);
    return load && graph::is_narrow_factor(kernel_.buffer_dtype(load->buffer));
  }

  /// Numbers the total, and finds a zero or makes one.
  void prepare() {
    KernelVisitor visitor;
    visitor.reg = [this](Register& reg) { total_ = std::max(total_, reg + 1); };
    visit(tile_.body, visitor);
    const auto& accumulator = std::get<TileAccumulator>(tile_.body[declaration_]);
    for (size_t i = 0; i < declaration_; ++i) {
      const auto* let = std::get_if<TileLet>(&tile_.body[i]);
      const auto* number = let ? std::get_if<TileConstant>(&let->value) : nullptr;
      if (number && let->dtype == accumulator.dtype && number->f64 == 0 &&
          !std::signbit(number->f64)) {
        zero_ = let->reg;
      }
    }
    if (zero_ >= 0) return;
    zero_ = total_ + 1;
    const TileLet zero{zero_, accumulator.dtype, TileConstant{}};
    tile_.body.insert(tile_.body.begin() + static_cast<std::ptrdiff_t>(declaration_++), zero);
  }

  /// The accumulator begins each block at zero, the total where the accumulator began.
  void declare() {
    auto& accumulator = std::get<TileAccumulator>(tile_.body[declaration_]);
    TileAccumulator total = accumulator;
    total.reg = total_;
    accumulator.init = zero_;
    // What reads the sum is behind it.
    std::vector<TileStmt> behind(tile_.body.begin() + static_cast<std::ptrdiff_t>(end_),
                                 tile_.body.end());
    tile_.body.resize(end_);
    KernelVisitor visitor;
    visitor.reg = [this](Register& reg) { reg = reg == acc_ ? total_ : reg; };
    visit(behind, visitor);
    std::move(behind.begin(), behind.end(), std::back_inserter(tile_.body));
    tile_.body.insert(tile_.body.begin() + static_cast<std::ptrdiff_t>(declaration_) + 1, total);
  }

  void begin_block(std::vector<TileStmt>& body) { body.push_back(TileAssign{acc_, zero_}); }
  void end_block(std::vector<TileStmt>& body) {
    body.push_back(TileUpdate{total_, Reduction::kSum, acc_, -1, {}});
  }

  /// Cuts what sums up from position `begin` of the body on; its first loop is one of `level`.
  void cut_region(std::vector<TileStmt>& body, size_t begin, size_t level) {
    std::vector<TileStmt> result(std::make_move_iterator(body.begin()),
                                 std::make_move_iterator(body.begin() + std::ptrdiff_t(begin)));
    size_t end = body.size();  // behind the last term
    while (end > begin && !adds(body[end - 1])) --end;
    const auto move = [&](size_t from, size_t to, std::vector<TileStmt>& into) {
      for (size_t i = from; i < to; ++i) into.push_back(std::move(body[i]));
    };
    size_t first = begin;
    while (first < end && !adds(body[first])) ++first;
    const bool is_loop = first < end && std::holds_alternative<TileLoop>(body[first]);
    if ((level == cut_.level && cut_.steps == 0) || level > cut_.level || !is_loop) {
      begin_block(result);
      move(begin, end, result);
      end_block(result);
    } else {
      move(begin, first + 1, result);
      cut_loop(std::get<TileLoop>(result.back()), level);
      std::vector<TileStmt> rest;
      move(first + 1, end, rest);
      if (!rest.empty()) cut_region(rest, 0, level + 1);
      std::move(rest.begin(), rest.end(), std::back_inserter(result));
    }
    if (&body == &tile_.body) end_ = result.size();
    move(end, body.size(), result);
    body = std::move(result);
  }

  void cut_loop(TileLoop& loop, size_t level) {
    if (level < cut_.level) {
      cut_region(loop.body, 0, level + 1);
      return;
    }
    TileLoop blocks = loop;
    blocks.var = add_variable(kernel_, kernel_.var_names[loop.var] + "_block");
    blocks.step = cut_.steps * loop.step;
    blocks.unroll = 1;
    blocks.body.clear();
    const Expr start = Expr::variable(blocks.var), length = loop.hi - loop.lo;
    const bool is_even = length.is_constant() && length.constant() % blocks.step == 0;
    loop.hi = is_even ? Expr(blocks.step) : min(Expr(blocks.step), loop.hi - start);
    loop.lo = Expr(0);
    // Copies of a loop whose length is not known need a second loop, and its registers.
    if (!is_even) loop.unroll = 1;
    KernelVisitor visitor;
    visitor.expr = [&](Expr& expr) {
      expr = index::substitute(expr, [&](int var) -> std::optional<Expr> {
        if (var != loop.var) return std::nullopt;
        return start + Expr::variable(var);
      });
    };
    visit(loop.body, visitor);
    begin_block(blocks.body);
    blocks.body.push_back(std::move(loop));
    end_block(blocks.body);
    loop = std::move(blocks);
  }

  Kernel& kernel_;
  Tile& tile_;
  size_t declaration_;  // position of the accumulator's
  const Register acc_;
  Register total_ = 0, zero_ = -1;
  std::map<Register, const decltype(TileLet::value)*> values_;
  bool adds_products_ = false;
  Cut cut_;
  size_t end_ = 0;  // of the statements that sum up
};

}  // namespace

Program block_sums(Program program) {
  for (Kernel& kernel : program.kernels) {
    KernelVisitor visitor;
    visitor.enter_tile = [&](Tile& tile) {
      // Sums on the matrix unit are taken as it takes them.
      if (tile.matrix) return;
      for (size_t i = 0; i < tile.body.size(); ++i) {
        const auto* accumulator = std::get_if<TileAccumulator>(&tile.body[i]);
        if (accumulator && is_float(accumulator->dtype)) Sum(kernel, tile, i).take_in_blocks();
      }
    };
    visit(kernel, visitor);
  }
  return program;
}

}  // namespace corf::loop
