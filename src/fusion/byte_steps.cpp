#include "fusion/byte_steps.h"

#include <algorithm>

namespace corf::fusion {

namespace {

/// Whether chunks of an axis are taken one by one.
bool takes_parts(const Nest& nest) {
  return std::any_of(nest.axes.begin(), nest.axes.end(),
                     [](const NestAxis& axis) { return axis.in_parts(); });
}

bool lie_side_by_side(const Nest& nest, const StorageView& storage, const FactorRoles& roles,
                      int vector_axis, int reduction_axis) {
  if (takes_parts(nest)) return false;
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

int byte_axis(const NestSchedule& schedule) {
  if (schedule.byte_steps == 1) return -1;
  const bool in_tile = !schedule.unrolled_reductions.empty();
  return in_tile ? schedule.unrolled_reductions.back() : schedule.reduction_order.back();
}

int64_t window_steps_at_once(const Nest& nest, const StorageView& storage, int vector_axis,
                             int reduction_axis) {
  if (!nest.contraction || nest.contraction->digit_axis >= 0 || vector_axis < 0) return 1;
  if (nest.axes[vector_axis].reduction || nest.axes[reduction_axis].extent == 1) return 1;
  if (takes_parts(nest)) return 1;
  auto [across, along] = nest.contraction->factors;
  if (!is_packed(nest, storage, along, vector_axis)) std::swap(across, along);
  if (!is_packed(nest, storage, along, vector_axis) ||
      is_packed(nest, storage, across, vector_axis)) {
    return 1;
  }
  if (!index::depends_on(nest.loads[along].address, reduction_axis)) return 1;
  const Access& rows = nest.loads[across];
  if (rows.turning && index::depends_on(rows.turning->row, vector_axis)) return 1;
  const index::Linear linear = index::to_linear(rows.address);
  if (linear.coefficient(vector_axis) != 1 || index::depends_on(linear.rest, vector_axis)) return 1;
  const int64_t steps =
      graph::steps_at_once(nest.ops[nest.reduce_op].dtype, storage.root(rows.root).dtype,
                           storage.root(nest.loads[along].root).dtype);
  return steps == kByteSteps ? steps : 1;
}

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
  if (schedule.matrix != 0 || schedule.prefetch != Prefetch::kNone || schedule.lane_steps > 1) {
    return fault("`bytes` takes neither `matrix` nor `beside` nor `prefetch`");
  }
  if (!schedule.unrolled_reductions.empty()) {
    if (window_steps_at_once(nest, storage, schedule.vector_axis, byte_axis(schedule)) !=
        schedule.byte_steps) {
      return fault(
          "`bytes 4` with `unroll` takes a sum of products of rows of u8 and of packed i8, the "
          "vectors along both, the last of the unrolled axes at once");
    }
    return {};
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
