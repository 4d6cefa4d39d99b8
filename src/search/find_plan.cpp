#include "search/find_plan.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <map>
#include <optional>
#include <span>

#include "fusion/group_nests.h"
#include "search/choose_schedule.h"
#include "search/choose_strips.h"
#include "search/known_strips.h"

namespace corf::search {
namespace {

using fusion::FusionGroup;
using fusion::FusionPlan;

/// A way to run groups [first, end) of the unfused plan as one.
struct Segment {
  size_t first = 0;
  FusionGroup group;
  double time = 0;  // whoever wrote what it reads
};

/// The best known way to run all groups before some end, given how the last of them shares out what
/// it writes.
struct State {
  double time = 0;
  FusionGroup group;             // the last one
  std::map<int, int64_t> spans;  // of the buffers that it writes
  const State* before = nullptr;
};

class Fusing {
 public:
  Fusing(const graph::Graph& graph, const Machine& machine, const GroupTime& time,
         const MeasuredTime& measured, FusionPlan unfused, size_t most_stages)
      : graph_(graph),
        machine_(machine),
        time_(time),
        measured_(measured),
        most_stages_(most_stages),
        plan_(std::move(unfused)),
        cache_(graph, plan_.storage),
        known_(graph, plan_.storage, cache_) {}

  FusionPlan run() {
    const size_t n = plan_.groups.size();
    std::vector<double> predicted(n + 1, std::numeric_limits<double>::max());
    std::vector<std::vector<State>> states(n + 1);
    predicted[0] = 0;
    states[0].emplace_back();
    for (size_t end = 1; end <= n; ++end) {
      std::vector<Segment> segments = segments_before(end);
      for (const Segment& segment : segments) {
        predicted[end] = std::min(predicted[end], predicted[segment.first] + segment.time);
      }
      for (Segment& segment : segments) {
        const bool in_question =
            predicted[segment.first] + segment.time <= kWorthMeasuring * predicted[end];
        if (measured_ && !in_question) continue;
        if (measured_) segment.time = measure(segment);
        extend(states[segment.first], segment, states[end]);
      }
    }
    std::vector<FusionGroup> groups;
    for (const State* state = &best_of(states[n]); state->before; state = state->before) {
      groups.push_back(state->group);
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
  /// Ways to share out the last group that are kept: by channels, by rows, and not at all.
  static constexpr size_t kMostStates = 3;

  static bool is_faster(const State& a, const State& b) { return a.time < b.time; }
  static const State& best_of(const std::vector<State>& states) {
    return *std::min_element(states.begin(), states.end(), is_faster);
  }

  /// The ways to run the groups that end before `end`, with predicted times; alone comes first.
  std::vector<Segment> segments_before(size_t end) {
    std::vector<Segment> segments;
    for (FusionGroup& group : ways_alone(plan_.groups[end - 1])) {
      const double time = group.nests.empty() ? 0 : time_(plan_.storage, group, nullptr, nullptr);
      segments.push_back({end - 1, std::move(group), time});
    }
    for (size_t first = end - 1; first-- > 0 && end - first <= most_stages_;) {
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

  /// As it is in the unfused plan, and with other axes shared out among the workers.
  std::vector<FusionGroup> ways_alone(const FusionGroup& group) const {
    std::vector<FusionGroup> ways{group};
    if (measured_ || group.nests.size() != 1) return ways;
    const auto& [nest, schedule] = group.nests[0];
    if (schedule.partition_axis < 0) return ways;
    for (int axis : schedule.parallel_order) {
      if (axis == schedule.partition_axis) continue;
      fusion::NestSchedule other = choose_schedule(nest, plan_.storage, machine_, axis);
      if (other.partition_axis != axis) continue;
      ways.push_back(group);
      ways.back().nests[0].schedule = std::move(other);
    }
    return ways;
  }

  /// The segment behind each of the states; `after` keeps the best for each way to share it out.
  void extend(const std::vector<State>& states, const Segment& segment, std::vector<State>& after) {
    // Who wrote the operands does not change times by more.
    constexpr double kMostGain = 0.7;
    const double least = best_of(states).time + kMostGain * segment.time;
    if (!after.empty() && least > best_of(after).time) return;
    std::optional<fusion::StripAnalysis> strips;
    std::optional<fusion::RingsInPlace> rings;
    if (segment.group.strips) {
      strips = *fusion::measure_strips(graph_, plan_.storage, segment.group, cache_);
      rings.emplace(graph_, *strips, plan_.storage);
    }
    const fusion::StripAnalysis* const analysis = strips ? &*strips : nullptr;
    const std::map<int, int64_t> spans = fusion::written_spans(segment.group, analysis);
    for (const State& state : states) {
      State next{state.time + segment.time, {}, spans, &state};
      if (!measured_ && !segment.group.nests.empty()) {
        const double time = time_(plan_.storage, segment.group, analysis,
                                  [&](int root) { return span_of(state, root); });
        next.time = state.time + (strips ? kLeastGain : 1) * time;
      }
      const auto same = std::find_if(after.begin(), after.end(),
                                     [&](const State& other) { return other.spans == next.spans; });
      if (same != after.end() && same->time <= next.time) continue;
      next.group = segment.group;
      if (same != after.end()) {
        *same = std::move(next);
        continue;
      }
      after.push_back(std::move(next));
      if (after.size() <= kMostStates) continue;
      after.erase(std::max_element(after.begin(), after.end(), is_faster));
    }
  }

  static std::optional<int64_t> span_of(const State& last, int root) {
    for (const State* state = &last; state; state = state->before) {
      const auto at = state->spans.find(root);
      if (at != state->spans.end()) return at->second;
    }
    return std::nullopt;
  }

  /// Where nothing can be measured any more, predictions are corrected by what was.
  double measure(const Segment& segment) {
    if (segment.group.nests.empty()) return 0;
    std::optional<fusion::RingsInPlace> rings;
    if (segment.group.strips) {
      rings.emplace(graph_, *fusion::measure_strips(graph_, plan_.storage, segment.group, cache_),
                    plan_.storage);
    }
    if (const std::optional<double> time = measured_(plan_.storage, segment.group)) {
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
    const std::string signature =
        known_.signature(std::span(plan_.groups).subspan(first, end - first));
    if (const KnownStrips::Known* known = known_.find(signature)) {
      if (std::optional<StripChoice> choice = as_known(*known, joined)) return std::move(*choice);
    }
    StripChoice choice = choose_strips(graph_, plan_.storage, machine_, std::move(joined), time_,
                                       cache_, measured_ ? kMeasuredStrips : 1);
    known_.add(signature, choice);
    return choice;
  }

  /// nullopt if the schedules do not fit the group after all.
  std::optional<StripChoice> as_known(const KnownStrips::Known& known, const FusionGroup& joined) {
    StripChoice choice{known.legal, {}};
    for (const KnownStrips::Known::Schedules& one : known.best) {
      std::optional<TimedGroup> group =
          with_schedules(graph_, plan_.storage, joined, one.strips, one.nests, time_, cache_);
      if (!group) return std::nullopt;
      choice.best.push_back(std::move(*group));
    }
    return choice;
  }

  /// Rings take the place of the materialised values, for good.
  void settle(FusionGroup& group) {
    auto strips = fusion::measure_strips(graph_, plan_.storage, group, cache_);
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
  const size_t most_stages_;
  double measured_sum_ = 0, predicted_sum_ = 0;
  FusionPlan plan_;
  fusion::StripCache cache_;
  KnownStrips known_;
};

}  // namespace

FusionPlan find_unfused_plan(const graph::Graph& graph, const Machine& machine,
                             const GroupTime& time) {
  FusionPlan plan = fusion::plan_unfused(graph);
  for (FusionGroup& group : plan.groups) {
    for (fusion::Nest& nest : fusion::group_nests(graph, plan.storage, group, nullptr)) {
      fusion::NestSchedule schedule = choose_schedule(nest, plan.storage, machine);
      group.nests.push_back({std::move(nest), std::move(schedule)});
    }
  }
  if (!time) return plan;
  return Fusing(graph, machine, time, nullptr, std::move(plan), 1).run();
}

FusionPlan find_plan(const graph::Graph& graph, const Machine& machine, const GroupTime& time,
                     const MeasuredTime& measured) {
  // What is measured alone says nothing of who wrote the operands.
  FusionPlan unfused = find_unfused_plan(graph, machine, measured ? time : nullptr);
  return Fusing(graph, machine, time, measured, std::move(unfused), kMaxStages).run();
}

}  // namespace corf::search
