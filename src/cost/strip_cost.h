#pragma once
#include "cost/group_cost.h"

namespace corf::cost {

/// Of a group in strips; `storage`: as the group sees it.
GroupCost strip_cost(const graph::Graph& graph, const fusion::StorageView& storage,
                     const fusion::GroupPlan& group, const Model& model,
                     const fusion::Before& before);

}  // namespace corf::cost
