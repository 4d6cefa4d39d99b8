#include "rewrite/structure.h"

#include <algorithm>

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Operand;
using graph::ScalarBody;
using graph::ScalarNode;
using graph::ScalarOp;
using graph::ValueId;

const Tensor* constant_tensor(const Graph& graph, ValueId value) {
  const auto* constant = std::get_if<graph::Constant>(&graph.producer(value).op);
  return constant ? &constant->tensor : nullptr;
}

const Compute* producing_compute(const Graph& graph, ValueId value) {
  return std::get_if<Compute>(&graph.producer(value).op);
}

const graph::View* producing_view(const Graph& graph, ValueId value) {
  return std::get_if<graph::View>(&graph.producer(value).op);
}

std::vector<index::Interval> axis_ranges(const index::IterationSpace& space) {
  std::vector<index::Interval> ranges;
  for (const index::Axis& axis : space.axes) ranges.push_back({0, axis.extent - 1});
  return ranges;
}

bool reads_axes_only(const Operand& operand, const index::IterationSpace& space) {
  std::vector<bool> used;
  for (const index::Expr& expr : operand.map.exprs) index::collect_variables(expr, used);
  for (size_t i = space.axes.size(); i < used.size(); ++i) {
    if (used[i]) return false;
  }
  return true;
}

bool is_elementwise(const Compute& compute) {
  if (compute.combiner != graph::Combiner::kNone) return false;
  return std::all_of(compute.operands.begin(), compute.operands.end(), [&](const Operand& operand) {
    return reads_axes_only(operand, compute.space);
  });
}

bool reads_plainly(const Compute& compute) {
  return std::all_of(compute.operands.begin(), compute.operands.end(),
                     [&](const graph::Operand& operand) {
                       return !operand.guarded && reads_axes_only(operand, compute.space);
                     });
}

bool reads_own_point(const Operand& operand, const Shape& operand_shape,
                     const index::IterationSpace& space) {
  if (operand.guarded) return false;
  const int rank = space.num_parallel();
  if (static_cast<int>(operand_shape.size()) != rank) return false;
  for (int i = 0; i < rank; ++i) {
    if (operand_shape[i] != space.axes[i].extent) return false;
    const index::Expr& expr = operand.map.exprs[i];
    if (!expr.is_variable(i) && !(operand_shape[i] == 1 && expr.is_constant(0))) return false;
  }
  return true;
}

std::optional<int> returned_operand(const ScalarBody& body) {
  const ScalarNode& last = body.nodes.back();
  if (last.op != ScalarOp::kOperand) return std::nullopt;
  return last.index;
}

std::vector<int> number_operands_by_use(ScalarBody& body) {
  std::vector<int> order;
  for (ScalarNode& node : body.nodes) {
    if (node.op != ScalarOp::kOperand) continue;
    auto position = std::find(order.begin(), order.end(), node.index);
    if (position == order.end()) {
      order.push_back(node.index);
      position = order.end() - 1;
    }
    node.index = static_cast<int>(position - order.begin());
  }
  return order;
}

}  // namespace corf::rewrite
