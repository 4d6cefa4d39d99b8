#include "rewrite/multiply_by_inverse_roots.h"

#include <algorithm>

#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::ScalarBody;
using graph::ScalarNode;
using graph::ScalarOp;
using graph::ValueId;

namespace {

/// Whether the body does nothing with the operand but divide by it.
bool only_divides_by(const ScalarBody& body, int operand) {
  const auto is_operand = [&](int id) {
    return id >= 0 && body.nodes[id].op == ScalarOp::kOperand && body.nodes[id].index == operand;
  };
  if (is_operand(static_cast<int>(body.nodes.size()) - 1)) return false;
  bool divides = false;
  for (const ScalarNode& node : body.nodes) {
    for (int position = 0; position < 3; ++position) {
      if (!is_operand(node.args[position])) continue;
      if (node.op != ScalarOp::kDiv || position != 1) return false;
      divides = true;
    }
  }
  return divides;
}

/// The compute node's root, inverted; nullopt if its result is none.
std::optional<Compute> with_inverse_root(const Compute& compute) {
  if (!is_elementwise(compute) || compute.body.nodes.back().op != ScalarOp::kSqrt) {
    return std::nullopt;
  }
  Compute inverse = compute;
  inverse.body.nodes.back().op = ScalarOp::kRsqrt;
  return inverse;
}

void multiply_instead(ScalarBody& body, int operand) {
  for (ScalarNode& node : body.nodes) {
    if (node.op != ScalarOp::kDiv) continue;
    const ScalarNode& divisor = body.nodes[node.args[1]];
    if (divisor.op == ScalarOp::kOperand && divisor.index == operand) node.op = ScalarOp::kMul;
  }
}

bool multiply_node(Rebuild& rebuild, const Node& node) {
  const auto* compute = std::get_if<Compute>(&node.op);
  if (!compute || !is_elementwise(*compute) || rebuild.demand(node.outputs[0]).digits) return false;
  Graph& graph = rebuild.graph();
  const std::vector<ValueId> inputs = rebuild.mapped(node.inputs);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Compute* root = producing_compute(graph, inputs[i]);
    if (!root || !only_divides_by(compute->body, static_cast<int>(i)) ||
        root->space.num_points() >= compute->space.num_points() ||
        std::count(inputs.begin(), inputs.end(), inputs[i]) != 1) {
      continue;
    }
    std::optional<Compute> inverse = with_inverse_root(*root);
    if (!inverse) continue;
    const Node root_node = graph.producer(inputs[i]);
    std::vector<ValueId> new_inputs = inputs;
    new_inputs[i] =
        graph.add_compute(root_node.name, std::move(*inverse), root_node.inputs, root_node.origin);
    Compute product = *compute;
    multiply_instead(product.body, static_cast<int>(i));
    rebuild.replace(node.outputs[0], graph.add_compute(node.name, std::move(product),
                                                       std::move(new_inputs), node.origin));
    return true;
  }
  return false;
}

}  // namespace

Result<Graph> multiply_by_inverse_roots(Graph graph) {
  return rebuild_until_stable(std::move(graph), multiply_node);
}

}  // namespace corf::rewrite
