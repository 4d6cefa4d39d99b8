#pragma once
#include <optional>
#include <string>
#include <vector>

#include "search/find_plan.h"
#include "support/at_fork.h"

namespace corf::driver {

/// The plans of one model for some shapes of its inputs, for plans for others. Threads may share
/// it.
class KnownPlans {
 public:
  /// The kernels of plans for graphs near this one, those of the nearest first. nullopt if none was
  /// searched for in full: for the same operators, with at most `kNear` times as many elements or
  /// as few.
  std::optional<std::vector<search::KnownGroup>> near(const graph::Graph& graph) const;

  /// Keeps a plan. `in_full`: that a search among all runs of operators has found.
  void add(const graph::Graph& graph, const fusion::FusionPlan& plan, bool in_full);

 private:
  static constexpr double kNear = 2;
  /// Plans that are looked at, and that are kept.
  static constexpr size_t kMostLookedAt = 4, kMostKept = 32;

  struct Known {
    std::vector<std::string> nodes;  // names, in the graph's order
    double num_elems = 0;
    bool in_full = false;
    std::vector<search::KnownGroup> groups;
  };
  mutable BriefMutex mutex_;
  std::vector<Known> known_;
};

}  // namespace corf::driver
