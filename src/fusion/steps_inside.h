#pragma once
#include <optional>
#include <vector>

#include "fusion/plan.h"

namespace corf::fusion {

/// How a reduction axis leaves an image: what a dilated window reads beyond the edges is zero.
struct StepsInside {
  int64_t step = 1;  // of the coordinate, for each step of the axis
  int64_t tile = 0;  // that the coordinate moves from the first to the last point of a tile
  double share = 1;  // of the axis's steps that some point of a tile needs, on average
};

/// `inside` is one of an access's `zeros`; `tile`: points of a tile along each axis. nullopt if the
/// coordinate does not grow with the axis, or moves along another reduction too.
std::optional<StepsInside> steps_inside(const Nest& nest, const Access::Guard& inside, int axis,
                                        const std::vector<int64_t>& tile);

/// Steps are left out where this or less of them is needed: a loop whose length is not known costs
/// as much as some of its steps.
constexpr double kMostStepsInside = 0.9;

/// The share of all steps of a sum of products that such loops take.
double share_of_steps(const Nest& nest, const NestSchedule& schedule);

/// How many times as many steps as on average the busiest of `parts` equal parts of a parallel axis
/// takes: of a transposed convolution's phases each has taps of its own.
double busiest_part(const Nest& nest, const NestSchedule& schedule, int axis, int64_t parts);

}  // namespace corf::fusion
