#pragma once
#include <optional>

#include "fusion/plan.h"
#include "target/machine.h"

namespace corf::search {

/// For a schedule with its register tile: order of the loops, a cache block, split among workers,
/// prefetching of packed operands. `split_axis`: which axis to share out, if it has enough tiles;
/// nullopt leaves the choice open.
void choose_loops(const fusion::Nest& nest, const fusion::StorageView& storage,
                  const Machine& machine, std::optional<int> split_axis,
                  fusion::NestSchedule& schedule);

}  // namespace corf::search
