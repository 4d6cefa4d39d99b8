#include "fusion/ring_storage.h"

#include <algorithm>

#include "fusion/order.h"
#include "support/checked.h"

namespace corf::fusion {

using graph::Graph;

Shape ring_extents(const Graph& graph, const StripAnalysis& strips, const StripRing& ring,
                   const Storage& place) {
  const StripStage& stage = strips.stages[ring.stage];
  Shape extents = graph.values[ring.value].shape;
  for (size_t d = 0; d < extents.size(); ++d) {
    extents[d] += place.margin_before[d] + place.margin_after[d];
  }
  for (size_t i = 0; i < stage.outer_dims.size(); ++i) {
    int64_t& extent = extents[stage.outer_dims[i]];
    extent = std::min(extent, stage.outer_blocks[i]);
  }
  extents[stage.stream_dim] = ring.rows;
  spread_over_cache_sets(extents, order_of_strides(place.strides), graph.values[ring.value].dtype);
  return extents;
}

std::vector<int64_t> ring_strides(const Graph& graph, const StripAnalysis& strips,
                                  const StripRing& ring, const Storage& place) {
  return dense_strides(ring_extents(graph, strips, ring, place), order_of_strides(place.strides));
}

void place_rings(const Graph& graph, const StripAnalysis& strips, StoragePlan& storage) {
  for (const StripRing& ring : strips.rings) {
    const StripStage& stage = strips.stages[ring.stage];
    Storage& place = storage.values[ring.value];
    const Shape extents = ring_extents(graph, strips, ring, place);
    place.strides = ring_strides(graph, strips, ring, place);
    place.offset = 0;
    if (ring.kept_rows > 0) {
      place.turning_dim = stage.stream_dim;
      place.turning_rows = ring.rows;
    }
    for (size_t d = 0; d < extents.size(); ++d) {
      const bool walked = static_cast<int>(d) == stage.stream_dim ||
                          std::count(stage.outer_dims.begin(), stage.outer_dims.end(), d);
      if (!walked) place.offset += place.margin_before[d] * place.strides[d];
    }
    Root& root = storage.roots[place.root];
    root.kind = Root::Kind::kRing;
    root.size_elems = num_elems(extents);
  }
}

RingsInPlace::RingsInPlace(const Graph& graph, const StripAnalysis& strips, StoragePlan& storage)
    : storage_(storage) {
  for (const StripRing& ring : strips.rings) {
    const Storage& place = storage.values[ring.value];
    before_.push_back({ring.value, place, storage.roots[place.root]});
  }
  place_rings(graph, strips, storage);
}

RingsInPlace::~RingsInPlace() {
  for (Before& before : before_) {
    storage_.roots[before.place.root] = before.root;
    storage_.values[before.value] = std::move(before.place);
  }
}

int64_t ring_bytes(const StripAnalysis& strips, const StoragePlan& storage) {
  int64_t bytes = 0;
  for (const StripRing& ring : strips.rings) {
    const Root& root = storage.roots[storage.values[ring.value].root];
    bytes += root.size_elems * size_bytes(root.dtype);
  }
  return bytes;
}

int64_t extent_in_strip(const StripStage& stage, const NestAxis& axis) {
  if (axis.shared < static_cast<int>(stage.outer_dims.size())) return axis.most_steps();
  return std::max<int64_t>(1, ceil_div(stage.rows_in_strip, stage.unit));
}

}  // namespace corf::fusion
