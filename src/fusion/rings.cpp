#include "fusion/rings.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "fusion/order.h"
#include "fusion/through_views.h"
#include "fusion/walk_rows.h"

namespace corf::fusion {
namespace {

using graph::NodeId;
using graph::ValueId;

/// Where a part begins within the value around it, both with the same strides; nullopt if no point
/// of that value lies there.
std::optional<std::vector<int64_t>> start_in(const GroupReads& group, ValueId whole, ValueId part) {
  const Shape& shape = group.graph.values[whole].shape;
  const Storage& around = group.storage.values[whole];
  std::vector<int64_t> start(shape.size(), 0);
  int64_t distance = group.storage.values[part].offset - around.offset;
  for (const int dim : order_of_strides(around.strides)) {
    if (shape[dim] < 2 || around.strides[dim] == 0) continue;
    start[dim] = distance / around.strides[dim];
    distance %= around.strides[dim];
  }
  return distance == 0 ? std::optional(start) : std::nullopt;
}

class RingFinder {
 public:
  RingFinder(const GroupReads& group, const Walk& walk)
      : group_(group),
        graph_(group.graph),
        storage_(group.storage),
        cache_(group.cache),
        producer_(group.producer),
        walk_(walk) {}

  /// Rings for what only the group reads, and beside what other groups read too.
  std::vector<WalkRing> run() {
    std::set<int> seen;
    std::set<ValueId> held;
    std::vector<WalkRing> rings;
    for (const auto& [value, s] : producer_) {
      const int root = storage_.values[value].root;
      if (!seen.insert(root).second) continue;
      std::optional<WalkRing> ring = ring_of_root(root);
      if (!ring) continue;
      held.insert(ring->produced.begin(), ring->produced.end());
      rings.push_back(std::move(*ring));
    }
    for (const auto& [value, s] : producer_) {
      if (walk_.schedule.partitions == 1 || held.count(value)) continue;
      if (!group_.is_read_directly(value)) continue;
      WalkRing ring;
      ring.value = value;
      ring.stages = {s};
      ring.produced = {value};
      ring.stored = true;
      rings.push_back(std::move(ring));
    }
    std::stable_sort(rings.begin(), rings.end(),
                     [](const WalkRing& a, const WalkRing& b) { return a.stages < b.stages; });
    return rings;
  }

 private:
  /// The ring in the place of a buffer that only the group writes and reads: in which all stages
  /// that make parts of it walk the same dimensions, none of them cut.
  std::optional<WalkRing> ring_of_root(int number) const {
    const Root& root = storage_.roots[number];
    if (root.kind != Root::Kind::kArena) return std::nullopt;
    WalkRing ring;
    ring.value = root.value;
    std::set<int> makers;
    for (const ValueId value : cache_.values_of[number]) {
      const auto maker = producer_.find(value);
      const NodeId node = graph_.values[value].producer;
      const bool is_view = is_view_in_place(graph_, storage_, node);
      if ((maker == producer_.end() && !is_view) || group_.is_read_outside(value))
        return std::nullopt;
      if (!has_strides_of(root.value, value)) return std::nullopt;
      if (value != root.value) ring.views.push_back({value, {}});
      if (maker == producer_.end()) continue;
      ring.produced.push_back(value);
      makers.insert(maker->second);
    }
    const bool is_read =
        std::any_of(group_.reads.begin(), group_.reads.end(), [&](const StageRead& read) {
          return std::count(ring.produced.begin(), ring.produced.end(), read.value) > 0;
        });
    if (!is_read) return std::nullopt;
    ring.stages.assign(makers.begin(), makers.end());
    const WalkStage& first = walk_.stages[ring.stages[0]];
    for (const int s : ring.stages) {
      const WalkStage& stage = walk_.stages[s];
      if (stage.stream_dim != first.stream_dim || stage.outer_dims != first.outer_dims ||
          stage.outer_blocks != first.outer_blocks) {
        return std::nullopt;
      }
    }
    std::vector<int> walked = first.outer_dims;
    walked.push_back(first.stream_dim);
    for (const ValueId value : cache_.values_of[number]) {
      const auto start = start_in(group_, root.value, value);
      if (!start) return std::nullopt;
      for (const int dim : walked) {
        if ((*start)[dim] != 0 ||
            graph_.values[value].shape[dim] != graph_.values[root.value].shape[dim])
          return std::nullopt;
      }
    }
    return ring;
  }

  /// Unit extents have no say.
  bool has_strides_of(ValueId whole, ValueId part) const {
    const Shape& shape = graph_.values[part].shape;
    const std::vector<int64_t>&own = storage_.values[part].strides,
          &around = storage_.values[whole].strides;
    if (own.size() != around.size()) return false;
    for (size_t d = 0; d < shape.size(); ++d) {
      if (shape[d] > 1 && own[d] != around[d]) return false;
    }
    return true;
  }

  const GroupReads& group_;
  const graph::Graph& graph_;
  const StoragePlan& storage_;
  const WalkCache& cache_;
  const std::map<ValueId, int>& producer_;
  const Walk& walk_;
};

class RingSettler {
 public:
  RingSettler(const GroupReads& group, Walk& walk)
      : group_(group),
        graph_(group.graph),
        storage_(group.storage),
        producer_(group.producer),
        walk_(walk) {}

  Status run() {
    std::erase_if(walk_.rings, [&](const WalkRing& ring) { return !is_needed(ring); });
    CORF_RETURN_IF_ERROR(check_shared());
    for (WalkRing& ring : walk_.rings) CORF_RETURN_IF_ERROR(place_ring(ring));
    return {};
  }

 private:
  /// Beside memory a ring is needed where workers would get in each other's way: of rows that two
  /// make, and of margins that another one zeroes.
  bool is_needed(const WalkRing& ring) const {
    return !ring.stored || walk_.stages[ring.stages[0]].overlaps ||
           storage_.values[ring.value].has_margins();
  }

  /// What lies in memory, not in a ring, is made by one worker alone; no barrier stands between
  /// its rows, or the zeroing of what surrounds it, which workers share, and the stages that read
  /// it.
  Status check_shared() const {
    if (walk_.schedule.partitions == 1) return {};
    for (const auto& [value, s] : producer_) {
      if (walk_.ring_of(value)) continue;
      if (walk_.stages[s].overlaps) {
        return group_.fault(s, "what other groups read would be written by two workers");
      }
      const int root = storage_.values[value].root;
      for (const StageRead& read : group_.reads) {
        if (read.value != value) continue;
        const bool margins = storage_.values[value].has_margins() ||
                             storage_.values[read.loaded].has_margins() ||
                             storage_.values[storage_.roots[root].value].has_margins();
        if (margins) return group_.fault(s, "another worker would zero its margins");
      }
    }
    return {};
  }

  /// Extents of the ring's memory.
  Shape ring_extents(const WalkRing& ring, const Storage& place) const {
    const WalkStage& stage = walk_.stages[ring.stages[0]];
    Shape extents = graph_.values[ring.value].shape;
    for (size_t d = 0; d < extents.size(); ++d) {
      extents[d] += place.margin_before[d] + place.margin_after[d];
    }
    for (size_t i = 0; i < stage.outer_dims.size(); ++i) {
      int64_t& extent = extents[stage.outer_dims[i]];
      extent = std::min(extent, stage.outer_blocks[i]);
    }
    extents[stage.stream_dim] = ring.rows;
    spread_over_cache_sets(extents, order_of_strides(place.strides),
                           graph_.values[ring.value].dtype);
    return extents;
  }

  Status place_ring(WalkRing& ring) const {
    const WalkStage& stage = walk_.stages[ring.stages[0]];
    const int d = stage.stream_dim;
    Storage& place = ring.place = storage_.values[ring.value];
    const Shape extents = ring_extents(ring, place);
    place.strides = dense_strides(extents, order_of_strides(place.strides));
    if (place.strides[d] == 1 &&
        (ring.kept_rows > 0 || ring.stored || place.margin_before[d] + place.margin_after[d] > 0)) {
      return group_.fault(ring.stages[0],
                          "rows that stay from strip to strip run along the vectors");
    }
    for (size_t i = 0; ring.stored && i < stage.outer_dims.size(); ++i) {
      const int dim = stage.outer_dims[i];
      if (place.strides[dim] == 1 &&
          group_.points(ring.stages[0])[dim] % stage.outer_blocks[i] != 0) {
        return group_.fault(ring.stages[0], "others read it, and its last block is no whole one");
      }
    }
    if (ring.kept_rows > 0) {
      place.turning_dim = d;
      place.turning_rows = ring.rows;
    }
    place.offset = 0;
    for (int i = 0; i < static_cast<int>(extents.size()); ++i) {
      const bool walked = i == d || std::count(stage.outer_dims.begin(), stage.outer_dims.end(), i);
      if (!walked) place.offset += place.margin_before[i] * place.strides[i];
    }
    ring.memory_root = place.root;
    ring.root = storage_.roots[place.root];
    ring.root.value = ring.value;
    ring.root.kind = Root::Kind::kRing;
    ring.root.size_elems = num_elems(extents);
    if (ring.stored) {  // beside its place in memory
      place.root = static_cast<int>(storage_.roots.size() + (&ring - walk_.rings.data()));
    } else {
      place_views(ring);
    }
    return {};
  }

  /// Parts and slices lie in the ring as they lie in the buffer.
  void place_views(WalkRing& ring) const {
    for (auto& [value, view] : ring.views) {
      view = storage_.values[value];
      const std::vector<int64_t> start = start_in(group_, ring.value, value).value();
      view.strides = ring.place.strides;
      view.turning_dim = ring.place.turning_dim;
      view.turning_rows = ring.place.turning_rows;
      view.offset = ring.place.offset;
      for (size_t d = 0; d < start.size(); ++d) view.offset += start[d] * view.strides[d];
    }
  }

  const GroupReads& group_;
  const graph::Graph& graph_;
  const StoragePlan& storage_;
  const std::map<ValueId, int>& producer_;
  Walk& walk_;
};

}  // namespace

std::vector<WalkRing> possible_rings(const GroupReads& group, const Walk& placed) {
  return RingFinder(group, placed).run();
}

void count_ring(const Walk& walk, const std::vector<StageRows>& rows, bool is_last,
                WalkRing& ring) {
  const auto [first, next_first, last, made] = ring_rows(walk, ring, rows);
  ring.rows = std::max(ring.rows, last + 1 - first);
  if (!made) return;
  ring.rows = std::max(ring.rows, *made - first);
  if (!is_last) ring.kept_rows = std::max(ring.kept_rows, *made - next_first);
}

Status settle_rings(const GroupReads& group, Walk& walk) { return RingSettler(group, walk).run(); }

}  // namespace corf::fusion
