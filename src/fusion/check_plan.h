#pragma once
#include <set>

#include "fusion/plan.h"

namespace corf::fusion {

/// Checks a plan that somebody wrote, group by group in the plan's order: that every group can be
/// one nest for each stage, reads what earlier groups store, and that all outputs are made.
class PlanChecker {
 public:
  PlanChecker(const graph::Graph& graph, const StoragePlan& storage);

  /// Nodes and stored values; schedules are check_schedule's and check_strip_tiles' matter.
  /// Errors: kInvalidArgument naming the node or value.
  Status add(const GroupPlan& group);
  /// To be called behind the last group. Errors: kInvalidArgument naming what is missing.
  Status finish() const;

 private:
  Status add_stage(const Stage& stage);
  Status add_copy(const GroupPlan& group);
  Status check_reads(const Stage& stage) const;
  Status check_points(const Stage& stage) const;
  Status check_work(const Stage& stage) const;
  bool is_available(graph::ValueId value) const;

  const graph::Graph& graph_;
  const StoragePlan& storage_;
  std::set<graph::NodeId> done_;        // nodes of earlier groups and stages
  std::set<graph::ValueId> available_;  // values that they store
  std::set<int> outputs_;               // copied
};

/// A schedule can be carried out on its nest, on the matrix unit or with steps side by side too.
/// Errors: kInvalidArgument.
Status check_nest_schedule(const Nest& nest, const StorageView& storage,
                           const NestSchedule& schedule);

/// All that a plan has to hold for lowering, whoever made it.
/// Errors: kInvalidArgument naming the node or value; kUnsupported.
Status verify_plan(const graph::Graph& graph, const FusionPlan& plan);

}  // namespace corf::fusion
