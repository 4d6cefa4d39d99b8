#pragma once
#include "cost/model.h"
#include "fusion/plan.h"
#include "fusion/resolve.h"
#include "fusion/split_span.h"

namespace corf::cost {

/// Where a group's time goes on its slowest worker, in cycles of that worker.
struct GroupCost {
  double compute = 0;   // instructions of the tiles
  double streamed = 0;  // weights: read ahead, while the tiles compute
  double waited = 0;    // of which the operator that reads them has too little to compute meanwhile
  double memory = 0;    // activations: bytes over the bandwidth of the level that they come from
  double remote = 0;    // activations that other workers have written
  double barrier = 0;
  /// A part of what activations and weights cost hides behind the arithmetic.
  double total(const Coefficients& k = {}) const;
};

/// Analytic prediction for a group whose nests have schedules.
/// `before`: how the workers shared out the values that the group reads, if that is known, and
/// whether a barrier stands in front of it.
/// Compute: instruction slots of every tile, tails included. Memory: each operand once, rings and
/// what a strip reads again from the level that holds them.
/// Source: design section 4 "Group level".
GroupCost predict(const graph::Graph& graph, const fusion::StoragePlan& storage,
                  const fusion::GroupPlan& group, const Model& model,
                  const fusion::Before& before = {});

}  // namespace corf::cost
