#include "fusion/steps_inside.h"

#include <algorithm>

#include "support/checked.h"

namespace corf::fusion {

namespace {

/// Of so many steps those at which some point is inside whose coordinate begins at `least` and lies
/// up to `span` behind.
int64_t num_inside(const Access::Guard& inside, int64_t step, int64_t steps, int64_t least,
                   int64_t span) {
  const int64_t first = std::max<int64_t>(0, ceil_div(-least - span, step));
  const int64_t end = std::min(steps, floor_div(inside.hi - 1 - least, step) + 1);
  return std::max<int64_t>(0, end - first);
}

}  // namespace

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
    needed += num_inside(inside, result.step, steps, linear.constant + begin, span);
  }
  result.share = double(needed) / double(places * steps);
  return result;
}

namespace {

/// Of the reduction axis' steps those that are inside at each point of another axis, the other
/// coordinates in their middle.
std::vector<double> steps_along(const Nest& nest, const Access::Guard& inside, int axis,
                                int reduction) {
  index::Linear linear = index::to_linear(inside.expr);
  const int64_t step = linear.coefficient(reduction), moved = linear.coefficient(axis);
  const int64_t steps = nest.axes[reduction].extent;
  int64_t least = linear.constant;
  for (const auto& [other, coefficient] : linear.coefficients) {
    if (other != axis && other != reduction) least += coefficient * (nest.axes[other].extent / 2);
  }
  std::vector<double> result;
  for (int64_t point = 0; point < nest.axes[axis].extent; ++point) {
    result.push_back(double(num_inside(inside, step, steps, least + moved * point, 0)));
  }
  return result;
}

}  // namespace

double busiest_part(const Nest& nest, const NestSchedule& schedule, int axis, int64_t parts) {
  const bool leaves = std::any_of(nest.loads.begin(), nest.loads.end(),
                                  [](const Access& load) { return !load.zeros.empty(); });
  if (!nest.contraction || !leaves) return 1;
  const std::vector<int64_t> single(nest.axes.size(), 1);
  std::vector<double> work(nest.axes[axis].extent, 1);
  for (int reduction : schedule.reduction_order) {
    for (const Access& load : nest.loads) {
      for (const Access::Guard& inside : load.zeros) {
        const auto steps = steps_inside(nest, inside, reduction, single);
        if (!steps || steps->share > kMostStepsInside || !index::depends_on(inside.expr, axis)) {
          continue;
        }
        const std::vector<double> along = steps_along(nest, inside, axis, reduction);
        for (size_t point = 0; point < work.size(); ++point) work[point] *= along[point];
      }
    }
  }
  const auto length = static_cast<size_t>(ceil_div(int64_t(work.size()), parts));
  double all = 0, busiest = 0;
  for (size_t first = 0; first < work.size(); first += length) {
    double part = 0;
    for (size_t i = first; i < std::min(first + length, work.size()); ++i) part += work[i];
    all += part;
    busiest = std::max(busiest, part);
  }
  const double even = all * double(std::min(length, work.size())) / double(work.size());
  return even > 0 ? std::max(1.0, busiest / even) : 1;
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
