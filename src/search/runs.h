#pragma once
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "search/choose_strips.h"
#include "search/find_plan.h"
#include "search/known_choices.h"

namespace corf::search {

/// A way to run groups [first, end) of the unfused plan as one.
struct Segment {
  size_t first = 0;
  std::shared_ptr<const fusion::GroupPlan> group;
  double time = 0;   // whoever wrote what it reads
  double least = 0;  // with all that may come before it
};

/// Groups [first, end) of the unfused plan.
struct Run {
  size_t first = 0, end = 0;
};

/// The runs of groups that end before some group of the unfused plan.
struct Runs {
  std::vector<Segment> segments;  // the last group alone comes first
  struct Tried : Run {
    double time = 0;
  };
  std::vector<Tried> tried;    // as one kernel
  std::optional<Run> refused;  // the first that cannot be one; no longer one is tried
  fusion::SearchEffort effort;
};

/// A run that is one kernel in another plan.
struct KnownRun : Run {
  const KnownGroup* group = nullptr;
};

struct RunOptions {
  size_t most_stages = 1;
  size_t num_best = 1;                           // strips of each run
  bool other_splits = true;                      // of what runs alone, too
  double spare = 0;                              // that known ones may take beside kWorthSharing
  std::optional<std::vector<KnownRun>> among{};  // only these are tried as one kernel
};

/// Finds the runs of one unfused plan's groups. Each worker has its own; they share what is known.
class RunFinder {
 public:
  /// All outlive the object. `known` is of the same plan.
  RunFinder(const graph::Graph& graph, const Machine& machine, const GroupTime& time,
            const fusion::FusionPlan& unfused, const RunOptions& options, KnownChoices& known)
      : machine_(machine),
        options_(options),
        unfused_(unfused),
        search_(graph, unfused.storage, machine, time),
        words_(graph, unfused.storage, search_.walks),
        known_(known) {}

  /// Those that end before group `end`, with predicted times.
  Runs before(size_t end);
  /// Whether a group in (first, end) reads what group `first` stores, or both read one value.
  bool is_related(size_t first, size_t end) const;
  /// What stands in the way of the run.
  std::string why_apart(const Run& run) { return search::why_apart(search_, join(run)); }

 private:
  double time_alone(size_t number) const;
  std::vector<fusion::GroupPlan> ways_alone(size_t number) const;
  Segment segment_of(size_t first, fusion::GroupPlan group, double time) const;
  StripChoice fuse(const Run& run, fusion::SearchEffort& effort);
  std::optional<StripChoice> as_known(const KnownChoice& known, const fusion::GroupPlan& joined);
  fusion::GroupPlan join(const Run& run) const;
  bool is_compute(size_t i) const;
  std::vector<const KnownGroup*> known_as(const Run& run) const;
  std::optional<fusion::GroupPlan> known_alone(size_t number) const;
  /// The most that a known kernel may take, where what is found anew takes `time`.
  double most_for_known(double time) const { return kWorthSharing * time + options_.spare; }
  /// Puts the known way to carry the run out in the place of the best one, if it is as good.
  void prefer_known(const Run& run, StripChoice& choice);

  const Machine& machine_;
  const RunOptions options_;
  const fusion::FusionPlan& unfused_;
  StripSearch search_;
  RunWords words_;
  KnownChoices& known_;
};

}  // namespace corf::search
