#include "fusion/resolve.h"

namespace corf::fusion {

Status check_strip_tiles(const GroupPlan& group) {
  const Walk& walk = *group.walk;
  for (size_t s = 0; s < group.nests.size(); ++s) {
    const auto& [nest, schedule] = group.nests[s];
    auto fault = [&](int axis) {
      return make_error(ErrorCode::kInvalidArgument,
                        "tiles along '{}' do not begin and end where the strips do",
                        nest->axes[axis].name);
    };
    if (schedule.partitions != 1 || schedule.partition_axis >= 0) {
      return make_error(ErrorCode::kInvalidArgument, "a stage of a strip is not split by itself");
    }
    auto fits = [&](int axis, int64_t tile) {
      const NestAxis& walked = nest->axes[axis];
      if (walked.shared < 0 || tile == 1) return true;
      if (walked.shared < static_cast<int>(walk.stages[s].outer_dims.size())) {
        const int64_t block = walk.stages[s].outer_blocks[walked.shared];
        return block % (tile * walked.unit) == 0 || block >= walked.extent * walked.unit;
      }
      return walk.stages[s].granule % (tile * walked.unit) == 0;
    };
    for (int axis : schedule.reduction_order) {
      if (schedule.matrix != 0 && nest->axes[axis].in_parts()) return fault(axis);
    }
    const int v = schedule.vector_axis;
    const bool scattered = v >= 0 && nest->axes[v].in_parts();
    if (scattered || (v >= 0 && !fits(v, schedule.vector_tile))) return fault(v);
    for (const auto& tiled : schedule.register_tile) {
      if (!fits(tiled.axis, tiled.extent)) return fault(tiled.axis);
    }
    for (int axis : schedule.unrolled_reductions) {
      if (nest->axes[axis].in_parts()) return fault(axis);
    }
    const int b = schedule.block_axis;
    if (b >= 0 && nest->axes[b].shared >= 0) return fault(b);
  }
  return {};
}

}  // namespace corf::fusion
