#pragma once
#include <optional>

#include "fusion/plan.h"
#include "target/machine.h"

namespace corf::search {

/// The schedule that the analytic model thinks fastest for one canonical nest: vector axis,
/// register tile, loop order, cache block and split among workers. Source: design section 3 "One
/// microkernel generator", section 4. `split_axis`: the axis to share out among the workers, if it
/// has enough tiles for that; nullopt leaves the choice open.
fusion::NestSchedule choose_schedule(const fusion::Nest& nest, const fusion::StorageView& storage,
                                     const Machine& machine,
                                     std::optional<int> split_axis = std::nullopt);

/// The same for a stage of a group with strips, on one worker. `extents`: of each axis, what one
/// strip covers; `granules`: of each axis, what the extent of a tile must divide, or 0.
fusion::NestSchedule choose_stage_schedule(const fusion::Nest& nest,
                                           const fusion::StorageView& storage,
                                           const Machine& machine,
                                           const std::vector<int64_t>& extents,
                                           const std::vector<int64_t>& granules);

}  // namespace corf::search
