#include "driver/known_plans.h"

#include <algorithm>
#include <mutex>

namespace corf::driver {
namespace {

std::vector<std::string> names_of(const graph::Graph& graph) {
  std::vector<std::string> names;
  for (const graph::Node& node : graph.nodes) names.push_back(node.name);
  return names;
}

/// Of the values that are not constant.
double num_elems(const graph::Graph& graph) {
  double sum = 0;
  for (const graph::Node& node : graph.nodes) {
    if (std::holds_alternative<graph::Constant>(node.op)) continue;
    for (graph::ValueId value : node.outputs) {
      sum += static_cast<double>(corf::num_elems(graph.values[value].shape));
    }
  }
  return sum;
}

}  // namespace

std::optional<std::vector<search::KnownGroup>> KnownPlans::near(const graph::Graph& graph) const {
  const std::vector<std::string> nodes = names_of(graph);
  const double size = num_elems(graph);
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<double, const Known*>> near;
  bool any_in_full = false;
  for (const Known& known : known_) {
    const double ratio = std::max(size / known.num_elems, known.num_elems / size);
    if (!(ratio <= kNear) || known.nodes != nodes) continue;
    near.emplace_back(ratio, &known);
    any_in_full = any_in_full || known.in_full;
  }
  if (!any_in_full) return std::nullopt;
  std::sort(near.begin(), near.end());
  std::vector<search::KnownGroup> groups;
  for (size_t i = 0; i < std::min(near.size(), kMostLookedAt); ++i) {
    groups.insert(groups.end(), near[i].second->groups.begin(), near[i].second->groups.end());
  }
  return groups;
}

void KnownPlans::add(const graph::Graph& graph, const fusion::FusionPlan& plan, bool in_full) {
  Known known{names_of(graph), num_elems(graph), in_full, search::known_groups(graph, plan)};
  const std::lock_guard lock(mutex_);
  if (known_.size() == kMostKept) known_.erase(known_.begin());
  known_.push_back(std::move(known));
}

}  // namespace corf::driver
