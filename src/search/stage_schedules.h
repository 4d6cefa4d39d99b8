#pragma once
#include <cstdint>
#include <map>
#include <vector>

#include "fusion/resolve.h"
#include "target/machine.h"

namespace corf::search {

/// Schedules of stages in strips, each chosen once: runs of groups that end in the same operator
/// walk their last stages alike, and so do strips of other lengths where rings do not turn.
class StageSchedules {
 public:
  /// All outlive the object; `walks` is of the same graph and storage.
  StageSchedules(const graph::Graph& graph, const fusion::StoragePlan& storage,
                 const Machine& machine, fusion::WalkCache& walks)
      : graph_(graph), storage_(storage), machine_(machine), walks_(walks) {}

  /// The stage's canonical nest and the schedule chosen for it.
  const fusion::ScheduledNest& of(const fusion::GroupPlan& group, size_t stage);

 private:
  using Key = std::vector<int64_t>;
  Key key_of(const fusion::GroupPlan& group, size_t stage);
  const fusion::SharedNest& nest_of(const fusion::GroupPlan& group, size_t stage, const Key& key);

  const graph::Graph& graph_;
  const fusion::StoragePlan& storage_;
  const Machine& machine_;
  fusion::WalkCache& walks_;
  std::map<Key, fusion::SharedNest> nests_;
  std::map<Key, fusion::ScheduledNest> schedules_;
};

}  // namespace corf::search
