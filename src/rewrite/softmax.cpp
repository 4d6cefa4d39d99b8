#include "rewrite/softmax.h"

#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Combiner;
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

namespace {

/// `result` is the elements' sum, or their maximum, and made of nothing else.
bool combines(const Graph& graph, Combiner combiner, ValueId result, ValueId elements) {
  const Compute* compute = producing_compute(graph, result);
  const Node& node = graph.producer(result);
  return compute && compute->combiner == combiner && node.inputs.size() == 1 &&
         node.inputs[0] == elements && returned_operand(compute->body) == 0;
}

}  // namespace

bool applies_to_both(const ScalarBody& body, ScalarOp op) {
  if (body.nodes.size() != 3 || body.nodes.back().op != op) return false;
  int operands[2];
  for (int i : {0, 1}) {
    const graph::ScalarNode& arg = body.nodes[body.nodes.back().args[i]];
    if (arg.op != ScalarOp::kOperand) return false;
    operands[i] = arg.index;
  }
  if (op == ScalarOp::kMul) return operands[0] != operands[1];
  return operands[0] == 0 && operands[1] == 1;
}

std::optional<SoftmaxPowers> match_softmax(const Graph& graph, ValueId powers, ValueId sum) {
  const Compute* exp = producing_compute(graph, powers);
  if (!exp || !is_elementwise(*exp) || !combines(graph, Combiner::kSum, sum, powers)) {
    return std::nullopt;
  }
  const graph::ScalarNode& last = exp->body.nodes.back();
  if (last.op != ScalarOp::kExp) return std::nullopt;
  // The difference is part of the body, or a node of its own.
  const Node* difference = &graph.producer(powers);
  ScalarBody body = exp->body;
  body.nodes.pop_back();
  if (returned_operand(body) && body.nodes.size() == 1) {
    difference = &graph.producer(difference->inputs[0]);
    const auto* compute = std::get_if<Compute>(&difference->op);
    if (!compute || !is_elementwise(*compute)) return std::nullopt;
    body = compute->body;
  }
  if (!applies_to_both(body, ScalarOp::kSub)) return std::nullopt;
  const SoftmaxPowers result{difference->inputs[0], difference->inputs[1]};
  if (!combines(graph, Combiner::kMax, result.max, result.x) ||
      graph.values[result.max].shape != graph.values[sum].shape) {
    return std::nullopt;
  }
  return result;
}

}  // namespace corf::rewrite
