#pragma once
#include <vector>

#include "fusion/plan.h"
#include "target/machine.h"

namespace corf::search {

/// The register tile of a depthwise convolution or a pool whose vector axis is chosen. `granules`:
/// as for choose_tile.
void tile_window(const fusion::Nest& nest, const fusion::StorageView& storage,
                 const Machine& machine, const std::vector<int64_t>& granules,
                 fusion::NestSchedule& schedule);

}  // namespace corf::search
