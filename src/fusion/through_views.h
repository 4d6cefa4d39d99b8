#pragma once
#include <vector>

#include "fusion/storage.h"
#include "index/expr.h"

namespace corf::fusion {

/// What a read of a value at some coordinates takes of another one.
struct PartRead {
  graph::ValueId value = -1;
  std::vector<index::Expr> coordinates;  // one of another part may lie outside of the value
};

/// The values that a read of `value` looks at through views that are not copied, down to what is
/// no such view: of a concatenation each part that it reaches. `ranges`: of the variables.
std::vector<PartRead> through_views(const graph::Graph& graph, const StoragePlan& storage,
                                    graph::ValueId value, std::vector<index::Expr> coordinates,
                                    const std::vector<index::Interval>& ranges);

/// Whether the value is another look at the storage of the node's inputs.
bool is_view_in_place(const graph::Graph& graph, const StoragePlan& storage, graph::NodeId node);

}  // namespace corf::fusion
