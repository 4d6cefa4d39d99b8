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
         const MeasuredTime& measured, FusionPlan unfused)
      : graph_(graph),
        machine_(machine),
        time_(time),
        measured_(measured),
        plan_(std::move(unfused)) {}

  FusionPlan run() {
    const size_t n = plan_.groups.size();
    constexpr double kNever = std::numeric_limits<double>::max();
    std::vector<double> best(n + 1, kNever), predicted(n + 1, kNever);
    std::vector<Segment> chosen(n + 1);
    best[0] = predicted[0] = 0;
    for (size_t end = 1; end <= n; ++end) {
      std::vector<Segment> segments = segments_before(end);
      for (const Segment& segment : segments) {
        predicted[end] = std::min(predicted[end], predicted[segment.first] + segment.time);
      }
      for (Segment& segment : segments) {
        if (measured_) {
          if (predicted[segment.first] + segment.time > kWorthMeasuring * predicted[end]) continue;
          segment.time = measure(segment);
        }
        if (best[segment.first] + segment.time >= best[end]) continue;
        best[end] = best[segment.first] + segment.time;
        chosen[end] = std::move(segment);
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
  /// What is predicted to take so many times as long as the best is not measured.
  static constexpr double kWorthMeasuring = 1.35;
  static constexpr size_t kMeasuredStrips = 3;

  /// The ways to run the groups that end before `end`, with predicted times; alone comes first.
  std::vector<Segment> segments_before(size_t end) {
    const FusionGroup& single = plan_.groups[end - 1];
    const bool timed = !single.nests.empty();
    std::vector<Segment> segments;
    segments.push_back({end - 1, single, timed ? time_(plan_.storage, single, nullptr) : 0});
    for (size_t first = end - 1; first-- > 0 && end - first <= kMaxStages;) {
      if (!is_compute(first) || !is_compute(end - 1)) break;
      if (!feeds(first, end)) break;
      StripChoice choice = fuse(first, end);
      if (!choice.legal) break;
      for (TimedGroup& strips : choice.best) {
        segments.push_back({first, std::move(strips.group), kLeastGain * strips.time});
      }
    }
    return segments;
  }

  /// Where nothing can be measured any more, predictions are corrected by what was.
  double measure(const Segment& segment) {
    if (segment.group.nests.empty()) return 0;
    fusion::StoragePlan storage = plan_.storage;
    if (segment.group.strips) {
      place_rings(graph_, *fusion::analyze_strips(graph_, storage, segment.group), storage);
    }
    if (const std::optional<double> time = measured_(storage, segment.group)) {
      measured_sum_ += *time;
      predicted_sum_ += segment.time;
      return *time;
    }
    return segment.time * (predicted_sum_ > 0 ? measured_sum_ / predicted_sum_ : 1);
  }

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
    return choose_strips(graph_, plan_.storage, machine_, std::move(joined), time_, cache_,
                         measured_ ? kMeasuredStrips : 1);
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
          group.links.push_back(link_of(group, strips, ring, s, producer, consumer));
        }
      }
    }
  }

  /// Of a ring that stage `reader` reads.
  static fusion::Link link_of(const FusionGroup& group, const fusion::StripAnalysis& strips,
                              const fusion::StripRing& ring, size_t reader, graph::NodeId producer,
                              graph::NodeId consumer) {
    fusion::Link link{ring.value, producer, consumer, fusion::LinkStrategy::kStream,
                      fmt::format("ring of {} rows", ring.rows)};
    if (!group.strips->scatter) return link;
    link.why +=
        fmt::format(", {} channels at a time", strips.stages[ring.stage].outer_blocks.back());
    if (reader + 1 < group.stages.size()) return link;
    link.strategy = fusion::LinkStrategy::kScatter;
    link.why += fmt::format(", added to partial results {} times", strips.num_chunks);
    return link;
  }

  const graph::Graph& graph_;
  const Machine& machine_;
  const GroupTime& time_;
  const MeasuredTime& measured_;
  double measured_sum_ = 0, predicted_sum_ = 0;
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

FusionPlan find_plan(const graph::Graph& graph, const Machine& machine, const GroupTime& time,
                     const MeasuredTime& measured) {
  return Fusing(graph, machine, time, measured, find_unfused_plan(graph, machine)).run();
}

}  // namespace corf::search
