#include "tests/fusion/random_plan.h"

#include <algorithm>

#include "fusion/byte_steps.h"
#include "fusion/check_plan.h"
#include "fusion/lane_steps.h"
#include "fusion/matrix.h"
#include "search/choose_strips.h"
#include "search/find_plan.h"

namespace corf::test {

using fusion::FusionPlan;
using fusion::GroupPlan;
using fusion::NestSchedule;
using fusion::StripSchedule;

namespace {

constexpr int kTriesOfOperators = 6;
constexpr int kTriesOfStrips = 12;
constexpr int kVariations = 6;  // of each stage's schedule
constexpr int64_t kMostTilePoints = 512;

bool is_compute(const GroupPlan& group) {
  return group.kind == fusion::GroupKind::kCompute && !group.walk && !group.nests.empty();
}

int64_t tile_points(const fusion::Nest& nest, const NestSchedule& schedule) {
  int64_t points = schedule.vector_tile * schedule.reduction_unroll;
  for (const auto& tiled : schedule.register_tile) points *= tiled.extent;
  for (int axis : schedule.unrolled_reductions) points *= nest.axes[axis].extent;
  return points;
}

}  // namespace

int64_t RandomPlans::pick(int64_t lo, int64_t hi) {
  return std::uniform_int_distribution<int64_t>(lo, hi)(random_);
}

bool RandomPlans::chance(double probability) {
  return std::bernoulli_distribution(probability)(random_);
}

std::optional<FusionPlan> RandomPlans::make() {
  FusionPlan plan = search::find_unfused_plan(graph_, machine_);
  bool fused = false;
  for (int attempt = 0; attempt < kTriesOfOperators; ++attempt) {
    const auto n = static_cast<int64_t>(plan.groups.size());
    if (n < 2) break;
    size_t first = static_cast<size_t>(pick(0, n - 2)), end = static_cast<size_t>(n);
    if (attempt == 0) first = 0;
    if (attempt > 1) end = static_cast<size_t>(pick(static_cast<int64_t>(first) + 2, n));
    // The longest run of operators from `first` on.
    size_t last = first;
    while (last < end && is_compute(plan.groups[last])) ++last;
    if (last < first + 2) continue;
    auto group = fuse(plan, first, last);
    if (!group) continue;
    const auto begin = plan.groups.begin() + static_cast<int64_t>(first);
    plan.groups.erase(begin + 1, plan.groups.begin() + static_cast<int64_t>(last));
    plan.groups[first] = std::move(*group);
    fused = true;
    if (chance(0.5)) break;
  }
  if (!fused) return std::nullopt;
  return plan;
}

StripSchedule RandomPlans::random_strips(const GroupPlan& group) {
  const auto points_of = [&](const fusion::Stage& stage) -> const Shape& {
    return graph_.values[stage.stored[0]].shape;
  };
  const Shape& points = points_of(group.stages.back());
  StripSchedule strips;
  std::vector<int> dims;
  for (int d = 0; d < static_cast<int>(points.size()); ++d) {
    if (points[d] > 1) dims.push_back(d);
  }
  std::shuffle(dims.begin(), dims.end(), random_);
  if (dims.empty()) dims.push_back(0);
  strips.stream_dim = dims.back();
  dims.pop_back();
  const int64_t rows = points[strips.stream_dim];
  strips.strip = chance(0.3) ? pick(1, rows + 1) : pick(1, std::min<int64_t>(rows, 4));
  for (int dim : dims) {
    if (!chance(0.3)) continue;
    strips.outer.push_back({dim, chance(0.4) ? 1 : pick(1, points[dim] + 1)});
  }
  if (chance(0.5)) {
    // Some axis of the last stage; one that is no reduction's is refused.
    const auto rank = static_cast<int64_t>(points.size());
    strips.scatter = StripSchedule::Scatter{static_cast<int>(pick(rank, rank + 2)), pick(1, 9)};
  }
  for (size_t s = 1; s < group.stages.size() && chance(0.6); ++s) {
    if (!chance(0.6)) continue;
    const auto rank = static_cast<int64_t>(points_of(group.stages[s]).size());
    strips.row_scatters.push_back(
        {static_cast<int>(s), static_cast<int>(rank + (chance(0.7) ? 1 : pick(0, 2)))});
  }
  strips.partition_loop = static_cast<int>(pick(0, static_cast<int64_t>(strips.outer.size())));
  strips.partitions = pick(1, 5);
  if (variety_.partitions > 0) strips.partitions = variety_.partitions;
  return strips;
}

std::optional<GroupPlan> RandomPlans::fuse(const FusionPlan& plan, size_t first, size_t end) {
  GroupPlan joined;
  for (size_t i = first; i < end; ++i) joined.stages.push_back(plan.groups[i].stages[0]);
  // A number has no rows.
  if (graph_.values[joined.stages.back().stored[0]].shape.empty()) return std::nullopt;
  for (int attempt = 0; attempt < kTriesOfStrips; ++attempt) {
    GroupPlan group = joined;
    auto walk = fusion::resolve_walk(graph_, plan.storage, group.stages, random_strips(group));
    if (!walk) {
      if (walk.error().code != ErrorCode::kUnsupported || walk.error().message.empty()) {
        ++faults_;
      }
      continue;
    }
    if (walk->rings.empty()) continue;
    group.walk = walk.take();
    fusion::WalkCache walks(graph_, plan.storage);
    search::StageSchedules schedules(graph_, plan.storage, machine_, walks);
    if (!search::schedule_stages(schedules, group)) {
      if (fusion::check_strip_tiles(group)) ++faults_;
      continue;
    }
    if (variety_.vary_tiles) vary(group, plan.storage);
    return group;
  }
  return std::nullopt;
}

void RandomPlans::vary(GroupPlan& group, const fusion::StoragePlan& storage) {
  const fusion::StorageView view(storage, group.walk);
  for (fusion::ScheduledNest& scheduled : group.nests) {
    if (chance(0.3)) continue;
    for (int i = 0; i < kVariations; ++i) {
      NestSchedule before = scheduled.schedule;
      const bool matrix = machine_.has_matrix_unit() && chance(0.5);
      scheduled.schedule =
          matrix ? for_matrix_unit(scheduled.nest, before) : varied(scheduled.nest, before);
      const bool legal =
          fusion::check_nest_schedule(scheduled.nest, view, scheduled.schedule).ok() &&
          fusion::check_strip_tiles(group).ok();
      if (!legal || tile_points(scheduled.nest, scheduled.schedule) > kMostTilePoints) {
        scheduled.schedule = std::move(before);
      }
    }
  }
}

/// Legal where the nest is a product and the order happens to be right.
NestSchedule RandomPlans::for_matrix_unit(const fusion::Nest& nest, NestSchedule schedule) {
  schedule.matrix = chance(0.5) ? 1024 : 32;
  schedule.prefetch = chance(0.5) ? fusion::Prefetch::kNone : fusion::Prefetch::kPanel;
  auto& loops = schedule.reduction_order;
  loops.insert(loops.end(), schedule.unrolled_reductions.begin(),
               schedule.unrolled_reductions.end());
  schedule.unrolled_reductions.clear();
  if (schedule.vector_axis < 0) return schedule;
  const int64_t extent = nest.axes[schedule.vector_axis].extent;
  schedule.vector_tile = std::min(extent, chance(0.5) ? int64_t{16} : int64_t{32});
  auto& order = schedule.parallel_order;
  if (chance(0.7)) std::shuffle(order.begin(), order.end(), random_);
  schedule.block_axis = chance(0.5) ? -1 : order.back();
  schedule.block_tiles = schedule.block_axis < 0 ? 0 : pick(1, 4);
  return schedule;
}

/// One change, legal or not.
NestSchedule RandomPlans::varied(const fusion::Nest& nest, NestSchedule schedule) {
  auto random_axis = [&] {
    return static_cast<int>(pick(0, static_cast<int64_t>(nest.axes.size()) - 1));
  };
  switch (pick(0, 11)) {
    case 0:
      std::shuffle(schedule.parallel_order.begin(), schedule.parallel_order.end(), random_);
      break;
    case 1:
      std::shuffle(schedule.reduction_order.begin(), schedule.reduction_order.end(), random_);
      break;
    case 2:
      schedule.vector_tile = chance(0.5) ? pick(1, 40) : 8 * pick(1, 4);
      break;
    case 3:
      schedule.reduction_unroll = static_cast<int>(pick(1, 4));
      break;
    case 4: {
      const int axis = random_axis();
      auto& tile = schedule.register_tile;
      std::erase_if(tile, [&](const auto& tiled) { return tiled.axis == axis; });
      if (chance(0.8)) tile.push_back({axis, pick(1, 5)});
      break;
    }
    case 5: {
      const int axis = random_axis();
      auto &loops = schedule.reduction_order, &unrolled = schedule.unrolled_reductions;
      if (std::erase(loops, axis) > 0) {
        unrolled.push_back(axis);
      } else if (std::erase(unrolled, axis) > 0) {
        loops.push_back(axis);
      }
      break;
    }
    case 6:
      schedule.block_axis = chance(0.3) ? -1 : random_axis();
      schedule.block_tiles = schedule.block_axis < 0 ? 0 : pick(1, 4);
      break;
    case 7:
      schedule.vector_axis = chance(0.2) ? -1 : random_axis();
      schedule.vector_tile = schedule.vector_axis < 0 ? 1 : pick(1, 24);
      break;
    case 8:
      schedule.lane_steps = chance(0.2) ? 1 : fusion::kLaneSteps;
      schedule.prefetch = fusion::Prefetch::kNone;
      break;
    case 9:
      schedule.byte_steps = chance(0.3) ? 1 : fusion::kByteSteps;
      break;
    case 10:
      schedule.partition_axis = chance(0.3) ? -1 : random_axis();
      break;
    default:
      schedule.prefetch = static_cast<fusion::Prefetch>(pick(0, 2));
      break;
  }
  return schedule;
}

}  // namespace corf::test
