#pragma once
#include <vector>

#include "fusion/plan.h"
#include "target/machine.h"

namespace corf::search {

/// The axis that vectors run along, the register tile and what of the reduction lies inside of it.
/// `granules`: of each axis, what the extent of a tile must divide, or 0.
void choose_tile(const fusion::Nest& nest, const fusion::StorageView& storage,
                 const Machine& machine, const std::vector<int64_t>& granules,
                 fusion::NestSchedule& schedule);

}  // namespace corf::search
