#pragma once
#include <span>
#include <vector>

#include "loop/tile_info.h"

namespace corf::loop {

/// An expression prepared for the points of a box of a tile: where it is affine in the tile's axes
/// a value per point is a base, computed once, and a precomputed difference.
class Address {
 public:
  Address() = default;
  /// An expression without tile axes.
  explicit Address(const Expr& expr);
  Address(const Expr& expr, const TileInfo& info, AxisSet box);

  bool is_per_point() const { return per_point_; }
  /// Values of a per-point address come from evaluating `expr` with the tile's axes set.
  const Expr& expr() const { return expr_; }
  /// The value at the box's first point; `values[id]` by variable, tile axes excepted.
  int64_t base(std::span<const int64_t> values) const;
  /// Differences from `base` in the order of the box's points, the last axis fastest.
  const std::vector<int64_t>& differences() const { return differences_; }
  int64_t least_difference() const { return least_; }
  int64_t greatest_difference() const { return greatest_; }

 private:
  Expr expr_;
  std::vector<std::pair<int, int64_t>> terms_;
  int64_t constant_ = 0;
  Expr rest_;
  bool has_rest_ = false;
  bool per_point_ = false;
  std::vector<int64_t> differences_;
  int64_t least_ = 0, greatest_ = 0;
};

/// For each point of box `from`, the number of its projection within box `to`, a subset of axes.
std::vector<int32_t> projection(const TileInfo& info, AxisSet from, AxisSet to);

/// Calls `visit(coordinates)` for each point of the box, the last axis fastest; coordinates of
/// axes outside of the box are 0.
template <typename F>
void for_each_point(const TileInfo& info, AxisSet box, F&& visit) {
  std::vector<int64_t> at(info.extents.size(), 0);
  if (info.num_points(box) == 0) return;
  while (true) {
    visit(std::as_const(at));
    int axis = static_cast<int>(at.size()) - 1;
    for (; axis >= 0; --axis) {
      if (!(box >> axis & 1)) continue;
      if (++at[axis] < info.extents[axis]) break;
      at[axis] = 0;
    }
    if (axis < 0) return;
  }
}

}  // namespace corf::loop
