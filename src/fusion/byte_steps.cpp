#include "fusion/byte_steps.h"

#include <algorithm>

namespace corf::fusion {

namespace {

bool lie_side_by_side(const Nest& nest, const StorageView& storage, const FactorRoles& roles,
                      int vector_axis, int reduction_axis) {
  for (const NestAxis& axis : nest.axes) {
    if (axis.in_parts()) return false;  // chunks of it are taken one by one
  }
  const Access &along = nest.loads[roles.along], &across = nest.loads[roles.across];
  if (!is_packed(nest, storage, roles.along, vector_axis)) return false;
  if (!index::depends_on(along.address, reduction_axis)) return false;
  if (across.turning && index::depends_on(across.turning->row, reduction_axis)) return false;
  const index::Linear linear = index::to_linear(across.address);
  if (linear.coefficient(reduction_axis) != 1) return false;
  if (index::depends_on(linear.rest, reduction_axis)) return false;
  return std::none_of(across.guards.begin(), across.guards.end(), [&](const Access::Guard& guard) {
    return index::depends_on(guard.expr, reduction_axis);
  });
}

}  // namespace

int64_t steps_at_once(const Nest& nest, const StorageView& storage, int vector_axis,
                      int reduction_axis) {
  const auto roles = factor_roles(nest, vector_axis);
  if (!roles || nest.axes[vector_axis].reduction) return 1;
  const int64_t steps = graph::steps_at_once(nest.ops[nest.reduce_op].dtype,
                                             storage.root(nest.loads[roles->across].root).dtype,
                                             storage.root(nest.loads[roles->along].root).dtype);
  if (nest.axes[reduction_axis].extent % steps != 0) return 1;
  return lie_side_by_side(nest, storage, *roles, vector_axis, reduction_axis) ? steps : 1;
}

Status check_byte_steps(const Nest& nest, const StorageView& storage,
                        const NestSchedule& schedule) {
  if (schedule.byte_steps == 1) return {};
  auto fault = [](std::string_view what) {
    return make_error(ErrorCode::kInvalidArgument, "the schedule does not fit its nest: {}", what);
  };
  if (schedule.matrix != 0 || schedule.prefetch != Prefetch::kNone || schedule.lane_steps > 1 ||
      !schedule.unrolled_reductions.empty()) {
    return fault("`bytes` takes neither `matrix` nor `beside` nor `unroll` nor `prefetch`");
  }
  if (schedule.reduction_order.empty() ||
      steps_at_once(nest, storage, schedule.vector_axis, schedule.reduction_order.back()) !=
          schedule.byte_steps) {
    return fault(
        "`bytes 4` takes a sum of products of u8 that lie side by side along an innermost "
        "reduction axis of a multiple of 4 steps, and of packed i8; `bytes 2` likewise of bf16");
  }
  return {};
}

}  // namespace corf::fusion
