#include "fusion/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace corf::fusion {
namespace {

std::string describe(const graph::Graph& graph, const StoragePlan& storage, graph::ValueId value) {
  const Storage& place = storage.values[value];
  return fmt::format("%{} @{}+{} [{}]", graph.values[value].name, place.root, place.offset,
                     fmt::join(place.strides, ","));
}

std::string_view to_string(GroupKind kind) {
  switch (kind) {
    case GroupKind::kCompute:
      return "compute";
    case GroupKind::kViewCopy:
      return "copy";
    case GroupKind::kOutputCopy:
      return "output";
    case GroupKind::kRoutine:
      return "routine";
  }
  return "";
}

}  // namespace

std::string_view to_string(LinkStrategy strategy) {
  switch (strategy) {
    case LinkStrategy::kInline:
      return "inline";
    case LinkStrategy::kScatter:
      return "scatter";
    case LinkStrategy::kStream:
      return "stream";
    case LinkStrategy::kRecompute:
      return "recompute";
    case LinkStrategy::kMaterialise:
      return "materialise";
  }
  return "";
}

std::string to_string(const graph::Graph& graph, const FusionPlan& plan) {
  std::string text =
      fmt::format("plan {} groups, {} buffers\n", plan.groups.size(), plan.storage.roots.size());
  for (size_t i = 0; i < plan.groups.size(); ++i) {
    const FusionGroup& group = plan.groups[i];
    text += fmt::format("group {} {}", i, to_string(group.kind));
    if (group.output >= 0) text += fmt::format(" {}", group.output);
    text += '\n';
    for (graph::NodeId id : group.nodes) {
      text += fmt::format("  {} ({})\n", graph.nodes[id].name, graph.nodes[id].origin);
    }
    for (graph::ValueId value : group.stored) {
      text += "  store " + describe(graph, plan.storage, value) + "\n";
    }
    for (const Link& link : group.links) {
      text += fmt::format("  link {} -> {} {}{}{}\n", graph.nodes[link.producer].name,
                          graph.nodes[link.consumer].name, to_string(link.strategy),
                          link.why.empty() ? "" : ": ", link.why);
    }
  }
  return text;
}

std::string plan_hash(const graph::Graph& graph, const FusionPlan& plan) {
  uint64_t hash = 14695981039346656037ull;
  for (unsigned char byte : to_string(graph, plan)) hash = (hash ^ byte) * 1099511628211ull;
  return fmt::format("{:016x}", hash);
}

}  // namespace corf::fusion
