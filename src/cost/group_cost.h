#pragma once
#include "fusion/plan.h"
#include "fusion/strips.h"
#include "target/machine.h"

namespace corf::cost {

/// Where a group's time goes on its slowest worker, in cycles of that worker.
struct GroupCost {
  double compute = 0;   // instructions of the tiles
  double streamed = 0;  // weights: read ahead, while the tiles compute
  double memory = 0;    // activations: bytes over the bandwidth of the level that they come from
  double barrier = 0;
  /// Half of what activations cost hides behind the arithmetic.
  double total() const;
};

/// Analytic prediction for a group whose nests have schedules. `strips`: of a group that has them.
/// Compute: instruction slots of every tile, tails included. Memory: each operand once, rings and
/// what a strip reads again from the level that holds them.
/// Source: design section 4 "Group level".
GroupCost predict(const graph::Graph& graph, const fusion::StoragePlan& storage,
                  const fusion::FusionGroup& group, const fusion::StripAnalysis* strips,
                  const Machine& machine);

}  // namespace corf::cost
