#pragma once
#include "fusion/plan.h"
#include "target/machine.h"

namespace corf::search {

/// The schedule that the analytic model thinks fastest for one canonical nest: vector axis,
/// register tile, loop order, cache block and split among workers. Source: design section 3 "One
/// microkernel generator", section 4.
fusion::NestSchedule choose_schedule(const fusion::Nest& nest, const fusion::StoragePlan& storage,
                                     const Machine& machine);

}  // namespace corf::search
