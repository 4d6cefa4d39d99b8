#include "search/find_plan.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <map>
#include <memory>
#include <optional>

#include "fusion/group_nests.h"
#include "search/choose_schedule.h"
#include "search/runs.h"
#include "support/tasks.h"

namespace corf::search {
namespace {

using fusion::FusionPlan;
using fusion::GroupPlan;

/// The best known way to run all groups before some end, given how they share out what those behind
/// it read.
struct State {
  double time = 0;
  std::shared_ptr<const GroupPlan> group;  // the last one
  std::map<int, int64_t> spans;            // of buffers that are still read
  bool on_one_worker = false;              // the last one is
  const State* before = nullptr;
};

/// kSpare of the mean time of the plan's kernels.
double spare_time(const FusionPlan& plan, const GroupTime& time) {
  double sum = 0;
  int64_t num_kernels = 0;
  for (const GroupPlan& group : plan.groups) {
    if (group.nests.empty()) continue;
    sum += time(plan.storage, group, {});
    ++num_kernels;
  }
  return num_kernels == 0 ? 0 : kSpare * sum / static_cast<double>(num_kernels);
}

class Fusing {
 public:
  Fusing(const graph::Graph& graph, const Machine& machine, const GroupTime& time,
         const MeasuredTime& measured, FusionPlan unfused, size_t most_stages,
         std::optional<std::vector<KnownRun>> among = std::nullopt)
      : machine_(machine),
        time_(time),
        measured_(measured),
        options_{most_stages, measured ? kMeasuredStrips : 1, !measured,
                 among ? spare_time(unfused, time) : 0, std::move(among)},
        unfused_(unfused),
        plan_(std::move(unfused)) {
    last_reader_.assign(plan_.storage.roots.size(), 0);
    for (size_t i = 0; i < unfused_.groups.size(); ++i) {
      for (const fusion::ScheduledNest& scheduled : unfused_.groups[i].nests) {
        for (const auto& load : scheduled.nest->loads) last_reader_[load.root] = i;
      }
    }
    for (size_t i = 0; i < num_workers(machine.threads, unfused_.groups.size()); ++i) {
      finders_.push_back(
          std::make_unique<RunFinder>(graph, machine, time, unfused_, options_, known_));
    }
  }

  FusionPlan run() {
    const size_t n = unfused_.groups.size();
    std::vector<Runs> runs(n + 1);
    for_each_task(machine_.threads, n, [&](size_t task, size_t worker) {
      runs[task + 1] = finders_[worker]->before(task + 1);
    });
    std::vector<double> predicted(n + 1, std::numeric_limits<double>::max());
    std::vector<std::vector<State>> states(n + 1);
    predicted[0] = 0;
    states[0].emplace_back();
    for (size_t end = 1; end <= n; ++end) {
      std::vector<Segment> segments = keep(std::move(runs[end]));
      for (const Segment& segment : segments) {
        predicted[end] = std::min(predicted[end], predicted[segment.first] + segment.time);
      }
      for (Segment& segment : segments) {
        const bool in_question =
            predicted[segment.first] + segment.time <= kWorthMeasuring * predicted[end];
        if (measured_ && !in_question) continue;
        if (measured_) segment.time = measure(segment);
        extend(states[segment.first], segment, end, states[end]);
      }
    }
    std::vector<GroupPlan> groups;
    for (const State* state = &best_of(states[n]); state->before; state = state->before) {
      groups.push_back(*state->group);
    }
    plan_.groups.assign(std::make_move_iterator(groups.rbegin()),
                        std::make_move_iterator(groups.rend()));
    plan_.cuts.clear();  // those of the unfused plan, which was searched for its splits
    if (!options_.among) explain_cuts(predicted);
    return std::move(plan_);
  }

 private:
  /// What is predicted to take so many times as long as the best is not measured.
  static constexpr double kWorthMeasuring = 1.35;
  static constexpr size_t kMeasuredStrips = 3;
  /// Ways to share out what is still read that are kept. Source: with so many the best plan of each
  /// network of tests/search/brute_force_test.cpp is found, with half as many not.
  static constexpr size_t kMostStates = 16;

  static bool is_faster(const State& a, const State& b) { return a.time < b.time; }
  static const State& best_of(const std::vector<State>& states) {
    return *std::min_element(states.begin(), states.end(), is_faster);
  }

  /// The segments of the runs; the rest is put down for explanations.
  std::vector<Segment> keep(Runs runs) {
    tried_.insert(tried_.end(), runs.tried.begin(), runs.tried.end());
    if (runs.refused) refused_.push_back(*runs.refused);
    plan_.search.num_runs += runs.effort.num_runs;
    plan_.search.num_known += runs.effort.num_known;
    plan_.search.num_priced += runs.effort.num_priced;
    plan_.search.exact = plan_.search.exact && runs.effort.exact;
    return std::move(runs.segments);
  }

  /// The segment behind each of the states; `after` keeps the best for each way to share it out.
  void extend(const std::vector<State>& states, const Segment& segment, size_t end,
              std::vector<State>& after) {
    // What is slower now may save as much as what comes before it could have saved.
    const double least = best_of(states).time + segment.least;
    const double saves = segment.time - segment.least;
    if (!after.empty() && least > best_of(after).time + saves) return;
    const std::map<int, int64_t> written = fusion::written_spans(*segment.group);
    const bool on_one_worker = fusion::runs_on_one_worker(*segment.group);
    for (const State& state : states) {
      State next{state.time + segment.time, {}, written, on_one_worker, &state};
      next.spans.insert(state.spans.begin(), state.spans.end());
      std::erase_if(next.spans, [&](const auto& span) { return last_reader_[span.first] < end; });
      if (!measured_ && !segment.group->nests.empty()) {
        auto span_of = [&](int root) {
          const auto at = state.spans.find(root);
          return at == state.spans.end() ? std::nullopt : std::optional(at->second);
        };
        const double time = time_(plan_.storage, *segment.group, {span_of, state.on_one_worker});
        next.time = state.time + (segment.group->walk ? kLeastGain : 1) * time;
      }
      const auto same = std::find_if(after.begin(), after.end(), [&](const State& other) {
        return other.spans == next.spans && other.on_one_worker == next.on_one_worker;
      });
      if (same != after.end() && same->time <= next.time) continue;
      next.group = segment.group;
      if (same != after.end()) {
        *same = std::move(next);
        continue;
      }
      after.push_back(std::move(next));
      if (after.size() <= kMostStates) continue;
      plan_.search.exact = false;
      after.erase(std::max_element(after.begin(), after.end(), is_faster));
    }
  }

  /// Where nothing can be measured any more, predictions are corrected by what was.
  double measure(const Segment& segment) {
    if (segment.group->nests.empty()) return 0;
    if (const std::optional<double> time = measured_(plan_.storage, *segment.group)) {
      measured_sum_ += *time;
      predicted_sum_ += segment.time;
      return *time;
    }
    return segment.time * (predicted_sum_ > 0 ? measured_sum_ / predicted_sum_ : 1);
  }

  /// Puts down what the search knows of running the kernels on both sides of each cut as one.
  /// `predicted`: the best times of the first groups of the unfused plan.
  void explain_cuts(const std::vector<double>& predicted) {
    size_t position = 0;
    for (size_t g = 0; g + 1 < plan_.groups.size(); ++g) {
      position += std::max<size_t>(1, plan_.groups[g].stages.size());
      plan_.cuts.push_back(cut_at(position, predicted));
    }
  }

  /// The cut in front of group `position` of the unfused plan.
  fusion::Cut cut_at(size_t position, const std::vector<double>& predicted) {
    fusion::Cut cut;
    const Runs::Tried* best = nullptr;
    double least_loss = std::numeric_limits<double>::max();
    for (const Runs::Tried& one : tried_) {
      if (one.first >= position || one.end <= position) continue;
      const double loss = one.time - (predicted[one.end] - predicted[one.first]);
      if (loss >= least_loss) continue;
      least_loss = loss;
      best = &one;
    }
    if (best) {
      cut.first = unfused_.groups[best->first].stages[0].nodes[0];
      cut.last = unfused_.groups[best->end - 1].stages[0].nodes[0];
      cut.time = best->time;
      cut.time_apart = predicted[best->end] - predicted[best->first];
      return cut;
    }
    for (const size_t side : {position - 1, position}) {
      if (unfused_.groups[side].kind == fusion::GroupKind::kCompute) continue;
      cut.refusal = fmt::format("{} is not computed in strips",
                                unfused_.groups[side].kind == fusion::GroupKind::kRoutine
                                    ? "what a routine makes or takes"
                                    : "a copy");
      return cut;
    }
    const auto refused = std::find_if(refused_.begin(), refused_.end(), [&](const auto& range) {
      return range.first < position && range.end > position;
    });
    if (refused != refused_.end()) {
      cut.refusal = finders_[0]->why_apart(*refused);
    } else if (!finders_[0]->is_related(position - 1, position + 1)) {
      cut.refusal = "the operator that runs next reads neither it nor what it reads";
    } else {
      cut.refusal = "no rings fit the second cache level with tiles that fit their strips";
    }
    return cut;
  }

  const Machine& machine_;
  const GroupTime& time_;
  const MeasuredTime& measured_;
  const RunOptions options_;
  double measured_sum_ = 0, predicted_sum_ = 0;
  const FusionPlan unfused_;
  FusionPlan plan_;  // with the groups that were chosen, in the end
  std::vector<Runs::Tried> tried_;
  std::vector<Run> refused_;
  std::vector<size_t> last_reader_;  // by buffer: a group of the unfused plan
  KnownChoices known_;
  std::vector<std::unique_ptr<RunFinder>> finders_;  // by worker
};

/// Of the first and the last stage.
using Names = std::pair<std::string_view, std::string_view>;

Names names_of(const GroupPlan& group, const graph::Graph& graph) {
  return {graph.nodes[group.stages.front().nodes.front()].name,
          graph.nodes[group.stages.back().nodes.front()].name};
}

/// Where the known groups lie in the unfused plan; nothing of those that it lacks.
std::vector<KnownRun> positions_of(const std::vector<KnownGroup>& known, const graph::Graph& graph,
                                   const FusionPlan& unfused) {
  std::map<std::string, size_t> position;
  for (size_t i = 0; i < unfused.groups.size(); ++i) {
    for (const fusion::Stage& stage : unfused.groups[i].stages) {
      position.emplace(graph.nodes[stage.nodes.front()].name, i);
    }
  }
  std::vector<KnownRun> found;
  for (const KnownGroup& group : known) {
    const auto first = position.find(group.first), last = position.find(group.last);
    if (first == position.end() || last == position.end()) continue;
    if (last->second + 1 != first->second + group.num_stages) continue;
    found.push_back({{first->second, last->second + 1}, &group});
  }
  return found;
}

}  // namespace

FusionPlan find_unfused_plan(const graph::Graph& graph, const Machine& machine,
                             const GroupTime& time) {
  FusionPlan plan = fusion::plan_unfused(graph);
  for_each_task(machine.threads, plan.groups.size(), [&](size_t task, size_t) {
    GroupPlan& group = plan.groups[task];
    for (fusion::Nest& nest : fusion::group_nests(graph, plan.storage, group)) {
      fusion::NestSchedule schedule = choose_schedule(nest, plan.storage, machine);
      group.nests.push_back({std::move(nest), std::move(schedule)});
    }
  });
  if (!time) return plan;
  return Fusing(graph, machine, time, nullptr, std::move(plan), 1).run();
}

FusionPlan find_plan(const graph::Graph& graph, const Machine& machine, const GroupTime& time,
                     const MeasuredTime& measured) {
  // What is measured alone says nothing of who wrote the operands.
  FusionPlan unfused = find_unfused_plan(graph, machine, measured ? time : nullptr);
  return Fusing(graph, machine, time, measured, std::move(unfused), kMaxStages).run();
}

FusionPlan find_plan_among(const graph::Graph& graph, const Machine& machine, const GroupTime& time,
                           const std::vector<KnownGroup>& known) {
  FusionPlan unfused = find_unfused_plan(graph, machine);
  std::vector<KnownRun> among = positions_of(known, graph, unfused);
  FusionPlan plan =
      Fusing(graph, machine, time, nullptr, std::move(unfused), kMaxStages, std::move(among)).run();
  std::multimap<Names, const KnownGroup*> by_names;
  for (const KnownGroup& group : known) by_names.emplace(Names(group.first, group.last), &group);
  for (GroupPlan& group : plan.groups) {
    if (group.kind != fusion::GroupKind::kCompute) continue;
    const auto [begin, end] = by_names.equal_range(names_of(group, graph));
    for (auto at = begin; at != end; ++at) mark_varying(*at->second, group);
  }
  return plan;
}

}  // namespace corf::search
