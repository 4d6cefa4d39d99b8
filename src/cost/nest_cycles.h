#pragma once
#include <vector>

#include "fusion/plan.h"
#include "target/machine.h"

namespace corf::cost {

/// Cycles of one worker that walks the whole nest with `extents` points along its axes: of the
/// instructions, whatever memory the operands come from.
double nest_cycles(const fusion::StoragePlan& storage, const fusion::Nest& nest,
                   const fusion::NestSchedule& schedule, std::vector<int64_t> extents,
                   const Machine& machine);

}  // namespace corf::cost
