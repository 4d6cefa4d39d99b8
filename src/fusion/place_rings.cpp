#include <algorithm>

#include "fusion/order.h"
#include "fusion/strips.h"

namespace corf::fusion {

using graph::Graph;

void place_rings(const Graph& graph, const StripAnalysis& strips, StoragePlan& storage) {
  for (const StripRing& ring : strips.rings) {
    const StripStage& stage = strips.stages[ring.stage];
    Storage& place = storage.values[ring.value];
    const Shape extents = ring_extents(graph, strips, ring, place);
    place.strides = ring_strides(graph, strips, ring, place);
    place.offset = 0;
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

}  // namespace corf::fusion
