#pragma once
#include "fusion/plan.h"
#include "target/machine.h"

namespace corf::search {

/// For a schedule with its register tile: order of the loops, a cache block, split among workers,
/// prefetching of packed operands.
void choose_loops(const fusion::Nest& nest, const fusion::StoragePlan& storage,
                  const Machine& machine, fusion::NestSchedule& schedule);

}  // namespace corf::search
