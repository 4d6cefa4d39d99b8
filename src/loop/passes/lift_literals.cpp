#include "loop/passes/lift_literals.h"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "loop/renumber.h"
#include "support/checked.h"

namespace corf::loop {
namespace {

std::string identifier_from(std::string_view text) {
  std::string out;
  for (char c : text) out += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return out.empty() || std::isdigit(static_cast<unsigned char>(out[0])) ? "b" + out : out;
}

class Lifting {
 public:
  Lifting(const Kernel& kernel, const DearLiterals* dear)
      : first_literal_(static_cast<int>(kernel.var_names.size())),
        by_partition_(dear != nullptr),
        dear_(dear),
        result_{kernel, {}, {}, {}} {
    lift(result_.kernel.body);
    const auto num_literals = static_cast<int>(result_.literals.size());
    std::vector<int> new_ids;
    for (int var = 0; var < first_literal_; ++var) {
      new_ids.push_back(var <= kernel.num_params ? var : var + num_literals);
    }
    for (int i = 0; i < num_literals; ++i) {
      new_ids.push_back(1 + kernel.num_params + i);
      // No identifier: those that stay are named in the end.
      result_.kernel.var_names.push_back(fmt::format("?{}", i));
    }
    result_.kernel = renumber_variables(result_.kernel, new_ids);
    result_.kernel.num_params += num_literals;
  }
  Lifted take() { return std::move(result_); }

 private:
  // A loop inside of a tile with at most so many iterations is left to be unrolled.
  static constexpr int64_t kShortLoop = 16;

  Expr literal(Expr value, std::string name, bool costs = false, bool is_outer = false) {
    result_.literals.push_back({std::move(value), std::move(name), costs, false, is_outer});
    return Expr::variable(first_literal_ + static_cast<int>(result_.literals.size()) - 1);
  }
  /// Of a loop's bounds, or of a part of an offset that is not linear.
  Expr literal_inside(const Expr& value, const std::string& name) {
    const Expr lifted = literal(value, name, /*costs=*/false, is_outer_);
    result_.literals.back().is_inside = true;
    return lifted;
  }
  /// Whether the next of the dear literals becomes a parameter.
  bool varies(int64_t value) {
    const size_t number = result_.dear.size();
    result_.dear.push_back(value);
    return dear_ != nullptr && number < dear_->vary.size() && dear_->vary[number];
  }
  const std::string& var_name(int var) const { return result_.kernel.var_names[var]; }

  /// Is the same all over a partition.
  bool is_uniform(const Expr& e) const {
    switch (e.kind()) {
      case index::ExprKind::kConstant:
        return true;
      case index::ExprKind::kVariable:
        return by_partition_ && e.variable_id() == kPartition;
      default:
        return is_uniform(e.lhs()) && is_uniform(e.rhs());
    }
  }

  /// Of a sum, what is uniform becomes one literal, and each loop's variable has a coefficient: so
  /// sums differ in literals only.
  Expr lift_sum(const Expr& e, const std::string& name) {
    std::vector<Expr> terms;
    flatten(e, terms);
    Expr uniform(0), sum(0);
    for (const Expr& term : terms) {
      if (is_uniform(term)) {
        uniform = uniform + term;
      } else if (term.kind() == index::ExprKind::kVariable && !is_tile_variable(term)) {
        sum = sum + literal_inside(1, name) * term;
      } else {
        sum = sum + lift_bound(term, name);
      }
    }
    return sum + literal_inside(uniform, name);
  }
  /// Only factors of loops' variables take any value.
  Expr lift_product(const Expr& e, const std::string& name) {
    const auto factor = [&](const Expr& one, const Expr& other) {
      if (!is_uniform(one)) return lift_bound(one, name);
      return other.kind() == index::ExprKind::kVariable ? literal_inside(one, name)
                                                        : literal(one, name);
    };
    return factor(e.lhs(), e.rhs()) * factor(e.rhs(), e.lhs());
  }
  static void flatten(const Expr& e, std::vector<Expr>& terms) {
    if (e.kind() != index::ExprKind::kAdd) return terms.push_back(e);
    flatten(e.lhs(), terms);
    flatten(e.rhs(), terms);
  }

  Expr lift_divisor(const Expr& e, const std::string& name) {
    if (!e.is_constant()) return e;
    const Expr lifted = literal(e.constant(), name, /*costs=*/true);
    result_.literals.back().is_divisor = true;
    return lifted;
  }

  Expr lift_bound(const Expr& e, const std::string& name) {
    if (by_partition_ && is_uniform(e)) return literal_inside(e, name);
    switch (e.kind()) {
      case index::ExprKind::kConstant:
        return literal(e.constant(), name);
      case index::ExprKind::kVariable:
        return e;
      case index::ExprKind::kAdd:
        if (by_partition_) return lift_sum(e, name);
        return lift_bound(e.lhs(), name) + lift_bound(e.rhs(), name);
      case index::ExprKind::kMul:
        if (is_tile_variable(e.lhs()) || is_tile_variable(e.rhs())) return e;
        if (by_partition_) return lift_product(e, name);
        return lift_bound(e.lhs(), name) * lift_bound(e.rhs(), name);
      case index::ExprKind::kMin:
        return min(lift_bound(e.lhs(), name), lift_bound(e.rhs(), name));
      case index::ExprKind::kMax:
        return max(lift_bound(e.lhs(), name), lift_bound(e.rhs(), name));
      case index::ExprKind::kFloorDiv:
        return floor_div(lift_bound(e.lhs(), name), lift_divisor(e.rhs(), name));
      case index::ExprKind::kMod:
        return mod(lift_bound(e.lhs(), name), lift_divisor(e.rhs(), name));
    }
    return e;
  }

  bool is_tile_variable(const Expr& e) const {
    return e.kind() == index::ExprKind::kVariable && tile_variables_.count(e.variable_id()) > 0;
  }
  bool varies_by_lane(const Expr& e) const {
    return std::any_of(lane_variables_.begin(), lane_variables_.end(),
                       [&](int var) { return index::depends_on(e, var); });
  }

  /// Lifts what is constant in the terms that are not linear in one variable.
  Expr lift_rest(const Expr& e, const std::string& name) {
    if (e.kind() == index::ExprKind::kAdd) {
      return lift_rest(e.lhs(), name) + lift_rest(e.rhs(), name);
    }
    return varies_by_lane(e) ? e : lift_bound(e, name);
  }

  /// `is_hint`: nothing waits for it.
  Expr lift_offset(const Expr& e, int buffer, bool is_hint = false) {
    const Kernel& kernel = result_.kernel;
    const auto num_buffers = static_cast<int>(kernel.buffers.size());
    const std::string name =
        identifier_from(buffer < num_buffers ? kernel.buffers[buffer].name
                                             : kernel.scratch[buffer - num_buffers].name);
    index::Linear linear = index::to_linear(e);
    is_outer_ = true;
    Expr sum(0);
    if (by_partition_) {
      // Apart from the constant, so that all accesses share it.
      Expr uniform = Expr(linear.coefficient(kPartition)) * Expr::variable(kPartition);
      linear.coefficients.erase(kPartition);
      std::vector<Expr> terms;
      flatten(linear.rest, terms);
      for (const Expr& term : terms) {
        if (is_uniform(term)) {
          uniform = uniform + term;
        } else {
          sum = sum + lift_rest(term, name + "_stride");
        }
      }
      sum = sum + literal(uniform, name + "_first");
    } else {
      sum = lift_rest(linear.rest, name + "_stride");
    }
    for (const auto& [var, coefficient] : linear.coefficients) {
      const Expr v = Expr::variable(var);
      bool stays = lane_variables_.count(var) > 0;
      // In a loop each point of the axis may occupy a register with its address.
      if (!stays && in_tile_loop_ && tile_variables_.count(var)) stays = !varies(coefficient);
      sum = sum + (stays ? Expr(coefficient) * v
                         : literal(coefficient, name + "_" + var_name(var) + "_stride",
                                   /*costs=*/tile_variables_.count(var) > 0,
                                   /*is_outer=*/is_hint || inner_variables_.count(var) == 0) *
                               v);
    }
    // Where several start from one base, their distances are in the instructions.
    const bool is_alone = accesses_[buffer] <= 1;
    return sum + literal(linear.constant, name + "_start", /*costs=*/false, is_hint || is_alone);
  }

  template <typename L>
  void lift_bounds(L& loop) {
    is_outer_ = false;
    loop.lo = lift_bound(loop.lo, var_name(loop.var) + "_first");
    loop.hi = lift_bound(loop.hi, var_name(loop.var) + "_end");
  }
  void lift_bounds(For& loop) {
    for (auto [bound, name] : {std::pair(&loop.lo, "_first"), std::pair(&loop.hi, "_end")}) {
      const size_t number = result_.literals.size();
      const bool is_alone = bound->is_constant();
      is_outer_ = true;
      *bound = lift_bound(*bound, var_name(loop.var) + name);
      if (is_alone) result_.literals[number].is_inside = false;
    }
  }

  void lift(std::vector<Stmt>& body) {
    for (Stmt& stmt : body) {
      if (auto* loop = std::get_if<For>(&stmt)) {
        lift_bounds(*loop);
        lift(loop->body);
        continue;
      }
      Tile& tile = std::get<Tile>(stmt);
      tile_variables_.clear();
      lane_variables_.clear();
      inner_variables_.clear();
      accesses_.clear();
      count_accesses(tile.body);
      for (const TileAxis& axis : tile.axes) {
        tile_variables_.insert(axis.var);
        inner_variables_.insert(axis.var);
        if (axis.vector) lane_variables_.insert(axis.var);
      }
      TileAxis* const masked = masked_axis(tile);
      lift(tile.body);
      if (masked != nullptr) mask(*masked, tile.body);
    }
  }

  /// The vector axis, if it varies and no lane looks at another; null otherwise. Halves of vectors
  /// are mostly channels, whose tiles are of another extent where they are chosen otherwise.
  TileAxis* masked_axis(Tile& tile) {
    const auto axis = std::ranges::find_if(tile.axes, &TileAxis::vector);
    if (axis == tile.axes.end() || dear_ == nullptr || dear_->lanes == 0) return nullptr;
    const bool is_odd = axis->extent % (dear_->lanes / 2) != 0;
    const bool differs = varies(is_odd ? axis->extent : 0);
    return is_odd && differs && !tile.matrix && may_mask(axis->var, tile.body) ? &*axis : nullptr;
  }
  bool may_mask(int var, const std::vector<TileStmt>& body) const {
    return std::ranges::all_of(body, [&](const TileStmt& stmt) { return may_mask(var, stmt); });
  }
  bool may_mask(int var, const TileStmt& stmt) const {
    if (const auto* loop = std::get_if<TileLoop>(&stmt)) return may_mask(var, loop->body);
    if (const auto* store = std::get_if<TileStore>(&stmt)) {
      return may_mask(var, store->buffer, store->offset);
    }
    if (const auto* update = std::get_if<TileUpdate>(&stmt)) {
      return std::ranges::count(update->over, var) == 0;
    }
    if (const auto* let = std::get_if<TileLet>(&stmt)) {
      if (const auto* reduce = std::get_if<TileReduce>(&let->value)) return reduce->axis != var;
      const auto* load = std::get_if<TileLoad>(&let->value);
      return load == nullptr || may_mask(var, load->buffer, load->offset);
    }
    return !std::holds_alternative<TileBind>(stmt);
  }
  /// Vectors of other types, and with elements apart, are masked element by element.
  bool may_mask(int var, int buffer, const Expr& offset) const {
    if (!index::depends_on(offset, var)) return true;
    const index::Linear linear = index::to_linear(offset);
    return linear.coefficient(var) == 1 && !index::depends_on(linear.rest, var) &&
           size_bytes(result_.kernel.buffer_dtype(buffer)) == 4;
  }

  /// Makes the axis whole vectors, of whose last one some lanes neither read nor write.
  void mask(TileAxis& axis, std::vector<TileStmt>& body) {
    const int64_t extent = axis.extent;
    axis.extent = round_up(extent, dear_->lanes);
    const Expr end = literal(extent, var_name(axis.var) + "_end", /*costs=*/false,
                             /*is_outer=*/true);
    // Within its limits for any value, so that all vectors but the last are known to be whole.
    const Expr within = max(min(end, Expr(axis.extent)), Expr(axis.extent - dear_->lanes + 1));
    add_guard({Expr::variable(axis.var) - within, kNoLimit, 0}, axis.var, body);
  }
  void add_guard(const Guard& guard, int var, std::vector<TileStmt>& body) {
    for (TileStmt& stmt : body) {
      if (auto* loop = std::get_if<TileLoop>(&stmt)) {
        add_guard(guard, var, loop->body);
      } else if (auto* store = std::get_if<TileStore>(&stmt)) {
        if (index::depends_on(store->offset, var)) store->guards.push_back(guard);
      } else if (auto* let = std::get_if<TileLet>(&stmt)) {
        auto* load = std::get_if<TileLoad>(&let->value);
        if (load && index::depends_on(load->offset, var)) load->guards.push_back(guard);
      }
    }
  }

  /// Upper limits, where the lower ones are kept anyway.
  void lift_guards(std::vector<Guard>& guards, const std::string& name) {
    for (Guard& guard : guards) {
      if (!is_at_least(guard.expr, guard.lo) || !varies(guard.hi)) continue;
      const Expr end = literal(guard.hi, name + "_end", /*costs=*/false, /*is_outer=*/true);
      guard = {guard.expr - end, kNoLimit, 0};
    }
  }
  /// Whether coordinates in the tile cannot make it smaller.
  bool is_at_least(const Expr& e, int64_t least) const {
    const index::Linear linear = index::to_linear(e);
    return linear.rest.is_constant(0) && linear.constant >= least &&
           std::ranges::all_of(linear.coefficients, [&](const auto& term) {
             return term.second >= 0 && tile_variables_.count(term.first) > 0;
           });
  }
  /// An integer that tells the lanes of a last vector apart.
  void lift_integer(TileLet& let) {
    const auto* constant = std::get_if<TileConstant>(&let.value);
    if (!constant || let.dtype != DType::kI64 || !varies(constant->i64)) return;
    let.value = TileIndex{literal(constant->i64, "end", /*costs=*/false, /*is_outer=*/true)};
  }
  void count_accesses(const std::vector<TileStmt>& body) {
    for (const TileStmt& stmt : body) {
      if (const auto* loop = std::get_if<TileLoop>(&stmt)) {
        count_accesses(loop->body);
      } else if (const auto* store = std::get_if<TileStore>(&stmt)) {
        ++accesses_[store->buffer];
      } else if (const auto* let = std::get_if<TileLet>(&stmt)) {
        if (const auto* load = std::get_if<TileLoad>(&let->value)) ++accesses_[load->buffer];
      }
    }
  }
  void lift(std::vector<TileStmt>& body) {
    for (TileStmt& stmt : body) {
      if (auto* loop = std::get_if<TileLoop>(&stmt)) {
        if (!is_short(*loop)) lift_bounds(*loop);
        result_.unrolls.push_back(loop->unroll);
        inner_variables_.insert(loop->var);
        const bool was_in_loop = std::exchange(in_tile_loop_, true);
        lift(loop->body);
        in_tile_loop_ = was_in_loop;
      } else if (auto* store = std::get_if<TileStore>(&stmt)) {
        store->offset = lift_offset(store->offset, store->buffer);
        lift_guards(store->guards, "store");
      } else if (auto* prefetch = std::get_if<TilePrefetch>(&stmt)) {
        prefetch->offset = lift_offset(prefetch->offset, prefetch->buffer, /*is_hint=*/true);
      } else if (auto* bind = std::get_if<TileBind>(&stmt)) {
        tile_variables_.insert(bind->var);
        inner_variables_.insert(bind->var);
        lane_variables_.insert(bind->var);
      } else if (auto* let = std::get_if<TileLet>(&stmt)) {
        if (auto* load = std::get_if<TileLoad>(&let->value)) {
          load->offset = lift_offset(load->offset, load->buffer);
          lift_guards(load->guards, "load");
        } else {
          lift_integer(*let);
        }
      }
    }
  }
  static bool is_short(const TileLoop& loop) {
    if (!loop.lo.is_constant() || !loop.hi.is_constant()) return false;
    const int64_t extent = loop.hi.constant() - loop.lo.constant();
    return extent <= std::max<int64_t>(kShortLoop, loop.unroll);
  }

  static constexpr int kPartition = 0;
  static constexpr int64_t kNoLimit = -(int64_t{1} << 40);  // below all that a guard looks at
  int first_literal_;
  bool by_partition_;
  const DearLiterals* dear_;
  Lifted result_;
  bool in_tile_loop_ = false;
  bool is_outer_ = true;           // what is being lifted
  std::map<int, int> accesses_;    // in the tile at hand, by buffer
  std::set<int> inner_variables_;  // bound in the tile at hand
  std::set<int> tile_variables_;
  std::set<int> lane_variables_;  // of these, those that may differ from lane to lane
};

}  // namespace

Lifted lift_literals(const Kernel& kernel, const DearLiterals* dear) {
  return Lifting(canonicalize(kernel), dear).take();
}

}  // namespace corf::loop
