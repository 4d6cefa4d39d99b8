#include "fusion/plan.h"

#include <algorithm>
#include <fmt/format.h>

#include "support/checked.h"

namespace corf::fusion {

std::string_view to_string(const LinkStrategy& strategy) {
  struct Name {
    std::string_view operator()(const Inline&) const { return "inline"; }
    std::string_view operator()(const Stream&) const { return "stream"; }
    std::string_view operator()(const Recompute&) const { return "recompute"; }
    std::string_view operator()(const Scatter&) const { return "scatter"; }
    std::string_view operator()(const ScatterRows&) const { return "scatter"; }
    std::string_view operator()(const Materialise&) const { return "materialise"; }
  };
  return std::visit(Name{}, strategy);
}

std::string describe_ring(const LinkStrategy& strategy) {
  struct Words {
    std::string operator()(const Inline&) const { return ""; }
    static std::string_view stored(bool also) { return also ? ", stored as well" : ""; }
    std::string operator()(const Stream& ring) const {
      return fmt::format("ring of {} rows{}", ring.rows, stored(ring.stored));
    }
    std::string operator()(const Recompute& ring) const {
      return fmt::format("ring of {} rows, those at seams made by both sides{}", ring.rows,
                         stored(ring.stored));
    }
    std::string operator()(const Scatter& ring) const {
      return fmt::format(
          "ring of {} rows, {} channels at a time, added to partial results {} times", ring.rows,
          ring.channels, ring.chunks);
    }
    std::string operator()(const ScatterRows& ring) const {
      return fmt::format("ring of {} rows, each added to partial results of {} rows in {} steps{}",
                         ring.rows, ring.partial_rows, ring.taps, stored(ring.stored));
    }
    std::string operator()(const Materialise&) const { return ""; }
  };
  return std::visit(Words{}, strategy);
}

namespace {

/// How stage `reader` of the group gets the ring's value.
LinkStrategy ring_strategy(const Walk& walk, const WalkRing& ring, size_t reader) {
  const WalkStage& consumer = walk.stages[reader];
  const bool scatters =
      std::any_of(walk.reads.begin(), walk.reads.end(), [&](const WalkRead& read) {
        return read.scattered && read.consumer == static_cast<int>(reader) &&
               std::count(ring.produced.begin(), ring.produced.end(), read.value) > 0;
      });
  if (scatters) {
    return ScatterRows{ring.rows, consumer.partial->rows, consumer.partial->taps.count,
                       ring.stored};
  }
  const bool overlaps = std::any_of(ring.stages.begin(), ring.stages.end(),
                                    [&](int s) { return walk.stages[s].overlaps; });
  if (walk.schedule.scatter && reader + 1 == walk.stages.size()) {
    return Scatter{ring.rows, walk.stages[ring.stages[0]].outer_blocks.back(), walk.num_chunks};
  }
  if (overlaps && walk.schedule.partitions > 1) return Recompute{ring.rows, ring.stored};
  return Stream{ring.rows, ring.stored};
}

/// The value, or what it looks at through views: of a concatenation each part.
void collect_sources(const graph::Graph& graph, graph::ValueId value,
                     std::vector<graph::ValueId>& sources) {
  const graph::Node& node = graph.nodes[graph.values[value].producer];
  if (!std::holds_alternative<graph::View>(node.op)) {
    sources.push_back(value);
    return;
  }
  for (const graph::ValueId input : node.inputs) collect_sources(graph, input, sources);
}

}  // namespace

std::vector<Link> links_of(const graph::Graph& graph, const GroupPlan& group) {
  std::vector<Link> links;
  for (size_t s = 0; s < group.stages.size(); ++s) {
    const std::vector<graph::NodeId>& nodes = group.stages[s].nodes;
    for (const graph::NodeId consumer : nodes) {
      for (const graph::ValueId value : graph.nodes[consumer].inputs) {
        const graph::NodeId producer = graph.values[value].producer;
        const graph::Op& op = graph.nodes[producer].op;
        if (std::holds_alternative<graph::Constant>(op) || std::holds_alternative<graph::Input>(op))
          continue;
        Link link{value, producer, consumer};
        const WalkRing* ring = group.walk ? group.walk->ring_of(value) : nullptr;
        if (std::count(nodes.begin(), nodes.end(), producer) > 0) {
          link.strategy = Inline{};
        } else if (ring) {
          link.strategy = ring_strategy(*group.walk, *ring, s);
          std::vector<graph::ValueId> sources;
          collect_sources(graph, value, sources);
          for (const graph::ValueId source : sources) {
            links.push_back({source, graph.values[source].producer, consumer, link.strategy});
          }
          continue;
        }
        links.push_back(std::move(link));
      }
    }
  }
  return links;
}

std::vector<graph::NodeId> GroupPlan::nodes() const {
  std::vector<graph::NodeId> all;
  for (const Stage& stage : stages) all.insert(all.end(), stage.nodes.begin(), stage.nodes.end());
  return all;
}

std::string_view to_string(Prefetch prefetch) {
  switch (prefetch) {
    case Prefetch::kNone:
      return "none";
    case Prefetch::kPanel:
      return "panel";
    case Prefetch::kAhead:
      return "ahead";
  }
  return "";
}

int64_t NestSchedule::tile_extent(int axis) const {
  if (axis == vector_axis) return vector_tile;
  for (const TiledAxis& tiled : register_tile) {
    if (tiled.axis == axis) return tiled.extent;
  }
  return 1;
}

EvenTiles even_tiles(int64_t extent, int64_t tile) {
  const int64_t tiles = ceil_div(extent, tile), shorter = extent / tiles, rest = extent % tiles;
  if (shorter == tile) return {tile, tiles, 0};
  return {shorter + 1, rest, tiles - rest};
}

namespace {

Error misfit(std::string_view what) {
  return make_error(ErrorCode::kInvalidArgument, "the schedule does not fit its nest: {}", what);
}

/// Each axis stands where its kind belongs, once.
Status check_orders(const Nest& nest, const NestSchedule& schedule) {
  const int n = static_cast<int>(nest.axes.size());
  std::vector<int> parallel(n, 0), reduced(n, 0);
  for (int axis : schedule.parallel_order) ++parallel[axis];
  for (int axis : schedule.reduction_order) ++reduced[axis];
  for (int axis : schedule.unrolled_reductions) ++reduced[axis];
  for (int axis = 0; axis < n; ++axis) {
    const bool reduction = nest.axes[axis].reduction;
    if (parallel[axis] != !reduction || reduced[axis] != reduction) {
      return misfit(
          "each parallel axis must stand once in `order`, each reduction axis once in "
          "`unroll` or `reduce`");
    }
  }
  return {};
}

/// What a kernel's code can hold. Each factor is bounded before it is multiplied.
Status check_tile(const Nest& nest, const NestSchedule& schedule) {
  constexpr int64_t kMostPoints = 65536, kMostExtent = 4096;
  constexpr int64_t kMostCount = int64_t{1} << 31, kMostPartitions = 65536;
  if (schedule.vector_tile < 1 || schedule.reduction_unroll < 1 || schedule.partitions < 1 ||
      schedule.lane_steps < 1 || schedule.byte_steps < 1) {
    return misfit("extents and counts must be positive");
  }
  if (schedule.partitions > kMostPartitions || schedule.block_tiles > kMostCount) {
    return misfit("a count is too large");
  }
  if (schedule.vector_tile > kMostPoints || schedule.reduction_unroll > kMostExtent) {
    return misfit("a tile is too large");
  }
  int64_t points = schedule.vector_tile;
  auto grow = [&](int64_t extent) { points = std::min(points * extent, kMostPoints + 1); };
  std::vector<int> tiles(nest.axes.size(), 0);
  for (const auto& tiled : schedule.register_tile) {
    if (++tiles[tiled.axis] > 1) return misfit("an axis is tiled twice");
    if (tiled.extent < 1 || nest.axes[tiled.axis].reduction || tiled.axis == schedule.vector_axis) {
      return misfit("`tile` takes parallel axes other than the vector axis");
    }
    if (tiled.extent > kMostExtent) return misfit("a tile is too large");
    grow(tiled.extent);
  }
  for (int axis : schedule.unrolled_reductions) {
    const int64_t extent = nest.axes[axis].extent;
    if (extent < 1) return misfit("an empty reduction cannot be unrolled");
    if (extent > kMostExtent) return misfit("an unrolled reduction is too long");
    grow(extent);
  }
  grow(schedule.reduction_unroll);
  if (points > kMostPoints) return misfit("a tile has more than 65536 points");
  return {};
}

Status check_vectors(const Nest& nest, const NestSchedule& schedule) {
  const int v = schedule.vector_axis;
  const auto &unrolled = schedule.unrolled_reductions, &loops = schedule.reduction_order;
  if (v >= 0 && schedule.vector_tile > nest.axes[v].extent) {
    return misfit("the vector tile is longer than its axis");
  }
  if (v < 0 && schedule.vector_tile != 1) return misfit("a vector takes an axis");
  if (v >= 0 && std::count(unrolled.begin(), unrolled.end(), v)) {
    return misfit("the vector axis cannot be unrolled");
  }
  const bool along_sum = v >= 0 && nest.axes[v].reduction;
  if (schedule.prefetch != Prefetch::kNone && (v < 0 || along_sum)) {
    return misfit("`prefetch` takes vectors along a parallel axis");
  }
  const bool finds_place =
      nest.combiner == graph::Combiner::kArgMin || nest.combiner == graph::Combiner::kArgMax;
  const bool in_order = unrolled.empty() && std::is_sorted(loops.begin(), loops.end());
  if (finds_place && (along_sum || !in_order)) {
    return misfit("the first or last of equal elements is found one after the other");
  }
  return {};
}

}  // namespace

Status check_schedule(const Nest& nest, const NestSchedule& schedule) {
  CORF_RETURN_IF_ERROR(check_orders(nest, schedule));
  CORF_RETURN_IF_ERROR(check_tile(nest, schedule));
  CORF_RETURN_IF_ERROR(check_vectors(nest, schedule));
  const int b = schedule.block_axis, p = schedule.partition_axis;
  if (b >= 0 && (nest.axes[b].reduction || schedule.block_tiles < 1)) {
    return misfit("`block` takes a parallel axis and at least one tile");
  }
  if (p >= 0 ? nest.axes[p].reduction : schedule.partitions != 1) {
    return misfit("`split` takes a parallel axis, or - and 1");
  }
  return {};
}

}  // namespace corf::fusion
