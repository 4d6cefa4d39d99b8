#pragma once
#include "fusion/plan.h"

namespace corf::fusion {

/// How many steps of a reduction a vector may take at once.
constexpr int64_t kLaneSteps = 2;

/// Whether vectors along `vector_axis` may hold kLaneSteps steps of `reduction_axis` side by side:
/// in an f32 contraction of a packed constant and of a factor whose neighbours along
/// `reduction_axis` are neighbours in memory, all of them there. One broadcast of such neighbours
/// then serves whole vectors of the packed factor, where as many lanes as it has would not fill
/// them.
bool takes_lane_steps(const Nest& nest, const StorageView& storage, int vector_axis,
                      int reduction_axis);

/// A schedule with lane steps fits its nest. Errors: kInvalidArgument.
Status check_lane_steps(const Nest& nest, const StorageView& storage, const NestSchedule& schedule);

}  // namespace corf::fusion
