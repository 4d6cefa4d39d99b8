#pragma once
#include <vector>

#include "fusion/plan.h"

namespace corf::fusion {

/// The canonical nests that carry out a group: one for each stage of a compute group, one for each
/// kernel call of a copy, none for a routine.
std::vector<Nest> group_nests(const graph::Graph& graph, const StoragePlan& storage,
                              const GroupPlan& group);

}  // namespace corf::fusion
