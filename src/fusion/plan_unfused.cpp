#include <algorithm>
#include <set>

#include "fusion/order.h"
#include "fusion/plan.h"
#include "graph/scalar_cost.h"

namespace corf::fusion {
namespace {

using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::NodeId;
using graph::ValueId;

/// Registers bound how much a kernel may carry along, and what a compiler takes for a long block:
/// it grows with the square of the block's instructions.
constexpr size_t kMaxGroupNodes = 24;
constexpr double kMaxGroupInstructions = 1024;

const Compute* compute_of(const Graph& graph, NodeId id) {
  return std::get_if<Compute>(&graph.nodes[id].op);
}

bool is_elementwise(const Graph& graph, NodeId id) {
  const Compute* compute = compute_of(graph, id);
  if (!compute || compute->combiner != graph::Combiner::kNone) return false;
  return std::none_of(compute->operands.begin(), compute->operands.end(),
                      [](const graph::Operand& operand) { return operand.guarded; });
}

/// The operand is read at the point itself; unit extents may be written as the constant 0.
bool is_identity(const graph::Operand& operand, const Shape& shape) {
  if (operand.map.exprs.size() != shape.size()) return false;
  for (size_t d = 0; d < shape.size(); ++d) {
    const index::Expr& expr = operand.map.exprs[d];
    if (!expr.is_variable(static_cast<int>(d)) && !(shape[d] == 1 && expr.is_constant(0))) {
      return false;
    }
  }
  return true;
}

bool cuts_into_few(const index::Expr& expr, int axis) {
  constexpr int64_t kLineElems = 16;
  if (expr.is_constant() || expr.kind() == index::ExprKind::kVariable) return false;
  const bool cut = expr.kind() == index::ExprKind::kMod && expr.lhs().is_variable(axis) &&
                   expr.rhs().is_constant() && expr.rhs().constant() < kLineElems;
  return cut || cuts_into_few(expr.lhs(), axis) || cuts_into_few(expr.rhs(), axis);
}

/// Whether the kernel of `seed`, which makes a few neighbours of a row at a time, writes them where
/// `value` lies into lines that drive each other out of the cache before they are full: those of
/// its lanes are a multiple of a page apart, and a row is not short.
bool drives_out_lines(const Graph& graph, const StoragePlan& storage, NodeId seed, ValueId value) {
  constexpr int64_t kPageElems = 4096 / sizeof(float), kShortRow = 32;
  const Compute& compute = *compute_of(graph, seed);
  const ValueId made = graph.nodes[seed].outputs[0];
  const Shape& shape = graph.values[value].shape;
  if (shape.empty() || graph.values[made].shape != shape) return false;
  const auto& strides = storage.values[value].strides;
  const int lanes = order_of_strides(storage.values[made].strides).back();
  const int row = order_of_strides(strides).back();
  if (lanes == row || shape[row] < kShortRow || strides[lanes] % kPageElems != 0) return false;
  return std::any_of(compute.operands.begin(), compute.operands.end(), [&](const auto& operand) {
    return std::any_of(operand.map.exprs.begin(), operand.map.exprs.end(),
                       [&](const index::Expr& expr) { return cuts_into_few(expr, row); });
  });
}

class UnfusedPlanner {
 public:
  explicit UnfusedPlanner(const Graph& graph) : graph_(graph), consumers_(consumers(graph)) {
    group_of_.assign(graph.nodes.size(), -1);
    is_output_.assign(graph.values.size(), false);
    for (ValueId value : graph.outputs) is_output_[value] = true;
  }

  FusionPlan run() {
    FusionPlan plan;
    plan.storage = plan_storage(graph_);
    storage_ = &plan.storage;
    form_groups();
    order_groups(plan);
    return plan;
  }

 private:
  struct Draft {
    std::vector<NodeId> nodes;
    double instructions = 0;  // for one vector of each node's results
  };

  double instructions(NodeId id) const {
    return graph::num_instructions(compute_of(graph_, id)->body);
  }
  bool has_room(int number, NodeId candidate) const {
    const Draft& draft = drafts_[number];
    return draft.nodes.size() < kMaxGroupNodes &&
           draft.instructions + instructions(candidate) <= kMaxGroupInstructions;
  }
  void add(NodeId id, int number) {
    group_of_[id] = number;
    drafts_[number].nodes.push_back(id);
    drafts_[number].instructions += instructions(id);
  }

  void form_groups() {
    const auto n = static_cast<NodeId>(graph_.nodes.size());
    for (NodeId id = 0; id < n; ++id) {
      const Compute* compute = compute_of(graph_, id);
      if (compute && !is_elementwise(graph_, id)) grow(id);
    }
    for (NodeId id = 0; id < n; ++id) {
      if (is_elementwise(graph_, id) && group_of_[id] < 0) grow(id);
    }
  }

  /// A group around `seed`: first the element-wise operators that only it reads, then those that
  /// read it, as long as every stored value has the group's own points.
  void grow(NodeId seed) {
    const int number = static_cast<int>(drafts_.size());
    drafts_.emplace_back();
    add(seed, number);
    if (!is_elementwise(graph_, seed)) add_prologues(seed, number);
    bool grown = true;
    while (grown) {
      grown = false;
      for (NodeId member : std::vector<NodeId>(drafts_[number].nodes)) {
        if (prologues_.count(member)) continue;
        for (NodeId consumer : consumers_[graph_.nodes[member].outputs[0]]) {
          if (group_of_[consumer] < 0 && can_append(consumer, number)) {
            add(consumer, number);
            grown = true;
          }
        }
      }
    }
  }

  /// Reductions that read each element once take what computes it along.
  void add_prologues(NodeId seed, int number) {
    const Compute& compute = *compute_of(graph_, seed);
    if (compute.operands.size() != 1 || compute.operands[0].guarded) return;
    const size_t num_axes = compute.space.axes.size();
    if (compute.operands[0].map.exprs.size() != num_axes) return;
    ValueId value = graph_.nodes[seed].inputs[0];
    while (true) {
      NodeId producer = graph_.values[value].producer;
      if (!is_elementwise(graph_, producer) || group_of_[producer] >= 0) return;
      if (consumers_[value].size() != 1 || is_output_[value]) return;
      if (!has_room(number, producer)) return;
      prologues_.insert(producer);
      add(producer, number);
      // Go on through the operand with the same points; the others are loaded.
      const Compute& elementwise = *compute_of(graph_, producer);
      ValueId next = -1;
      for (size_t i = 0; i < elementwise.operands.size(); ++i) {
        if (is_identity(elementwise.operands[i], graph_.values[value].shape)) {
          next = graph_.nodes[producer].inputs[i];
        }
      }
      if (next < 0) return;
      value = next;
    }
  }

  bool can_append(NodeId candidate, int number) {
    if (!is_elementwise(graph_, candidate) || !has_room(number, candidate)) return false;
    const NodeId seed = drafts_[number].nodes[0];
    if (drives_out_lines(graph_, *storage_, seed, graph_.nodes[candidate].outputs[0])) return false;
    const Node& node = graph_.nodes[candidate];
    const Compute& compute = *compute_of(graph_, candidate);
    const Shape& shape = graph_.values[node.outputs[0]].shape;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      NodeId producer = graph_.values[node.inputs[i]].producer;
      bool inside = group_of_[producer] == number && !prologues_.count(producer);
      if (inside && (!is_identity(compute.operands[i], shape) ||
                     graph_.values[node.inputs[i]].shape != shape)) {
        return false;
      }
    }
    group_of_[candidate] = number;
    std::vector<NodeId> members = drafts_[number].nodes;
    members.push_back(candidate);
    bool cyclic = depends_on_itself(members, number);
    group_of_[candidate] = -1;
    return !cyclic;
  }

  /// Whether something outside of the group both reads and feeds it; groups run as a whole, so
  /// whatever one member needs, all need.
  bool depends_on_itself(const std::vector<NodeId>& members, int number) {
    std::vector<bool> seen(graph_.nodes.size(), false);
    std::vector<NodeId> stack;
    auto push_inputs = [&](NodeId id, bool own) {
      for (ValueId input : graph_.nodes[id].inputs) {
        NodeId producer = graph_.values[input].producer;
        if (own && group_of_[producer] == number) continue;
        if (!seen[producer]) stack.push_back(producer);
        seen[producer] = true;
      }
    };
    for (NodeId member : members) push_inputs(member, true);
    while (!stack.empty()) {
      NodeId id = stack.back();
      stack.pop_back();
      if (group_of_[id] == number) return true;
      push_inputs(id, false);
      if (group_of_[id] < 0) continue;
      for (NodeId member : drafts_[group_of_[id]].nodes) {
        if (!seen[member]) stack.push_back(member);
        seen[member] = true;
      }
    }
    return false;
  }

  /// Emits groups, copies and routines in an order that respects their dependences.
  void order_groups(FusionPlan& plan) {
    const auto n = static_cast<NodeId>(graph_.nodes.size());
    std::vector<int> copied(n, -1);
    for (size_t i = 0; i < plan.storage.copied_views.size(); ++i) {
      copied[plan.storage.copied_views[i]] = static_cast<int>(i);
    }
    std::vector<bool> emitted(n, false);
    std::vector<std::pair<NodeId, bool>> stack;
    for (NodeId root = 0; root < n; ++root) {
      stack.push_back({root, false});
      while (!stack.empty()) {
        auto [id, expanded] = stack.back();
        stack.pop_back();
        if (emitted[id]) continue;
        std::vector<NodeId> members =
            group_of_[id] >= 0 ? drafts_[group_of_[id]].nodes : std::vector<NodeId>{id};
        std::sort(members.begin(), members.end());
        if (!expanded) {
          stack.push_back({id, true});
          for (NodeId member : members) {
            for (ValueId input : graph_.nodes[member].inputs) {
              NodeId producer = graph_.values[input].producer;
              bool own = std::find(members.begin(), members.end(), producer) != members.end();
              if (!own && !emitted[producer]) stack.push_back({producer, false});
            }
          }
          continue;
        }
        for (NodeId member : members) emitted[member] = true;
        emit(plan, id, members, copied[id]);
      }
    }
    for (int output : plan.storage.copied_outputs) {
      GroupPlan group;
      group.kind = GroupKind::kOutputCopy;
      group.output = output;
      plan.groups.push_back(std::move(group));
    }
  }

  void emit(FusionPlan& plan, NodeId id, const std::vector<NodeId>& members, int copied) {
    const graph::Op& op = graph_.nodes[id].op;
    GroupPlan group;
    group.stages.push_back({members, {}});
    if (std::holds_alternative<Compute>(op)) {
      group.kind = GroupKind::kCompute;
      for (NodeId member : members) {
        ValueId value = graph_.nodes[member].outputs[0];
        bool leaves = is_output_[value];
        for (NodeId consumer : consumers_[value]) leaves |= group_of_[consumer] != group_of_[id];
        if (consumers_[value].empty()) leaves = true;
        if (leaves) group.stages[0].stored.push_back(value);
      }
    } else if (std::holds_alternative<graph::View>(op)) {
      if (copied < 0) return;
      group.kind = GroupKind::kViewCopy;
    } else if (std::holds_alternative<graph::Opaque>(op)) {
      group.kind = GroupKind::kRoutine;
    } else {
      return;
    }
    plan.groups.push_back(std::move(group));
  }

  const Graph& graph_;
  const StoragePlan* storage_ = nullptr;
  std::vector<std::vector<NodeId>> consumers_;
  std::vector<int> group_of_;
  std::vector<Draft> drafts_;
  std::set<NodeId> prologues_;
  std::vector<bool> is_output_;
};

}  // namespace

FusionPlan plan_unfused(const Graph& graph) { return UnfusedPlanner(graph).run(); }

}  // namespace corf::fusion
