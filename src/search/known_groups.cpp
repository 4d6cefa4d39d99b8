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

/// Whether tiles of the axis are those of fusion::even_tiles.
bool is_even(const fusion::Nest& nest, const NestSchedule& schedule, int axis) {
  return schedule.matrix == 0 && axis != schedule.vector_axis && axis != schedule.block_axis &&
         nest.axes[axis].shared < 0;
}

/// The known schedule for a nest with other extents; nullopt if it makes other tiles there. Tiles
/// of whole axes fit axes of the same extent only, other tiles all that are as long.
std::optional<NestSchedule> adapt(const KnownGroup::Stage& known, const fusion::Nest& nest) {
  const std::vector<int64_t> extents = extents_of(nest);
  if (extents.size() != known.extents.size()) return std::nullopt;
  auto tile_fits = [&](int axis, int64_t tile) {
    return extents[axis] == known.extents[axis] ||
           (tile < known.extents[axis] && tile <= extents[axis]);
  };
  NestSchedule schedule = known.schedule;
  schedule.varying.clear();
  if (schedule.vector_axis >= 0 && !tile_fits(schedule.vector_axis, schedule.vector_tile)) {
    return std::nullopt;
  }
  for (int axis : schedule.unrolled_reductions) {
    if (extents[axis] != known.extents[axis]) return std::nullopt;
  }
  for (auto& [axis, tile] : schedule.register_tile) {
    if (extents[axis] == known.extents[axis]) continue;
    if (!is_even(nest, schedule, axis)) {
      if (!tile_fits(axis, tile)) return std::nullopt;
      continue;
    }
    tile = fusion::even_tiles(known.extents[axis], tile).longer;
    if (tile > extents[axis]) return std::nullopt;
    if (fusion::even_tiles(extents[axis], tile).longer != tile) return std::nullopt;
  }
  return schedule;
}

/// Each begins anew with its weights: times are not predicted well enough to tell these apart, but
/// one in eight more is within what a new shape may lose.
constexpr int64_t kShareOfMoreTiles = 8;
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
  const auto schedule_of = [&](size_t stage, const fusion::Nest& nest) {
    return stage < known.stages.size() ? adapt(known.stages[stage], nest) : std::nullopt;
  };
  return with_schedules(search, joined, strips, schedule_of);
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
  std::optional<NestSchedule> schedule = adapt(known.stages[0], nest);
  if (!schedule || !fusion::check_schedule(nest, *schedule).ok()) return std::nullopt;
  const int64_t own_tiles = num_tiles(nest, group.nests[0].schedule);
  if (num_tiles(nest, *schedule) > own_tiles + own_tiles / kShareOfMoreTiles) return std::nullopt;
  GroupPlan as_known = group;
  as_known.nests[0].schedule = std::move(*schedule);
  return as_known;
}

void mark_varying(const KnownGroup& known, GroupPlan& group) {
  if (group.nests.size() != known.stages.size()) return;
  for (size_t i = 0; i < group.nests.size(); ++i) {
    auto& [nest, schedule] = group.nests[i];
    const std::vector<int64_t>& others = known.stages[i].extents;
    if (others.size() != nest->axes.size()) continue;
    for (const auto& [axis, tile] : schedule.register_tile) {
      if (nest->axes[axis].extent == others[axis] || tile == 1) continue;
      if (!is_even(nest, schedule, axis)) continue;
      auto& varying = schedule.varying;
      if (std::find(varying.begin(), varying.end(), axis) == varying.end()) varying.push_back(axis);
    }
  }
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
