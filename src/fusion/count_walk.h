#pragma once
#include "fusion/group_reads.h"

namespace corf::fusion {

/// The walk with strips of so many rows, and with the rings that these need.
/// `placed`: of the same group (fusion/place_walk.h). Errors: as resolve_walk.
Result<Walk> count_walk(const GroupReads& group, Walk placed, int64_t strip);

}  // namespace corf::fusion
