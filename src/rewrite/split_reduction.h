#pragma once
#include <optional>

#include "graph/graph.h"

namespace corf::rewrite {

/// A reduction axis that a map divides, or takes modulo `inner`, and that `inner` divides evenly.
struct ReductionSplit {
  int axis = -1;
  int64_t inner = 1;
};
std::optional<ReductionSplit> find_split(const graph::Compute& compute, const index::IndexMap& map);

/// The same node with the axis in two, the inner one of extent `inner` right after the outer. The
/// order of summation stays. For nodes whose maps read axes alone.
graph::Compute with_split(const graph::Compute& compute, const ReductionSplit& split);
/// A map over the axes before the split as one over those after it.
index::IndexMap with_split(const index::IndexMap& map, const ReductionSplit& split);

}  // namespace corf::rewrite
