#pragma once
#include <vector>

#include "fusion/plan.h"
#include "fusion/strips.h"

namespace corf::fusion {

/// The canonical nests that carry out a group: one for each stage of a compute group, one for each
/// kernel call of a copy, none for a routine. `strips`: of a group that has them.
std::vector<Nest> group_nests(const graph::Graph& graph, const StoragePlan& storage,
                              const FusionGroup& group, const StripAnalysis* strips);

}  // namespace corf::fusion
