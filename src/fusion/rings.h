#pragma once
#include "fusion/group_reads.h"
#include "fusion/walk_rows.h"

namespace corf::fusion {

/// Rings between stages that are placed: in the place of buffers that only the group writes and
/// reads, and, perhaps (settle_rings), beside what other groups read too. Without their rows.
std::vector<WalkRing> possible_rings(const GroupReads& group, const Walk& placed);

/// Takes in what the ring holds in one strip. `is_last`: the partition has no other behind it.
void count_ring(const Walk& walk, const std::vector<StageRows>& rows, bool is_last, WalkRing& ring);

/// Keeps those of the walk's rings that it needs, and lays them out. Their rows, and those of the
/// stages, are counted.
/// Errors: kUnsupported with the stage and the reason if what lies in memory would be written by
/// two workers, or a ring's rows run along the vectors.
Status settle_rings(const GroupReads& group, Walk& walk);

}  // namespace corf::fusion
