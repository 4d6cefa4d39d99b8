#include "fusion/check_plan.h"

#include <algorithm>
#include <map>

#include "fusion/byte_steps.h"
#include "fusion/lane_steps.h"
#include "fusion/matrix.h"
#include "fusion/resolve.h"
#include "fusion/through_views.h"

namespace corf::fusion {
namespace {

using graph::Compute;
using graph::Graph;
using graph::NodeId;
using graph::ValueId;

const Compute* compute_of(const Graph& graph, NodeId id) {
  return std::get_if<Compute>(&graph.nodes[id].op);
}

/// The node whose points the stage walks: its reduction, or the last.
NodeId anchor_of(const Graph& graph, const Stage& stage) {
  for (NodeId id : stage.nodes) {
    if (compute_of(graph, id)->combiner != graph::Combiner::kNone) return id;
  }
  return stage.nodes.back();
}

bool contains(const std::vector<int>& numbers, int number) {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

bool reads_point_itself(const graph::Operand& operand, const Shape& value, const Shape& points) {
  if (value != points || operand.map.exprs.size() != points.size()) return false;
  for (size_t d = 0; d < points.size(); ++d) {
    const index::Expr& at = operand.map.exprs[d];
    if (!at.is_variable(static_cast<int>(d)) && !(points[d] == 1 && at.is_constant(0))) {
      return false;
    }
  }
  return true;
}

/// What a nest may have to carry; plans of the search stay far below.
constexpr size_t kMostStageNodes = 256, kMostComputed = 4096;

template <typename... Args>
Error fault(fmt::format_string<Args...> text, Args&&... args) {
  return make_error(ErrorCode::kInvalidArgument, text, std::forward<Args>(args)...);
}

}  // namespace

PlanChecker::PlanChecker(const Graph& graph, const StoragePlan& storage)
    : graph_(graph), storage_(storage) {}

/// Whether earlier groups have left the value where it is read. Views that are not copied are
/// other looks at their inputs.
bool PlanChecker::is_available(ValueId value) const {
  const NodeId producer = graph_.values[value].producer;
  const graph::Node& node = graph_.nodes[producer];
  if (std::holds_alternative<graph::Constant>(node.op) ||
      std::holds_alternative<graph::Input>(node.op)) {
    return true;
  }
  if (available_.count(value)) return true;
  if (!is_view_in_place(graph_, storage_, producer)) return false;
  return std::all_of(node.inputs.begin(), node.inputs.end(),
                     [&](ValueId input) { return is_available(input); });
}

Status PlanChecker::add(const GroupPlan& group) {
  if (group.kind != GroupKind::kCompute) return add_copy(group);
  if (group.stages.empty()) return fault("a group has no nodes");
  if (group.stages.size() > 1 && !group.walk)
    return fault("a group of several stages lacks strips");
  for (const Stage& stage : group.stages) CORF_RETURN_IF_ERROR(add_stage(stage));
  return {};
}

Status PlanChecker::add_stage(const Stage& stage) {
  if (stage.nodes.empty() || stage.stored.empty()) {
    return fault("a stage takes at least one node and one value to store");
  }
  if (stage.nodes.size() > kMostStageNodes) {
    return fault("the stage of node '{}' has more than {} nodes", graph_.nodes[stage.nodes[0]].name,
                 kMostStageNodes);
  }
  int reductions = 0;
  for (size_t i = 0; i < stage.nodes.size(); ++i) {
    const NodeId id = stage.nodes[i];
    const std::string& name = graph_.nodes[id].name;
    const Compute* compute = compute_of(graph_, id);
    if (!compute) return fault("node '{}' computes nothing", name);
    if (i > 0 && id <= stage.nodes[i - 1]) return fault("node '{}' is not in graph order", name);
    if (!done_.insert(id).second) return fault("node '{}' runs twice", name);
    reductions += compute->combiner != graph::Combiner::kNone;
  }
  if (reductions > 1) {
    return fault("the stage of node '{}' has several reductions",
                 graph_.nodes[stage.nodes[0]].name);
  }
  CORF_RETURN_IF_ERROR(check_reads(stage));
  CORF_RETURN_IF_ERROR(check_points(stage));
  CORF_RETURN_IF_ERROR(check_work(stage));
  available_.insert(stage.stored.begin(), stage.stored.end());
  return {};
}

/// What a stage's nodes read of each other must be computed at the points where it is read.
Status PlanChecker::check_reads(const Stage& stage) const {
  const NodeId anchor = anchor_of(graph_, stage);
  const bool reduces = compute_of(graph_, anchor)->combiner != graph::Combiner::kNone;
  const Shape& points = graph_.values[graph_.nodes[anchor].outputs[0]].shape;
  const std::set<NodeId> inside(stage.nodes.begin(), stage.nodes.end());
  std::set<NodeId> behind;  // nodes that need the reduction's result, and itself
  if (reduces) behind.insert(anchor);
  for (NodeId id : stage.nodes) {
    const graph::Node& node = graph_.nodes[id];
    const Compute& compute = *compute_of(graph_, id);
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId value = node.inputs[i];
      const NodeId producer = graph_.values[value].producer;
      if (!inside.count(producer)) {
        if (is_available(value)) continue;
        return fault("node '{}' reads '{}', which no group before it stores", node.name,
                     graph_.values[value].name);
      }
      const graph::Operand& operand = compute.operands[i];
      if (operand.guarded) {
        return fault("node '{}' reads beyond '{}', which its own stage computes", node.name,
                     graph_.values[value].name);
      }
      if (!behind.count(producer)) continue;
      behind.insert(id);
      if (!reads_point_itself(operand, graph_.values[value].shape, points)) {
        return fault("node '{}' reads other points of '{}' than its stage computes", node.name,
                     graph_.values[value].name);
      }
    }
  }
  return {};
}

Status PlanChecker::check_points(const Stage& stage) const {
  const NodeId anchor = anchor_of(graph_, stage);
  const Shape& points = graph_.values[graph_.nodes[anchor].outputs[0]].shape;
  std::set<ValueId> stored;
  for (ValueId value : stage.stored) {
    const std::string& name = graph_.values[value].name;
    const NodeId producer = graph_.values[value].producer;
    if (std::find(stage.nodes.begin(), stage.nodes.end(), producer) == stage.nodes.end()) {
      return fault("'{}' is not computed by the stage that stores it", name);
    }
    if (!stored.insert(value).second) return fault("'{}' is stored twice", name);
    if (graph_.values[value].shape != points) {
      return fault("'{}' does not have the points of its stage", name);
    }
  }
  return {};
}

/// A nest computes a node once for each way in which the stage comes to it: nodes that read two
/// neighbours of what the node before computes, one behind the other, double at each step.
Status PlanChecker::check_work(const Stage& stage) const {
  constexpr int kStored = 0, kReduced = 1;  // ways: the stage's points, those of its reduction
  const NodeId anchor = anchor_of(graph_, stage);
  const bool reduces = compute_of(graph_, anchor)->combiner != graph::Combiner::kNone;
  std::map<NodeId, std::set<int>> ways;
  for (ValueId value : stage.stored) ways[graph_.values[value].producer] = {kStored};
  if (reduces) ways[anchor] = {kReduced};
  int num_ways = kReduced + 1;
  size_t computed = 0;
  for (auto id = stage.nodes.rbegin(); id != stage.nodes.rend(); ++id) {
    const graph::Node& node = graph_.nodes[*id];
    const Compute& compute = *compute_of(graph_, *id);
    const Shape& points = graph_.values[node.outputs[0]].shape;
    computed += ways[*id].size();
    if (computed > kMostComputed) {
      return fault(
          "the stage of node '{}' computes its nodes at more than {} points for each of "
          "its own",
          graph_.nodes[stage.nodes[0]].name, kMostComputed);
    }
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId value = node.inputs[i];
      const NodeId producer = graph_.values[value].producer;
      if (producer == anchor && reduces) continue;  // computed before what follows it
      const bool same = compute.combiner == graph::Combiner::kNone &&
                        reads_point_itself(compute.operands[i], graph_.values[value].shape, points);
      for (const int way : ways[*id]) ways[producer].insert(same ? way : num_ways++);
    }
  }
  return {};
}

Status PlanChecker::add_copy(const GroupPlan& group) {
  if (group.walk) return fault("strips take a group of compute operators");
  if (group.kind == GroupKind::kOutputCopy) {
    if (!group.stages.empty()) return fault("the copy of an output takes no nodes");
    if (!contains(storage_.copied_outputs, group.output)) {
      return fault("output {} is not copied", group.output);
    }
    if (!is_available(graph_.outputs[group.output])) {
      return fault("output {} is copied before it is computed", group.output);
    }
    if (!outputs_.insert(group.output).second)
      return fault("output {} is copied twice", group.output);
    return {};
  }
  const std::vector<NodeId> nodes = group.nodes();
  if (nodes.size() != 1 || group.stages.size() != 1 || !group.stages[0].stored.empty()) {
    return fault("a copy or routine takes one node and stores nothing else");
  }
  const graph::Node& node = graph_.nodes[nodes[0]];
  const bool fits = group.kind == GroupKind::kViewCopy
                        ? contains(storage_.copied_views, nodes[0])
                        : std::holds_alternative<graph::Opaque>(node.op);
  if (!fits) return fault("node '{}' does not fit its group's kind", node.name);
  if (!done_.insert(nodes[0]).second) return fault("node '{}' runs twice", node.name);
  for (ValueId value : node.inputs) {
    if (is_available(value)) continue;
    return fault("node '{}' reads '{}', which no group before it stores", node.name,
                 graph_.values[value].name);
  }
  available_.insert(node.outputs.begin(), node.outputs.end());
  return {};
}

Status PlanChecker::finish() const {
  for (size_t i = 0; i < graph_.outputs.size(); ++i) {
    const bool copied = contains(storage_.copied_outputs, static_cast<int>(i));
    if (!is_available(graph_.outputs[i]) || (copied && !outputs_.count(static_cast<int>(i)))) {
      return fault("the plan does not make output {} ('{}')", i, graph_.output_names[i]);
    }
  }
  return {};
}

Status check_nest_schedule(const Nest& nest, const StorageView& storage,
                           const NestSchedule& schedule) {
  CORF_RETURN_IF_ERROR(check_schedule(nest, schedule));
  CORF_RETURN_IF_ERROR(check_matrix(nest, storage, schedule));
  CORF_RETURN_IF_ERROR(check_byte_steps(nest, storage, schedule));
  return check_lane_steps(nest, storage, schedule);
}

Status verify_plan(const Graph& graph, const FusionPlan& plan) {
  PlanChecker checker(graph, plan.storage);
  WalkCache cache(graph, plan.storage);
  for (const GroupPlan& group : plan.groups) {
    CORF_RETURN_IF_ERROR(checker.add(group));
    if (group.walk) {
      CORF_RETURN_IF_ERROR(
          resolve_walk(graph, plan.storage, group.stages, group.walk->schedule, cache));
      CORF_RETURN_IF_ERROR(check_strip_tiles(group));
    }
    for (const auto& [nest, schedule] : group.nests) {
      CORF_RETURN_IF_ERROR(
          check_nest_schedule(nest, StorageView(plan.storage, group.walk), schedule));
    }
  }
  return checker.finish();
}

}  // namespace corf::fusion
