#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "fusion/plan.h"
#include "fusion/split_span.h"
#include "search/known_groups.h"
#include "target/machine.h"

namespace corf::search {

/// Predicted or measured time of a group whose nests have schedules, in any unit, behind
/// what ran before it.
using GroupTime =
    std::function<double(const fusion::StoragePlan& storage, const fusion::GroupPlan& group,
                         const fusion::Before& before)>;

/// Measured time of such a group, in the unit of GroupTime; nullopt if there is no time to measure.
using MeasuredTime = std::function<std::optional<double>(const fusion::StoragePlan& storage,
                                                         const fusion::GroupPlan& group)>;

/// The longest chain that is tried as one kernel.
constexpr size_t kMaxStages = 12;

/// What fusing must promise: no time is predicted to the percent.
constexpr double kLeastGain = 1.02;

/// Every complex operator in a kernel of its own, with a schedule for each nest. With `time`, what
/// kernels share out among the workers fits what those before have left in their caches.
fusion::FusionPlan find_unfused_plan(const graph::Graph& graph, const Machine& machine,
                                     const GroupTime& time = nullptr);

/// The best plan known for a prepared graph: groups, layouts, and a schedule for each nest.
/// Consecutive groups of the unfused plan are joined where that takes less time, by dynamic
/// programming over the cuts of their order: exact but for what a group's time depends on who wrote
/// the values that it reads, of which the best few ways to share out the group before are kept.
/// With `measured`, what is predicted to be among the best is measured, and the measured times
/// decide. Source: design section 4 "Network level".
fusion::FusionPlan find_plan(const graph::Graph& graph, const Machine& machine,
                             const GroupTime& time, const MeasuredTime& measured = nullptr);

/// How many times as long a known kernel may take as one that is found for the very extents:
/// kernels that are alike share their code. A choice: within what predictions of two schedules of
/// one nest are worth, and less than the 3 % that a new shape may lose in all.
constexpr double kWorthSharing = 1.02;
/// How much longer it may take besides, of the mean time of the plan's kernels: what is short
/// matters less. A choice: few kernels of a plan make use of it.
constexpr double kSpare = 0.05;

/// As find_plan, but only runs of stages that are one kernel in plans of graphs that differ in some
/// extents are tried as one. Kernels are carried out as they are there where that is predicted to
/// take at most kWorthSharing times as long as what is found anew, and kSpare; the first in the
/// list comes first.
fusion::FusionPlan find_plan_among(const graph::Graph& graph, const Machine& machine,
                                   const GroupTime& time, const std::vector<KnownGroup>& known);

}  // namespace corf::search
