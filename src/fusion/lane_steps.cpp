#include "fusion/lane_steps.h"

#include <algorithm>

namespace corf::fusion {

bool takes_lane_steps(const Nest& nest, const StorageView& storage, int vector_axis,
                      int reduction_axis) {
  if (!nest.contraction || vector_axis < 0 || nest.axes[vector_axis].reduction) return false;
  if (nest.ops[nest.reduce_op].dtype != DType::kF32) return false;
  if (nest.axes[reduction_axis].extent % kLaneSteps != 0) return false;
  for (const NestAxis& axis : nest.axes) {
    if (axis.in_parts()) return false;  // chunks of it are taken one by one
  }
  int packed = 0;
  for (int number : nest.contraction->factors) {
    const Access& load = nest.loads[number];
    if (storage.root(load.root).dtype != DType::kF32) return false;
    if (is_packed(nest, storage, number, vector_axis)) {
      ++packed;
      if (!index::depends_on(load.address, reduction_axis)) return false;
      continue;
    }
    if (index::depends_on(load.address, vector_axis)) return false;
    if (load.turning && index::depends_on(load.turning->row, reduction_axis)) return false;
    const index::Linear linear = index::to_linear(load.address);
    if (linear.coefficient(reduction_axis) != 1) return false;
    if (index::depends_on(linear.rest, reduction_axis)) return false;
    for (const Access::Guard& guard : load.guards) {
      if (index::depends_on(guard.expr, reduction_axis)) return false;
      if (index::depends_on(guard.expr, vector_axis)) return false;
    }
  }
  return packed == 1;
}

Status check_lane_steps(const Nest& nest, const StorageView& storage,
                        const NestSchedule& schedule) {
  if (schedule.lane_steps == 1) return {};
  auto fault = [](std::string_view what) {
    return make_error(ErrorCode::kInvalidArgument, "the schedule does not fit its nest: {}", what);
  };
  if (schedule.lane_steps != kLaneSteps) return fault("`beside` takes 2 steps");
  if (schedule.matrix != 0 || schedule.prefetch != Prefetch::kNone ||
      !schedule.unrolled_reductions.empty()) {
    return fault("`beside` takes neither `matrix` nor `unroll` nor `prefetch`");
  }
  if (schedule.reduction_order.empty() ||
      !takes_lane_steps(nest, storage, schedule.vector_axis, schedule.reduction_order.back())) {
    return fault(
        "`beside` takes a product of packed constants and of elements that lie side by side along "
        "an innermost reduction axis of even length");
  }
  return {};
}

}  // namespace corf::fusion
