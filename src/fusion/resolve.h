#pragma once
#include <map>
#include <utility>
#include <vector>

#include "fusion/plan.h"

namespace corf::fusion {

/// What walks of one graph's groups have in common. Only for one graph and one plan of its storage.
struct WalkCache {
  WalkCache(const graph::Graph& graph, const StoragePlan& storage);
  /// The stage's nest as build_nest makes it, without rings.
  const Nest& nest_of(const graph::Graph& graph, const StoragePlan& storage, const Stage& stage);

  /// By value: the nodes that read it; whether the graph returns it.
  std::vector<std::vector<graph::NodeId>> readers;
  std::vector<bool> is_output;
  /// By root: the values that lie in it.
  std::vector<std::vector<graph::ValueId>> values_of;
  /// By a stage's first node.
  std::map<graph::NodeId, Nest> nests;
  /// Units of the nest's shared axes, where these dimensions are walked.
  std::map<std::pair<graph::NodeId, std::vector<int>>, std::vector<int64_t>> units;
};

/// Follows the strips of the last stage's output back through the index maps of the stages, and of
/// the views between them. What no later stage reads keeps step with the last one.
/// Errors: kUnsupported with the stage and the reason if a stage does not walk in step: it is read
/// as a whole, its rows come in an order that does not grow, what another group reads would be
/// written twice, or a tile does not fit the strips.
Result<Walk> resolve_walk(const graph::Graph& graph, const StoragePlan& storage,
                          const std::vector<Stage>& stages, const StripSchedule& schedule,
                          WalkCache& cache);

/// The same for one group.
Result<Walk> resolve_walk(const graph::Graph& graph, const StoragePlan& storage,
                          const std::vector<Stage>& stages, const StripSchedule& schedule);

/// Says which axes of the stage's nest, as build_nest made it, the shared loops walk.
void mark_shared_axes(const WalkStage& stage, Nest& nest);

/// Steps of a nest's axis that one strip of one block covers, at most.
int64_t extent_in_strip(const WalkStage& stage, const NestAxis& axis);

/// Tiles of the stages' schedules begin and end where strips and blocks do.
/// Errors: kInvalidArgument.
Status check_strip_tiles(const GroupPlan& group);

}  // namespace corf::fusion
