#include "search/stage_schedules.h"

#include "search/choose_schedule.h"

namespace corf::search {

using fusion::GroupPlan;
using fusion::Nest;
using fusion::WalkRing;
using fusion::WalkStage;

/// All that the stage's nest follows from: its operators, the loops that walk it, and where rings
/// lie that it reads or writes.
StageSchedules::Key StageSchedules::key_of(const GroupPlan& group, size_t stage) {
  const WalkStage& walked = group.walk->stages[stage];
  Key key = {group.stages[stage].nodes[0], walked.stream_dim};
  for (size_t i = 0; i < walked.outer_dims.size(); ++i) {
    key.insert(key.end(), {walked.outer_dims[i], walked.outer_blocks[i]});
  }
  if (walked.partial) key.insert(key.end(), {-1, walked.partial->axis});
  auto add = [&](graph::ValueId value) {
    const WalkRing* ring = group.walk->ring_of(value);
    key.push_back(ring ? value : -1);
    if (!ring) return;
    const fusion::Storage& place = *ring->place_of(value);
    const Shape& shape = graph_.values[value].shape;
    key.insert(key.end(), {place.root, place.offset, place.turning_dim});
    for (size_t d = 0; d < shape.size(); ++d) key.push_back(shape[d] > 1 ? place.strides[d] : 0);
  };
  const Nest& plain = walks_.nest_of(graph_, storage_, group.stages[stage]);
  for (const fusion::Access& load : plain.loads) add(load.value);
  for (const Nest::Store& store : plain.stores) add(store.access.value);
  return key;
}

const fusion::SharedNest& StageSchedules::nest_of(const GroupPlan& group, size_t stage,
                                                  const Key& key) {
  auto [at, fresh] = nests_.try_emplace(key);
  if (fresh) {
    const fusion::Stage& own = group.stages[stage];
    Nest nest = fusion::build_nest(graph_, fusion::StorageView(storage_, group.walk), own.nodes,
                                   own.stored);
    fusion::mark_shared_axes(group.walk->stages[stage], nest);
    at->second = fusion::canonicalize(std::move(nest));
  }
  return at->second;
}

const fusion::ScheduledNest& StageSchedules::of(const GroupPlan& group, size_t stage) {
  Key key = key_of(group, stage);
  const fusion::SharedNest& nest = nest_of(group, stage, key);
  const WalkStage& walked = group.walk->stages[stage];
  std::vector<int64_t> extents, granules;
  for (const fusion::NestAxis& axis : nest->axes) {
    extents.push_back(fusion::extent_in_strip(walked, axis));
    const bool is_stream = axis.shared == group.walk->stream_loop();
    const bool in_blocks = axis.block > 0 && extents.back() < axis.extent;
    granules.push_back(is_stream ? walked.granule / walked.unit : in_blocks ? extents.back() : 0);
  }
  const fusion::StorageView storage(storage_, group.walk);
  for (const fusion::Access& load : nest->loads) key.push_back(fusion::turns(load, storage));
  for (const Nest::Store& store : nest->stores) {
    key.push_back(fusion::turns(store.access, storage));
  }
  key.insert(key.end(), extents.begin(), extents.end());
  key.insert(key.end(), granules.begin(), granules.end());
  auto [at, fresh] = schedules_.try_emplace(std::move(key));
  if (fresh) {
    at->second.nest = nest;
    at->second.schedule = choose_stage_schedule(nest, storage, machine_, extents, granules);
  }
  return at->second;
}

}  // namespace corf::search
