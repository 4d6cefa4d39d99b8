#include "fusion/group_nests.h"

#include <algorithm>

#include "fusion/resolve.h"

namespace corf::fusion {

std::vector<Nest> group_nests(const graph::Graph& graph, const StoragePlan& storage,
                              const GroupPlan& group) {
  const StorageView view(storage, group.walk);
  std::vector<Nest> nests;
  switch (group.kind) {
    case GroupKind::kCompute:
      for (size_t s = 0; s < group.stages.size(); ++s) {
        const Stage& stage = group.stages[s];
        nests.push_back(build_nest(graph, view, stage.nodes, stage.stored));
        if (group.walk) mark_shared_axes(group.walk->stages[s], nests.back());
      }
      break;
    case GroupKind::kViewCopy: {
      const auto& copied = storage.copied_views;
      auto at = std::find(copied.begin(), copied.end(), group.stages[0].nodes[0]) - copied.begin();
      for (int part : storage.copied_parts[at]) {
        nests.push_back(build_view_copy(graph, storage, group.stages[0].nodes[0], part));
      }
      break;
    }
    case GroupKind::kOutputCopy:
      nests.push_back(build_output_copy(graph, storage, group.output));
      break;
    case GroupKind::kRoutine:
      break;
  }
  for (Nest& nest : nests) nest = canonicalize(std::move(nest));
  return nests;
}

}  // namespace corf::fusion
