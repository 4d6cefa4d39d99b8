#pragma once
#include "fusion/group_reads.h"

namespace corf::fusion {

/// Points of a block or strip, at most: sums of the analysis could overflow beyond.
constexpr int64_t kMostStripPoints = int64_t{1} << 31;

/// How the stages walk in step, with all rings that they may need: all of the walk but what follows
/// from the length of its strips. Errors: as resolve_walk.
Result<Walk> place_walk(const GroupReads& group, const StripSchedule& schedule);

}  // namespace corf::fusion
