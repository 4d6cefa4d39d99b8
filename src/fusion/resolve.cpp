#include "fusion/resolve.h"

#include <algorithm>
#include <utility>

#include "fusion/count_walk.h"
#include "fusion/place_walk.h"
#include "support/checked.h"

namespace corf::fusion {

using graph::Graph;
using graph::ValueId;

void mark_shared_axes(const WalkStage& stage, Nest& nest) {
  int loop = 0;
  for (int dim : stage.outer_dims) {
    nest.axes[dim].block = stage.outer_blocks[loop];
    nest.axes[dim].shared = loop++;
  }
  nest.axes[stage.stream_dim].shared = loop;
  if (stage.partial) nest.axes[stage.partial->axis].block = 1;
}

WalkCache::WalkCache(const Graph& graph, const StoragePlan& storage)
    : readers(graph::consumers(graph)), is_output(graph.values.size(), false) {
  for (ValueId output : graph.outputs) is_output[output] = true;
  values_of.resize(storage.roots.size());
  for (size_t value = 0; value < storage.values.size(); ++value) {
    const int root = storage.values[value].root;
    if (root >= 0) values_of[root].push_back(static_cast<ValueId>(value));
  }
}

const Nest& WalkCache::nest_of(const Graph& graph, const StoragePlan& storage, const Stage& stage) {
  auto [it, fresh] = nests.try_emplace(stage.nodes[0]);
  if (fresh) it->second = build_nest(graph, storage, stage.nodes, stage.stored);
  return it->second;
}

Result<Walk> resolve_walk(const Graph& graph, const StoragePlan& storage,
                          const std::vector<Stage>& stages, const StripSchedule& schedule,
                          WalkCache& cache) {
  GroupReads group(graph, storage, stages, cache);
  CORF_RETURN_IF_ERROR(group.find());
  CORF_ASSIGN(Walk placed, place_walk(group, schedule));
  return count_walk(group, std::move(placed), schedule.strip);
}

Result<Walk> resolve_walk(const Graph& graph, const StoragePlan& storage,
                          const std::vector<Stage>& stages, const StripSchedule& schedule) {
  WalkCache cache(graph, storage);
  return resolve_walk(graph, storage, stages, schedule, cache);
}

int64_t extent_in_strip(const WalkStage& stage, const NestAxis& axis) {
  if (axis.shared < static_cast<int>(stage.outer_dims.size())) return axis.most_steps();
  return std::max<int64_t>(1, corf::ceil_div(stage.rows_in_strip, stage.unit));
}

}  // namespace corf::fusion
