#include "loop/registers.h"

#include <algorithm>
#include <set>

#include "loop/tile_info.h"
#include "loop/visit.h"

namespace corf::loop {
namespace {

class PressureEstimate {
 public:
  PressureEstimate(const Tile& tile, int lanes) : info_(tile_info(tile)), lanes_(lanes) {
    if (info_.vector_axis >= 0) vector_bit_ = AxisSet{1} << info_.vector_axis;
    last_use_.assign(info_.registers.size(), -1);
    hoisted_.assign(info_.registers.size(), false);
    number_uses(tile.body);
    position_ = 0;
    walk(tile.body);
  }
  int64_t peak() const { return peak_; }

 private:
  // Positions number the statements in program order. A value from outside of a loop is used
  // until the loop's end.
  struct Loop {
    int first = 0, last = 0;
  };

  void number_uses(const std::vector<TileStmt>& body) {
    for (const TileStmt& stmt : body) {
      const int position = position_++;
      for (Register reg : used_registers(stmt)) last_use_[reg] = position;
      const auto* let = std::get_if<TileLet>(&stmt);
      if (let && std::holds_alternative<TileTable>(let->value)) tables_.insert(let->reg);
      const auto* loop = std::get_if<TileLoop>(&stmt);
      if (!loop) continue;
      number_uses(loop->body);
      loops_.push_back({position, position_});
    }
  }

  int64_t pieces(DType dtype) const {
    if (!vector_bit_) return 1;
    const int64_t in_register = std::max<int64_t>(1, lanes_ * 4 / size_bytes(dtype));
    return (info_.extents[info_.vector_axis] + in_register - 1) / in_register;
  }
  int64_t vectors(DType dtype, AxisSet axes) const {
    return info_.num_points(axes & ~vector_bit_) * (axes & vector_bit_ ? pieces(dtype) : 1);
  }
  int64_t vectors(Register reg) const {
    if (tables_.count(reg)) return 0;
    return vectors(info_.registers[reg].dtype, info_.registers[reg].axes);
  }

  /// Where a register defined at `position` dies.
  int death(Register reg, int position) const {
    int last = last_use_[reg];
    for (const Loop& loop : loops_) {
      const bool crosses = position < loop.first && last > loop.first && last < loop.last;
      if (crosses) last = loop.last;
    }
    return last;
  }
  bool used_in_a_loop_that_it_is_outside_of(Register reg, int position) const {
    return std::any_of(loops_.begin(), loops_.end(), [&](const Loop& loop) {
      return position < loop.first && last_use_[reg] > loop.first && last_use_[reg] < loop.last;
    });
  }

  void walk(const std::vector<TileStmt>& body) {
    for (const TileStmt& stmt : body) {
      const int position = position_++;
      std::erase_if(held_, [&](const auto& held) { return held.second < position; });
      if (const auto* acc = std::get_if<TileAccumulator>(&stmt)) {
        held_.emplace_back(vectors(acc->reg), death(acc->reg, position));
      } else if (const auto* let = std::get_if<TileLet>(&stmt)) {
        if (used_in_a_loop_that_it_is_outside_of(let->reg, position)) {
          held_.emplace_back(vectors(let->reg), death(let->reg, position));
          hoisted_[let->reg] = true;
        }
      }
      int64_t live = transient(stmt);
      for (const auto& [count, last] : held_) live += count;
      peak_ = std::max(peak_, live);
      if (const auto* loop = std::get_if<TileLoop>(&stmt)) walk(loop->body);
    }
  }

  bool is_held(Register reg) const { return info_.registers[reg].accumulator || hoisted_[reg]; }

  /// Registers that the statement needs besides what is held.
  int64_t transient(const TileStmt& stmt) const {
    if (const auto* update = std::get_if<TileUpdate>(&stmt)) return transient(*update);
    if (std::holds_alternative<TileLoop>(stmt)) return 0;
    if (std::holds_alternative<TileAccumulator>(stmt)) return 0;
    int64_t count = 1;
    for (Register reg : used_registers(stmt)) count += !is_held(reg);
    return count;
  }
  int64_t transient(const TileUpdate& update) const {
    if (update.b < 0) return is_held(update.a) ? 0 : 1;
    if (tables_.count(update.a)) return 1 + !is_held(update.b);
    if (tables_.count(update.b)) return 1 + !is_held(update.a);
    const AxisSet a = info_.register_axes(update.a), b = info_.register_axes(update.b);
    const bool a_along = a & vector_bit_, b_along = b & vector_bit_;
    if (is_held(update.a) || is_held(update.b))
      return is_held(update.a) && is_held(update.b) ? 0 : 1;
    if (a_along == b_along) {
      // Piece by piece: one factor stays, the other one passes by.
      return 1 + std::min(info_.num_points(a & ~vector_bit_), info_.num_points(b & ~vector_bit_));
    }
    // The pieces of one step of the reduction stay while broadcasts pass by.
    return 1 + pieces(info_.registers[a_along ? update.a : update.b].dtype);
  }

  TileInfo info_;
  int lanes_;
  AxisSet vector_bit_ = 0;
  int position_ = 0;
  std::vector<int> last_use_;  // by register
  std::set<Register> tables_;  // part of the code, not of the registers
  std::vector<bool> hoisted_;  // by register: held because a loop further down uses it
  std::vector<Loop> loops_;
  std::vector<std::pair<int64_t, int>> held_;  // vectors, position of the last use
  int64_t peak_ = 0;
};

}  // namespace

int register_pressure(const Tile& tile, int lanes) {
  return static_cast<int>(std::min<int64_t>(PressureEstimate(tile, lanes).peak(), 1 << 20));
}

}  // namespace corf::loop
