#include "rewrite/simplify_bodies.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
#include "rewrite/simplify_body.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::Operand;
using graph::ScalarBody;
using graph::ScalarNode;
using graph::ScalarOp;
using graph::ValueId;

namespace {

// Larger tensors are hardly ever of one value, and looking at them takes time.
constexpr int64_t kMaxUniformElems = 4096;

bool is_uniform(const Tensor& tensor) {
  if (tensor.num_elems() == 0 || tensor.num_elems() > kMaxUniformElems) return false;
  const auto elem_bytes = static_cast<size_t>(size_bytes(tensor.dtype()));
  for (int64_t i = 1; i < tensor.num_elems(); ++i) {
    if (std::memcmp(tensor.bytes(), tensor.bytes() + i * elem_bytes, elem_bytes) != 0) return false;
  }
  return true;
}

void inline_constant(ScalarBody& body, int operand, const Tensor& tensor) {
  for (ScalarNode& node : body.nodes) {
    if (node.op != ScalarOp::kOperand || node.index != operand) continue;
    node.op = ScalarOp::kConstant;
    node.index = 0;
    if (is_float(node.dtype)) {
      node.f64 = tensor.at_f64(0);
    } else {
      node.i64 = tensor.at_i64(0);
    }
  }
}

void inline_uniform_constants(const Graph& graph, const std::vector<ValueId>& inputs,
                              Compute& compute) {
  const bool all_constant = std::all_of(inputs.begin(), inputs.end(), [&](ValueId input) {
    return constant_tensor(graph, input) != nullptr;
  });
  if (all_constant) return;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor* tensor = constant_tensor(graph, inputs[i]);
    if (!tensor || compute.operands[i].guarded || !is_uniform(*tensor)) continue;
    inline_constant(compute.body, static_cast<int>(i), *tensor);
  }
}

bool drops_dimensions(const Tensor& tensor, const Operand& operand) {
  for (size_t d = 0; d < tensor.shape().size(); ++d) {
    if (tensor.shape()[d] == 1 && operand.map.exprs[d].is_constant(0)) return true;
  }
  return false;
}

void drop_ones(Graph& graph, ValueId& input, Operand& operand) {
  const Tensor* tensor = constant_tensor(graph, input);
  if (!tensor || operand.guarded || !drops_dimensions(*tensor, operand)) return;
  Shape shape;
  index::IndexMap map;
  for (size_t d = 0; d < tensor->shape().size(); ++d) {
    if (tensor->shape()[d] == 1 && operand.map.exprs[d].is_constant(0)) continue;
    shape.push_back(tensor->shape()[d]);
    map.exprs.push_back(operand.map.exprs[d]);
  }
  const std::string name = graph.values[input].name;
  input = graph.add_constant(name, tensor->reshaped(std::move(shape)));
  operand.map = std::move(map);
}

bool equal(const Operand& a, const Operand& b) {
  if (a.guarded != b.guarded || a.map.exprs.size() != b.map.exprs.size()) return false;
  if (a.guarded && std::bit_cast<int64_t>(a.padding) != std::bit_cast<int64_t>(b.padding)) {
    return false;
  }
  for (size_t i = 0; i < a.map.exprs.size(); ++i) {
    if (!index::structurally_equal(a.map.exprs[i], b.map.exprs[i])) return false;
  }
  return true;
}

bool equal(const ScalarBody& a, const ScalarBody& b) {
  const auto same = [](const ScalarNode& x, const ScalarNode& y) {
    return x.op == y.op && x.dtype == y.dtype && x.args == y.args && x.index == y.index &&
           std::bit_cast<int64_t>(x.f64) == std::bit_cast<int64_t>(y.f64) && x.i64 == y.i64;
  };
  return a.nodes.size() == b.nodes.size() &&
         std::equal(a.nodes.begin(), a.nodes.end(), b.nodes.begin(), same);
}

/// Simplifies the maps by the axes' ranges, and drops guards of operands that stay inside. Whether
/// anything changed.
bool simplify_maps(const Graph& graph, const std::vector<ValueId>& inputs, Compute& compute) {
  const std::vector<index::Interval> ranges = axis_ranges(compute.space);
  bool changed = false;
  for (size_t i = 0; i < inputs.size(); ++i) {
    Operand& operand = compute.operands[i];
    const Shape& shape = graph.values[inputs[i]].shape;
    bool inside = true;
    for (size_t d = 0; d < shape.size(); ++d) {
      index::Expr expr = index::simplify(operand.map.exprs[d], ranges);
      changed = changed || !index::structurally_equal(expr, operand.map.exprs[d]);
      operand.map.exprs[d] = std::move(expr);
      const index::Interval reach = index::bounds(operand.map.exprs[d], ranges);
      inside = inside && reach.lo >= 0 && reach.hi < shape[d];
    }
    if (!operand.guarded || !inside) continue;
    operand.guarded = false;
    operand.padding = 0;
    changed = true;
  }
  return changed;
}

bool has_operand(const ScalarBody& body) {
  return std::any_of(body.nodes.begin(), body.nodes.end(),
                     [](const ScalarNode& node) { return node.op == ScalarOp::kOperand; });
}

bool simplify_node(Rebuild& rebuild, const Node& node) {
  const auto* old_compute = std::get_if<Compute>(&node.op);
  if (!old_compute) return false;
  const auto axes_only = [&](const Operand& operand) {
    return reads_axes_only(operand, old_compute->space);
  };
  if (!std::all_of(old_compute->operands.begin(), old_compute->operands.end(), axes_only)) {
    return false;
  }
  Compute compute = *old_compute;
  std::vector<ValueId> inputs = rebuild.mapped(node.inputs);
  const bool maps_changed =
      compute.space.num_points() > 0 && simplify_maps(rebuild.graph(), inputs, compute);
  const bool elementwise = compute.combiner == graph::Combiner::kNone;
  if (elementwise) inline_uniform_constants(rebuild.graph(), inputs, compute);
  const Demand demand = demand_of_body(compute, rebuild.demand(node.outputs[0]));
  compute.body = simplify_body(compute.body, demand, rebuild.ranges(compute, inputs));
  // A node that no longer depends on its operands keeps them: every compute node reads something.
  if (!has_operand(compute.body)) return false;
  tidy_operands(compute, inputs);
  compute.body = simplify_body(compute.body, demand, rebuild.ranges(compute, inputs));
  tidy_operands(compute, inputs);
  if (elementwise) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      drop_ones(rebuild.graph(), inputs[i], compute.operands[i]);
    }
  }
  if (!maps_changed && inputs == rebuild.mapped(node.inputs) &&
      equal(compute.body, old_compute->body)) {
    return false;
  }
  rebuild.replace(node.outputs[0], rebuild.graph().add_compute(node.name, std::move(compute),
                                                               std::move(inputs), node.origin));
  return true;
}

}  // namespace

void tidy_operands(Compute& compute, std::vector<ValueId>& inputs) {
  for (ScalarNode& node : compute.body.nodes) {
    if (node.op != ScalarOp::kOperand) continue;
    for (int i = 0; i < node.index; ++i) {
      if (inputs[i] == inputs[node.index] &&
          equal(compute.operands[i], compute.operands[node.index])) {
        node.index = i;
        break;
      }
    }
  }
  const std::vector<int> order = number_operands_by_use(compute.body);
  std::vector<Operand> operands;
  std::vector<ValueId> kept;
  for (int number : order) {
    operands.push_back(compute.operands[number]);
    kept.push_back(inputs[number]);
  }
  compute.operands = std::move(operands);
  inputs = std::move(kept);
}

Result<Graph> simplify_bodies(Graph graph) {
  return without_dead_nodes(rebuild(graph, simplify_node));
}

}  // namespace corf::rewrite
