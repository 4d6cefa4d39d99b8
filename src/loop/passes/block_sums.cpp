#include "loop/passes/block_sums.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "graph/dot_products.h"
#include "loop/tile_info.h"
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

/// Statements that make a register, in order.
using Definitions = std::vector<TileLet>;

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
    const std::optional<Cut> at_scale = find_scale();
    const std::optional<Cut> cut = at_scale ? at_scale : choose_cut(loops, adds_products_);
    if (!cut) return;
    cut_ = *cut;
    prepare();
    if (at_scale) take_scale_away(tile_.body);
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
      const auto* let = std::get_if<TileLet>(&stmt);
      if (!let) continue;
      lets_[let->reg] = let;
    }
    const auto first =
        std::find_if(body.begin(), body.end(), [this](const auto& stmt) { return adds(stmt); });
    if (first == body.end()) return false;
    if (const auto* update = std::get_if<TileUpdate>(&*first)) {
      adds_products_ = is_product_of_loads(*update);
      update_ = update;
      return std::none_of(first, body.end(), [this](const auto& stmt) {
        return std::holds_alternative<TileLoop>(stmt) && adds(stmt);
      });
    }
    const auto& loop = std::get<TileLoop>(*first);
    loop_vars_.push_back(loop.var);
    int looks = 64;
    const std::optional<int64_t> length = most(loop.hi - loop.lo, looks);
    if (!length) return false;
    loops.push_back(ceil_div(std::max<int64_t>(*length, 1), loop.step));
    return find_loops(loop.body, loops);
  }

  bool is_product_of_loads(const TileUpdate& update) const {
    return update.b >= 0 && is_load(update.a) && is_load(update.b);
  }
  const TileLet* let_of(Register reg) const {
    const auto found = lets_.find(reg);
    return found == lets_.end() ? nullptr : found->second;
  }
  const TileApply* apply_of(Register reg) const {
    const TileLet* let = let_of(reg);
    return let ? std::get_if<TileApply>(&let->value) : nullptr;
  }
  /// Of a value in memory, as it is, in a wider type, or taken out of a word.
  bool is_load(Register reg) const {
    const TileLet* let = let_of(reg);
    if (!let) return false;
    const auto* apply = std::get_if<TileApply>(&let->value);
    if (apply && is_of_digit(reg)) return true;
    if (apply && apply->op == graph::ScalarOp::kCast) return is_narrow_load(apply->args[0]);
    return std::holds_alternative<TileLoad>(let->value) ||
           std::holds_alternative<TileTable>(let->value);
  }
  bool is_narrow_load(Register reg) const {
    const TileLet* let = let_of(reg);
    const auto* load = let ? std::get_if<TileLoad>(&let->value) : nullptr;
    return load && graph::is_narrow_factor(kernel_.buffer_dtype(load->buffer));
  }
  /// Some bits of a word, (word >> n) & mask, as a float, less a zero point and scaled perhaps.
  bool is_of_digit(Register reg) const {
    const TileApply* apply = apply_of(reg);
    if (!apply) return false;
    if (apply->op == graph::ScalarOp::kMul || apply->op == graph::ScalarOp::kSub) {
      return is_of_digit(apply->args[0]);
    }
    const TileApply* bits =
        apply->op == graph::ScalarOp::kCast ? apply_of(apply->args[0]) : nullptr;
    return bits && bits->op == graph::ScalarOp::kAnd;
  }

  /// Where a factor that each term uses for itself is a digit times what is the same for all of a
  /// block, the block's sum is what that scales: a cut in front of the loops that do not change it.
  std::optional<Cut> find_scale() {
    if (update_->b < 0 || num_updates(tile_.body) != 1) return std::nullopt;
    const TileApply* product = apply_of(update_->b);
    if (!product || product->op != graph::ScalarOp::kMul || !is_of_digit(product->args[0])) {
      return std::nullopt;
    }
    const TileInfo info = tile_info(tile_);
    const AxisSet factor = info.register_axes(update_->b), sum = info.register_axes(acc_);
    const Register scale = product->args[1];
    if ((sum & ~factor) != 0 || (info.register_axes(scale) & ~sum) != 0) return std::nullopt;
    if (!collect(scale)) return std::nullopt;
    size_t level = loop_vars_.size();
    while (level > 0 && !changes_scale(loop_vars_[level - 1])) --level;
    if (level == loop_vars_.size()) return std::nullopt;
    digit_ = product->args[0];
    scale_ = scale;
    find_zero_point(info, level);
    return Cut{level, 0};
  }
  /// What is taken away from each digit of a block is, of the block's sum, as many times the sum of
  /// the other factor.
  void find_zero_point(const TileInfo& info, size_t level) {
    const TileApply* centred = apply_of(digit_);
    if (centred->op != graph::ScalarOp::kSub || !is_of_digit(centred->args[0])) return;
    const Register zero_point = centred->args[1];
    const bool is_number = std::holds_alternative<TileConstant>(let_of(zero_point)->value);
    const AxisSet other = info.register_axes(update_->a);
    if (is_number || (other & ~info.axes_of(update_->over)) != 0) return;
    const size_t num_lets = scale_lets_.size();
    bool is_same = collect(zero_point);
    for (size_t i = level; i < loop_vars_.size(); ++i) {
      is_same = is_same && !changes_scale(loop_vars_[i]);
    }
    if (!is_same) {
      scale_lets_.resize(num_lets);
      return;
    }
    zero_point_ = zero_point;
    digit_ = centred->args[0];
  }
  /// Notes what makes the register, inside of the loops; false if that is more than arithmetic on
  /// loads.
  bool collect(Register reg) {
    const TileLet* let = let_of(reg);
    if (!let) return false;
    if (const auto* apply = std::get_if<TileApply>(&let->value)) {
      for (const Register arg : apply->args) {
        if (!collect(arg)) return false;
      }
    } else if (!std::holds_alternative<TileLoad>(let->value) &&
               !std::holds_alternative<TileConstant>(let->value)) {
      return false;
    }
    scale_lets_.push_back(*let);
    return true;
  }
  /// That add to the sum; many where the body has more than loops, definitions and updates.
  int num_updates(const std::vector<TileStmt>& body) const {
    int updates = 0;
    for (const TileStmt& stmt : body) {
      if (const auto* loop = std::get_if<TileLoop>(&stmt)) updates += num_updates(loop->body);
      if (std::holds_alternative<TileUpdate>(stmt) && adds(stmt)) ++updates;
      if (std::holds_alternative<TileBind>(stmt)) updates += 2;
    }
    return updates;
  }
  bool changes_scale(int var) const {
    return std::any_of(scale_lets_.begin(), scale_lets_.end(), [&](const TileLet& let) {
      const auto* load = std::get_if<TileLoad>(&let.value);
      if (!load) return false;
      return index::depends_on(load->offset, var) ||
             std::any_of(load->guards.begin(), load->guards.end(),
                         [&](const Guard& guard) { return index::depends_on(guard.expr, var); });
    });
  }
  /// The update takes the digit alone; what nothing else reads goes.
  void take_scale_away(std::vector<TileStmt>& body) {
    for (TileStmt& stmt : body) {
      if (auto* loop = std::get_if<TileLoop>(&stmt)) take_scale_away(loop->body);
      auto* update = std::get_if<TileUpdate>(&stmt);
      if (!update || update->acc != acc_) continue;
      update->b = digit_;
      const TileUpdate sum_of_others{others(), Reduction::kSum, update->a, -1, update->over};
      if (zero_point_ >= 0) body.push_back(sum_of_others);
      remove_unread(body);
      return;
    }
  }
  static void remove_unread(std::vector<TileStmt>& body) {
    const bool has_loop = std::any_of(body.begin(), body.end(), [](const TileStmt& stmt) {
      return std::holds_alternative<TileLoop>(stmt);
    });
    if (has_loop) return;
    std::set<Register> read;
    for (size_t i = body.size(); i-- > 0;) {
      const auto* let = std::get_if<TileLet>(&body[i]);
      if (let && read.count(let->reg) == 0) {
        body.erase(body.begin() + static_cast<std::ptrdiff_t>(i));
        continue;
      }
      const std::vector<Register> used = used_registers(body[i]);
      read.insert(used.begin(), used.end());
    }
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
    const TileAccumulator sum_of_others{others(), accumulator.dtype, {}, zero_};
    // What reads the sum is behind it.
    std::vector<TileStmt> behind(tile_.body.begin() + static_cast<std::ptrdiff_t>(end_),
                                 tile_.body.end());
    tile_.body.resize(end_);
    KernelVisitor visitor;
    visitor.reg = [this](Register& reg) { reg = reg == acc_ ? total_ : reg; };
    visit(behind, visitor);
    std::move(behind.begin(), behind.end(), std::back_inserter(tile_.body));
    tile_.body.insert(tile_.body.begin() + static_cast<std::ptrdiff_t>(declaration_) + 1, total);
    if (zero_point_ < 0) return;
    tile_.body.insert(tile_.body.begin() + static_cast<std::ptrdiff_t>(declaration_) + 1,
                      sum_of_others);
  }

  /// Accumulator of the other factor's sum in a block; registers behind are the block's own.
  Register others() const { return total_ + 2; }

  void begin_block(std::vector<TileStmt>& body) {
    body.push_back(TileAssign{acc_, zero_});
    if (zero_point_ >= 0) body.push_back(TileAssign{others(), zero_});
  }
  void end_block(std::vector<TileStmt>& body) {
    if (scale_ < 0) {
      body.push_back(TileUpdate{total_, Reduction::kSum, acc_, -1, {}});
      return;
    }
    Register next = others() + 1;
    std::map<Register, Register> renamed;
    std::vector<TileStmt> lets;
    for (TileLet let : scale_lets_) {
      if (!renamed.try_emplace(let.reg, next).second) continue;
      ++next;
      lets.push_back(std::move(let));
    }
    KernelVisitor visitor;
    visitor.reg = [&](Register& reg) { reg = renamed.at(reg); };
    visit(lets, visitor);
    std::move(lets.begin(), lets.end(), std::back_inserter(body));
    Register sum = acc_;
    if (zero_point_ >= 0) {
      const auto add = [&](graph::ScalarOp op, Register a, Register b) {
        body.push_back(TileLet{next, DType::kF32, TileApply{op, {a, b}}});
        return next++;
      };
      const Register less = add(graph::ScalarOp::kMul, renamed.at(zero_point_), others());
      sum = add(graph::ScalarOp::kSub, acc_, less);
    }
    body.push_back(TileUpdate{total_, Reduction::kSum, sum, renamed.at(scale_), {}});
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
  std::map<Register, const TileLet*> lets_;  // until statements move
  bool adds_products_ = false;
  const TileUpdate* update_ = nullptr;  // that adds the terms, until statements move
  std::vector<int> loop_vars_;          // around it, the outermost first
  /// What a factor is made of: a digit less a zero point, -1 where that stays, times a scale.
  Register digit_ = -1, zero_point_ = -1, scale_ = -1;
  Definitions scale_lets_;  // that make zero point and scale
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
