#include "fusion/steps_inside.h"

#include <algorithm>

#include "support/checked.h"

namespace corf::fusion {

std::optional<StepsInside> steps_inside(const Nest& nest, const Access::Guard& inside, int axis,
                                        const std::vector<int64_t>& tile) {
  const index::Linear linear = index::to_linear(inside.expr);
  StepsInside result;
  result.step = linear.coefficient(axis);
  if (!linear.is_affine() || result.step <= 0) return std::nullopt;
  const int64_t steps = nest.axes[axis].extent;
  // Where the tiles begin: those of the one axis that moves the coordinate, or, of several, at
  // some places, evenly spread.
  int64_t moved = 0;  // from the first point to the last one
  int64_t num_moving = 0, tile_step = 0;
  for (const auto& [other, coefficient] : linear.coefficients) {
    if (other == axis) continue;
    if (nest.axes[other].reduction || coefficient < 0) return std::nullopt;
    const int64_t extent = nest.axes[other].extent, points = std::min(tile[other], extent);
    moved += coefficient * (extent - 1);
    result.tile += coefficient * (points - 1);
    if (coefficient == 0 || extent == 1) continue;
    ++num_moving;
    tile_step = coefficient * points;
  }
  constexpr int64_t kPlaces = 16;
  const int64_t last = std::max<int64_t>(0, moved - result.tile);
  const bool counted = num_moving == 1;
  const int64_t places = counted ? moved / tile_step + 1 : std::min(last + 1, kPlaces);
  int64_t needed = 0;
  for (int64_t place = 0; place < places; ++place) {
    const int64_t begin = counted      ? place * tile_step
                          : places > 1 ? last * place / (places - 1)
                                       : 0;
    const int64_t span = counted ? std::min(result.tile, moved - begin) : result.tile;
    const int64_t least = linear.constant + begin;
    const int64_t first = std::max<int64_t>(0, ceil_div(-least - span, result.step));
    const int64_t end = std::min(steps, floor_div(inside.hi - 1 - least, result.step) + 1);
    needed += std::max<int64_t>(0, end - first);
  }
  result.share = double(needed) / double(places * steps);
  return result;
}

double share_of_steps(const Nest& nest, const NestSchedule& schedule) {
  if (!nest.contraction) return 1;
  std::vector<int64_t> tile;
  for (int axis = 0; axis < static_cast<int>(nest.axes.size()); ++axis) {
    tile.push_back(axis == schedule.vector_axis ? schedule.vector_tile
                                                : schedule.tile_extent(axis));
  }
  double share = 1;
  for (int axis : schedule.reduction_order) {
    if (axis == schedule.vector_axis) continue;
    double least = 1;
    for (const Access& load : nest.loads) {
      for (const Access::Guard& inside : load.zeros) {
        const auto steps = steps_inside(nest, inside, axis, tile);
        if (steps && steps->share <= kMostStepsInside) least = std::min(least, steps->share);
      }
    }
    share *= least;
  }
  return share;
}

}  // namespace corf::fusion
