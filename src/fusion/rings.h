#pragma once
#include "fusion/group_reads.h"

namespace corf::fusion {

/// Adds to a walk, whose stages are placed and counted, the rings between them: in the place of
/// buffers that only the group writes and reads, and, where workers would get in each other's way,
/// beside what other groups read too.
/// Errors: kUnsupported with the stage and the reason if what lies in memory would be written by
/// two workers, or a ring's rows run along the vectors.
Status add_rings(const GroupReads& group, Walk& walk);

}  // namespace corf::fusion
