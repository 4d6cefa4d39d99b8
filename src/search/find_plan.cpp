#include "search/find_plan.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>

#include "fusion/group_nests.h"
#include "search/choose_schedule.h"
#include "search/choose_strips.h"

namespace corf::search {
namespace {

using fusion::FusionGroup;
using fusion::FusionPlan;

/// A way to run groups [first, last) of the unfused plan as one.
struct Segment {
  size_t first = 0;
  FusionGroup group;
  double time = 0;
};

class Fusing {
 public:
  Fusing(const graph::Graph& graph, const Machine& machine, const GroupTime& time,
         FusionPlan unfused)
      : graph_(graph), machine_(machine), time_(time), plan_(std::move(unfused)) {}

  FusionPlan run() {
    const size_t n = plan_.groups.size();
    std::vector<double> best(n + 1, std::numeric_limits<double>::max());
    std::vector<Segment> chosen(n + 1);
    best[0] = 0;
    for (size_t end = 1; end <= n; ++end) {
      const FusionGroup& single = plan_.groups[end - 1];
      const bool timed = !single.nests.empty();
      Segment alone{end - 1, single, timed ? time_(plan_.storage, single, nullptr) : 0};
      best[end] = best[end - 1] + alone.time;
      chosen[end] = std::move(alone);
      for (size_t first = end - 1; first-- > 0 && end - first <= kMaxStages;) {
        if (!is_compute(first) || !is_compute(end - 1)) break;
        if (!feeds(first, end)) break;
        StripChoice choice = fuse(first, end);
        if (!choice.legal) break;
        if (!choice.best) continue;
        const double time = kLeastGain * choice.best->time;
        if (best[first] + time >= best[end]) continue;
        best[end] = best[first] + time;
        chosen[end] = Segment{first, std::move(choice.best->group), choice.best->time};
      }
    }
    std::vector<FusionGroup> groups;
    for (size_t end = n; end > 0; end = chosen[end].first) {
      groups.push_back(std::move(chosen[end].group));
    }
    plan_.groups.assign(std::make_move_iterator(groups.rbegin()),
                        std::make_move_iterator(groups.rend()));
    for (FusionGroup& group : plan_.groups) {
      if (group.strips) settle(group);
    }
    return std::move(plan_);
  }

 private:
  bool is_compute(size_t i) const { return plan_.groups[i].kind == fusion::GroupKind::kCompute; }

  /// Whether a group in (first, end) reads what group `first` stores.
  bool feeds(size_t first, size_t end) const {
    const auto& stored = plan_.groups[first].stages[0].stored;
    for (size_t i = first + 1; i < end; ++i) {
      for (const auto& load : plan_.groups[i].nests[0].nest.loads) {
        if (std::count(stored.begin(), stored.end(), load.value)) return true;
      }
    }
    return false;
  }

  StripChoice fuse(size_t first, size_t end) {
    FusionGroup joined;
    for (size_t i = first; i < end; ++i) {
      const FusionGroup& part = plan_.groups[i];
      joined.stages.push_back(part.stages[0]);
      joined.links.insert(joined.links.end(), part.links.begin(), part.links.end());
    }
    return choose_strips(graph_, plan_.storage, machine_, std::move(joined), time_, cache_);
  }

  /// Rings take the place of the materialised values, for good.
  void settle(FusionGroup& group) {
    auto strips = fusion::analyze_strips(graph_, plan_.storage, group);
    fusion::place_rings(graph_, *strips, plan_.storage);
    add_links(group, *strips);
  }

  void add_links(FusionGroup& group, const fusion::StripAnalysis& strips) const {
    for (const fusion::StripRing& ring : strips.rings) {
      const graph::NodeId producer = graph_.values[ring.value].producer;
      for (size_t s = ring.stage + 1; s < group.stages.size(); ++s) {
        for (graph::NodeId consumer : group.stages[s].nodes) {
          const auto& inputs = graph_.nodes[consumer].inputs;
          if (!std::count(inputs.begin(), inputs.end(), ring.value)) continue;
          group.links.push_back({ring.value, producer, consumer, fusion::LinkStrategy::kStream,
                                 fmt::format("ring of {} rows", ring.rows)});
        }
      }
    }
  }

  const graph::Graph& graph_;
  const Machine& machine_;
  const GroupTime& time_;
  fusion::StripCache cache_;
  FusionPlan plan_;
};

}  // namespace

FusionPlan find_unfused_plan(const graph::Graph& graph, const Machine& machine) {
  FusionPlan plan = fusion::plan_unfused(graph);
  for (FusionGroup& group : plan.groups) {
    for (fusion::Nest& nest : fusion::group_nests(graph, plan.storage, group, nullptr)) {
      fusion::NestSchedule schedule = choose_schedule(nest, plan.storage, machine);
      group.nests.push_back({std::move(nest), std::move(schedule)});
    }
  }
  return plan;
}

FusionPlan find_plan(const graph::Graph& graph, const Machine& machine, const GroupTime& time) {
  return Fusing(graph, machine, time, find_unfused_plan(graph, machine)).run();
}

}  // namespace corf::search
