#include <algorithm>

#include "codegen/tile_lowering.h"
#include "codegen/tile_uses.h"

namespace corf::codegen {
namespace {

using llvm::Value;

/// Ranges of the loops inside of the tile with constant bounds.
void collect_loop_ranges(const std::vector<loop::TileStmt>& body,
                         std::map<int, std::optional<Interval>>& ranges) {
  for (const loop::TileStmt& stmt : body) {
    if (const auto* loop = std::get_if<loop::TileLoop>(&stmt)) {
      std::optional<Interval> range;
      if (loop->lo.is_constant() && loop->hi.is_constant() &&
          loop->lo.constant() < loop->hi.constant()) {
        range = Interval{loop->lo.constant(), loop->hi.constant() - 1};
      }
      ranges[loop->var] = range;
      collect_loop_ranges(loop->body, ranges);
    } else if (const auto* bind = std::get_if<loop::TileBind>(&stmt)) {
      ranges[bind->var] = std::nullopt;
    }
  }
}

}  // namespace

/// Whether it is known of each point of the tile if the guard holds there, and it does not at some.
bool TileLowering::fails_inside(const loop::Guard& guard) const {
  const Linear linear = index::to_linear(guard.expr);
  if (!linear.is_affine()) return false;
  int64_t least = linear.constant, greatest = linear.constant;
  for (const auto& [variable, coefficient] : linear.coefficients) {
    const auto& axes = info_.axis_variables;
    const auto axis = std::find(axes.begin(), axes.end(), variable);
    if (axis == axes.end() || variable == vector_var_) return false;
    const int64_t last = info_.extents[static_cast<size_t>(axis - axes.begin())] - 1;
    (coefficient < 0 ? least : greatest) += coefficient * last;
  }
  return least < guard.lo || greatest >= guard.hi;
}

bool TileLowering::all_hold(const std::vector<loop::Guard>& guards) const {
  return guards.empty() ||
         (assume_guards_ && std::none_of(guards.begin(), guards.end(),
                                         [&](const auto& guard) { return fails_inside(guard); }));
}

Value* TileLowering::all_guards_hold() {
  const TileUses uses = collect_uses(tile_.body);
  if (uses.guards.empty()) return nullptr;
  // Variables that the condition has to cover whole: nullopt where their range is not known.
  std::map<int, std::optional<Interval>> inner;
  collect_loop_ranges(tile_.body, inner);
  for (const loop::TileAxis& axis : tile_.axes) inner[axis.var] = Interval{0, axis.extent - 1};
  Value* all = nullptr;
  for (const loop::Guard* guard : uses.guards) {
    if (fails_inside(*guard)) continue;
    Linear linear = index::to_linear(guard->expr);
    int64_t least = 0, greatest = 0;
    for (const auto& [var, range] : inner) {
      if (index::depends_on(linear.rest, var)) return nullptr;
      const int64_t coefficient = linear.coefficient(var);
      if (coefficient == 0) continue;
      if (!range) return nullptr;
      const auto [low, high] = std::minmax({coefficient * range->lo, coefficient * range->hi});
      least += low;
      greatest += high;
      linear.coefficients.erase(var);
    }
    const int64_t lo = guard->lo - least, hi = guard->hi - greatest;
    if (hi <= lo) return nullptr;
    Value* holds = f_.index.emit_guard(index::to_expr(linear), lo, hi);
    if (!holds || holds == all) continue;
    if (holds == builder_.getFalse()) return nullptr;
    all = all ? builder_.CreateAnd(all, holds) : holds;
  }
  return all;
}

void lower_tile(FunctionState& function, const loop::Tile& tile) {
  Value* inside = TileLowering(function, tile).all_guards_hold();
  if (!inside) {
    TileLowering(function, tile).lower();
    return;
  }
  llvm::IRBuilder<>& builder = function.builder;
  llvm::Function* parent = builder.GetInsertBlock()->getParent();
  auto block = [&](const char* name) {
    return llvm::BasicBlock::Create(function.context(), name, parent);
  };
  llvm::BasicBlock *fast = block("inside"), *border = block("border"), *slow = block("border.tile"),
                   *after = block("tile.end");
  builder.CreateCondBr(inside, fast, border);
  builder.SetInsertPoint(fast);
  TileLowering(function, tile, /*assume_guards=*/true).lower();
  builder.CreateBr(after);
  builder.SetInsertPoint(border);
  function.index.open_scope(builder.CreateBr(slow), /*is_rare=*/true);
  builder.SetInsertPoint(slow);
  TileLowering(function, tile).lower();
  builder.CreateBr(after);
  function.index.close_scope();
  builder.SetInsertPoint(after);
}

}  // namespace corf::codegen
