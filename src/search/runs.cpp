#include "search/runs.h"

#include <algorithm>
#include <set>
#include <span>

#include "search/choose_schedule.h"

namespace corf::search {

using fusion::GroupPlan;

namespace {

/// Runs that end alike are given up when so many in turn, each longer by a group, take longer than
/// the same groups in the shorter runs known and alone. A bound on what is tried: with it the plans
/// of 80 models (benchmarks/) stay as they are; with 3 a network loses a kernel of six groups.
constexpr int kMostSlower = 4;

}  // namespace

Runs RunFinder::before(size_t end) {
  Runs runs;
  for (GroupPlan& group : ways_alone(end - 1)) {
    const double time = group.nests.empty() ? 0 : search_.time(unfused_.storage, group, {});
    runs.segments.push_back(segment_of(end - 1, std::move(group), time));
  }
  double least = time_alone(end - 1);  // of what is known of the groups from `first` on
  int num_slower = 0;
  for (size_t first = end - 1; first-- > 0 && end - first <= options_.most_stages;) {
    if (!is_compute(first) || !is_compute(end - 1)) break;
    if (options_.among && known_as({first, end}).empty()) continue;
    if (!is_related(first, end)) break;
    ++runs.effort.num_runs;
    StripChoice choice = fuse({first, end}, runs.effort);
    if (!choice.legal) {
      runs.refused = Run{first, end};
      break;
    }
    prefer_known({first, end}, choice);
    least += time_alone(first);
    if (!choice.best.empty()) {
      const double time = kLeastGain * choice.best.front().time;
      num_slower = time < least ? 0 : num_slower + 1;
      least = std::min(least, time);
    }
    for (TimedGroup& strips : choice.best) {
      runs.tried.push_back({{first, end}, kLeastGain * strips.time});
      runs.segments.push_back(segment_of(first, std::move(strips.group), kLeastGain * strips.time));
    }
    if (num_slower == kMostSlower && !options_.among) {
      runs.effort.exact = false;
      break;
    }
  }
  return runs;
}

double RunFinder::time_alone(size_t number) const {
  const GroupPlan& group = unfused_.groups[number];
  return group.nests.empty() ? 0 : search_.time(unfused_.storage, group, {});
}

/// As it is in the unfused plan, and with other axes shared out among the workers.
std::vector<GroupPlan> RunFinder::ways_alone(size_t number) const {
  if (std::optional<GroupPlan> known = known_alone(number)) return {std::move(*known)};
  const GroupPlan& group = unfused_.groups[number];
  std::vector<GroupPlan> ways{group};
  if (!options_.other_splits || group.nests.size() != 1) return ways;
  const auto& [nest, schedule] = group.nests[0];
  if (schedule.partition_axis < 0) return ways;
  // Behind a kernel of one worker, one that is soon done need not wait for the others.
  GroupPlan on_one = group;
  on_one.nests[0].schedule.partition_axis = -1;
  on_one.nests[0].schedule.partitions = 1;
  if (search_.time(unfused_.storage, on_one, {nullptr, true}) <
      search_.time(unfused_.storage, group, {})) {
    ways.push_back(std::move(on_one));
  }
  for (int axis : schedule.parallel_order) {
    if (axis == schedule.partition_axis) continue;
    fusion::NestSchedule other = choose_schedule(nest, unfused_.storage, machine_, axis);
    if (other.partition_axis != axis) continue;
    ways.push_back(group);
    ways.back().nests[0].schedule = std::move(other);
  }
  return ways;
}

Segment RunFinder::segment_of(size_t first, GroupPlan group, double time) const {
  double least = time;
  if (!group.nests.empty()) {
    const fusion::Before best{nullptr, fusion::runs_on_one_worker(group), true};
    const double factor = group.walk ? kLeastGain : 1;
    least = std::min(time, factor * search_.time(unfused_.storage, group, best));
  }
  return {first, std::make_shared<const GroupPlan>(std::move(group)), time, least};
}

bool RunFinder::is_compute(size_t i) const {
  return unfused_.groups[i].kind == fusion::GroupKind::kCompute;
}

std::vector<const KnownGroup*> RunFinder::known_as(const Run& run) const {
  std::vector<const KnownGroup*> known;
  if (!options_.among) return known;
  for (const KnownRun& other : *options_.among) {
    if (other.first == run.first && other.end == run.end) known.push_back(other.group);
  }
  return known;
}

std::optional<GroupPlan> RunFinder::known_alone(size_t number) const {
  const GroupPlan& found = unfused_.groups[number];
  if (found.nests.empty()) return std::nullopt;
  std::optional<double> most;
  for (const KnownGroup* known : known_as({number, number + 1})) {
    auto group = alone_as(*known, found);
    if (!group) continue;
    if (!most) most = most_for_known(search_.time(unfused_.storage, found, {}));
    if (search_.time(unfused_.storage, *group, {}) <= *most) return group;
  }
  return std::nullopt;
}

void RunFinder::prefer_known(const Run& run, StripChoice& choice) {
  if (choice.best.empty()) return;
  for (const KnownGroup* known : known_as(run)) {
    const TimedGroup& found = choice.best.front();
    auto group = in_strips_as(search_, *known, join(run), found.group.walk->schedule);
    if (!group || group->time > most_for_known(found.time)) continue;
    choice.best.front() = std::move(*group);
    return;
  }
}

bool RunFinder::is_related(size_t first, size_t end) const {
  std::set<int> roots;
  const fusion::Nest& own = unfused_.groups[first].nests[0].nest;
  for (const auto& store : own.stores) roots.insert(store.access.root);
  for (const auto& load : own.loads) {
    if (!fusion::StorageView(unfused_.storage).is_constant(load.root)) roots.insert(load.root);
  }
  for (size_t i = first + 1; i < end; ++i) {
    for (const auto& load : unfused_.groups[i].nests[0].nest->loads) {
      if (roots.count(load.root)) return true;
    }
  }
  return false;
}

StripChoice RunFinder::fuse(const Run& run, fusion::SearchEffort& effort) {
  GroupPlan joined = join(run);
  const auto groups = std::span(unfused_.groups).subspan(run.first, run.end - run.first);
  std::optional<StripChoice> own;
  const KnownChoice& known = known_.find(
      words_.signature(groups), [&] { return choose_strips(search_, joined, options_.num_best); },
      own);
  if (!own) {
    if (std::optional<StripChoice> choice = as_known(known, joined)) {
      ++effort.num_known;
      return std::move(*choice);
    }
    own = choose_strips(search_, std::move(joined), options_.num_best);
  }
  effort.num_priced += own->num_priced;
  return std::move(*own);
}

/// nullopt if the schedules do not fit the group after all.
std::optional<StripChoice> RunFinder::as_known(const KnownChoice& known, const GroupPlan& joined) {
  StripChoice choice{known.legal, 0, {}};
  for (const KnownChoice::Schedules& one : known.best) {
    std::optional<TimedGroup> group = with_schedules(
        search_, joined, one.strips, [&](size_t i, const fusion::Nest&) { return one.of(i); });
    if (!group) return std::nullopt;
    choice.best.push_back(std::move(*group));
  }
  return choice;
}

GroupPlan RunFinder::join(const Run& run) const {
  GroupPlan joined;
  for (size_t i = run.first; i < run.end; ++i) {
    joined.stages.push_back(unfused_.groups[i].stages[0]);
  }
  return joined;
}

}  // namespace corf::search
