#pragma once
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "fusion/byte_steps.h"
#include "fusion/plan.h"
#include "support/checked.h"
#include "target/machine.h"

namespace corf::search {

/// What the steps of choosing a nest's schedule share: the nest, the machine, the schedule so far.
class ScheduleStep {
 public:
  /// `granules`: of each axis, what the extent of a tile must divide, or 0.
  ScheduleStep(const fusion::Nest& nest, const fusion::StorageView& storage, const Machine& machine,
               std::vector<int64_t> granules, fusion::NestSchedule& schedule)
      : nest_(nest),
        storage_(storage),
        machine_(machine),
        granules_(std::move(granules)),
        lanes_(machine.f32_lanes()),
        schedule_(schedule) {}

 protected:
  using Access = fusion::Access;
  using Linear = index::Linear;
  using Nest = fusion::Nest;
  using NestOp = fusion::NestOp;

  static bool depends(const Access& access, int axis) {
    return index::depends_on(access.address, axis);
  }
  int num_axes() const { return static_cast<int>(nest_.axes.size()); }

  int64_t extent(int axis) const { return nest_.axes[axis].extent; }

  /// Whether tiles of that size end where strips do.
  bool fits(int axis, int64_t tile) const {
    return axis < 0 || tile == 1 || granules_[axis] == 0 || granules_[axis] % tile == 0;
  }

  int64_t fitting(int axis, int64_t tile) const {
    while (!fits(axis, tile)) --tile;
    return tile;
  }

  /// Its steps follow one another: the first (or last) of equal values wins.
  bool is_arg_reduction() const {
    return nest_.combiner == graph::Combiner::kArgMax || nest_.combiner == graph::Combiner::kArgMin;
  }

  double reduction_points() const {
    double points = 1;
    for (const auto& axis : nest_.axes) points *= axis.reduction ? double(axis.extent) : 1;
    return points;
  }

  /// The reduction axes that are loops, in their order: as the first operand that is not rearranged
  /// lies in memory.
  std::vector<int> ordered_reductions() const {
    std::vector<int> order;
    for (int axis = 0; axis < num_axes(); ++axis) {
      const auto& unrolled = schedule_.unrolled_reductions;
      const bool in_tile = std::count(unrolled.begin(), unrolled.end(), axis) > 0;
      if (nest_.axes[axis].reduction && !in_tile) order.push_back(axis);
    }
    // The first of equal elements is the first in the reduction's own order.
    if (nest_.loads.empty() || is_arg_reduction()) return order;
    const auto lead = std::find_if(nest_.loads.begin(), nest_.loads.end(),
                                   [&](const Access& access) { return !is_constant(access); });
    const Linear linear =
        index::to_linear((lead == nest_.loads.end() ? nest_.loads.front() : *lead).address);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      return std::abs(linear.coefficient(a)) > std::abs(linear.coefficient(b));
    });
    return order;
  }

  bool is_constant(const Access& access) const { return storage_.is_constant(access.root); }

  /// Vector instructions for `n` elements: full registers, then narrower pieces.
  int64_t vector_ops(int64_t n) const {
    int64_t full = n / lanes_, rest = n % lanes_;
    if (rest == 0) return std::max<int64_t>(full, 1);
    return full + 1;
  }

  /// The factors of a contraction, if one varies along the vector axis and the other does not.
  std::optional<fusion::FactorRoles> factors() const {
    return fusion::factor_roles(nest_, schedule_.vector_axis);
  }

  /// Whether one factor is taken out of words.
  bool takes_digits() const { return nest_.contraction && nest_.contraction->digit_axis >= 0; }

  /// A window of which instructions take several rows at once.
  struct RowsAtOnce {
    int64_t steps = 1;
    std::vector<int> unrolled;  // its axes that lie in the tile, that of the rows last
    int64_t taps = 1;           // vectors of weights there
  };
  /// All of the window, if its weights fit the registers, or a column of it; nullopt where there
  /// are no such instructions. `windows`: its axes, the innermost in memory first.
  std::optional<RowsAtOnce> rows_at_once(const std::vector<int>& windows) const {
    if (windows.empty()) return std::nullopt;
    const int rows = windows.back();
    const int64_t steps =
        fusion::window_steps_at_once(nest_, storage_, schedule_.vector_axis, rows);
    if (steps == 1) return std::nullopt;
    const int64_t column = ceil_div(extent(rows), steps);
    int64_t taps = column;
    for (size_t i = 0; i + 1 < windows.size(); ++i) taps *= extent(windows[i]);
    if (taps <= machine_.num_vector_registers() / 2) return RowsAtOnce{steps, windows, taps};
    return RowsAtOnce{steps, {rows}, column};
  }

  /// Another parallel axis along which the elements follow one another: tiles of both go through
  /// registers; -1 if there is none.
  int contiguous_axis(const Access& access, int axis) const {
    if (std::any_of(access.guards.begin(), access.guards.end(), [&](const Access::Guard& guard) {
          return index::depends_on(guard.expr, axis);
        })) {
      return -1;
    }
    const Linear linear = index::to_linear(access.address);
    for (int other = 0; other < num_axes(); ++other) {
      if (other == axis || nest_.axes[other].reduction || extent(other) < 4) continue;
      if (linear.coefficient(other) == 1) return other;
    }
    return -1;
  }

  /// Cuts `n` into equal tiles of at most `most`.
  static int64_t even_tile(int64_t n, int64_t most) {
    if (n <= most) return n;
    int64_t tiles = ceil_div(n, most);
    return ceil_div(n, tiles);
  }

  /// The parallel axis with the smallest step in the stores that satisfies `accept`.
  template <typename Accept>
  int best_tile_axis(Accept accept) const {
    int best = -1;
    int64_t best_step = std::numeric_limits<int64_t>::max();
    for (int axis = 0; axis < num_axes(); ++axis) {
      if (axis == schedule_.vector_axis || nest_.axes[axis].reduction || !accept(axis)) continue;
      if (granules_[axis] == 1) continue;
      int64_t step = std::abs(index::to_linear(nest_.stores[0].access.address).coefficient(axis));
      if (step < best_step || best < 0) best = axis, best_step = step;
    }
    return best;
  }

  /// The axis' neighbours are neighbours in memory, all of them there.
  bool runs_along(const Access& access, int axis) const {
    const Linear linear = index::to_linear(access.address);
    return linear.coefficient(axis) == 1 && !index::depends_on(linear.rest, axis) &&
           std::none_of(
               access.guards.begin(), access.guards.end(),
               [&](const Access::Guard& guard) { return index::depends_on(guard.expr, axis); });
  }

  const fusion::Nest& nest_;
  const fusion::StorageView storage_;
  const Machine& machine_;
  const std::vector<int64_t> granules_;
  const int64_t lanes_;
  fusion::NestSchedule& schedule_;
};

}  // namespace corf::search
