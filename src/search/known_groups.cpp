#include "search/known_groups.h"

#include <algorithm>

#include "search/choose_strips.h"
#include "support/checked.h"

namespace corf::search {
namespace {

using fusion::GroupPlan;
using fusion::NestSchedule;

std::vector<int64_t> extents_of(const fusion::Nest& nest) {
  std::vector<int64_t> extents;
  for (const auto& axis : nest.axes) extents.push_back(axis.extent);
  return extents;
}

/// Tiles of whole axes fit axes of the same extent only, other tiles all that are as long.
bool fits(const KnownGroup::Stage& known, const fusion::Nest& nest) {
  const std::vector<int64_t> extents = extents_of(nest);
  if (extents.size() != known.extents.size()) return false;
  auto tile_fits = [&](int axis, int64_t tile) {
    return extents[axis] == known.extents[axis] ||
           (tile < known.extents[axis] && tile <= extents[axis]);
  };
  const NestSchedule& schedule = known.schedule;
  if (schedule.vector_axis >= 0 && !tile_fits(schedule.vector_axis, schedule.vector_tile)) {
    return false;
  }
  return std::all_of(schedule.register_tile.begin(), schedule.register_tile.end(),
                     [&](const auto& tiled) { return tile_fits(tiled.axis, tiled.extent); }) &&
         std::all_of(schedule.unrolled_reductions.begin(), schedule.unrolled_reductions.end(),
                     [&](int axis) { return extents[axis] == known.extents[axis]; });
}

/// Each begins anew with its weights: times are not predicted well enough to tell these apart.
int64_t num_tiles(const fusion::Nest& nest, const NestSchedule& schedule) {
  int64_t tiles = 1;
  for (int axis : schedule.parallel_order) {
    tiles *= ceil_div(nest.axes[axis].extent, schedule.tile_extent(axis));
  }
  return tiles;
}

std::optional<TimedGroup> with_strips(StripSearch& search, const KnownGroup& known,
                                      const GroupPlan& joined,
                                      const fusion::StripSchedule& strips) {
  std::vector<NestSchedule> schedules;
  for (const KnownGroup::Stage& stage : known.stages) schedules.push_back(stage.schedule);
  std::optional<TimedGroup> group = with_schedules(search, joined, strips, schedules);
  if (!group) return std::nullopt;
  for (size_t i = 0; i < known.stages.size(); ++i) {
    if (!fits(known.stages[i], group->group.nests[i].nest)) return std::nullopt;
  }
  return group;
}

}  // namespace

std::vector<KnownGroup> known_groups(const graph::Graph& graph, const fusion::FusionPlan& plan) {
  std::vector<KnownGroup> known;
  for (const GroupPlan& group : plan.groups) {
    if (group.kind != fusion::GroupKind::kCompute) continue;
    KnownGroup one;
    one.first = graph.nodes[group.stages.front().nodes.front()].name;
    one.last = graph.nodes[group.stages.back().nodes.front()].name;
    one.num_stages = group.stages.size();
    if (group.walk) {
      one.strips = group.walk->schedule;
      one.rows =
          graph.values[group.stages.back().stored.front()].shape[group.walk->schedule.stream_dim];
    }
    for (const fusion::ScheduledNest& scheduled : group.nests) {
      one.stages.push_back({scheduled.schedule, extents_of(scheduled.nest)});
    }
    known.push_back(std::move(one));
  }
  return known;
}

std::optional<GroupPlan> alone_as(const KnownGroup& known, const GroupPlan& group) {
  if (group.nests.size() != 1 || known.stages.size() != 1) return std::nullopt;
  const fusion::Nest& nest = group.nests[0].nest;
  if (!fits(known.stages[0], nest)) return std::nullopt;
  if (!fusion::check_schedule(nest, known.stages[0].schedule).ok()) return std::nullopt;
  if (num_tiles(nest, known.stages[0].schedule) > num_tiles(nest, group.nests[0].schedule)) {
    return std::nullopt;
  }
  GroupPlan as_known = group;
  as_known.nests[0].schedule = known.stages[0].schedule;
  return as_known;
}

std::optional<TimedGroup> in_strips_as(StripSearch& search, const KnownGroup& known,
                                       const GroupPlan& joined,
                                       const fusion::StripSchedule& found) {
  if (!known.strips) return std::nullopt;
  const Shape& points = search.graph.values[joined.stages.back().stored.front()].shape;
  const int dim = known.strips->stream_dim;
  if (dim < static_cast<int>(points.size()) && known.rows > 0) {
    fusion::StripSchedule strips = *known.strips;
    strips.strip = std::max<int64_t>(1, ceil_div(strips.strip * points[dim], known.rows));
    for (const int64_t length : {strips.strip, known.strips->strip, round_up(strips.strip, 2)}) {
      strips.strip = length;
      if (auto group = with_strips(search, known, joined, strips)) return group;
    }
  }
  return with_strips(search, known, joined, found);
}

}  // namespace corf::search
