#include "rewrite/divide_after_products.h"

#include <algorithm>

#include "graph/operators.h"
#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
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

bool mentions_reduction(const index::IndexMap& map, const index::IterationSpace& space) {
  for (int axis = space.num_parallel(); axis < static_cast<int>(space.axes.size()); ++axis) {
    for (const index::Expr& expr : map.exprs) {
      if (index::depends_on(expr, axis)) return true;
    }
  }
  return false;
}

/// What a product reads of a quotient, read by the product itself.
struct Quotient {
  Node node;
  ValueId dividend = -1, divisor = -1;
  index::IndexMap dividend_map, divisor_map;  // over the product's axes
};

/// The quotient of a value and its sums that the product reads as operand `number`.
std::optional<Quotient> match_quotient(Rebuild& rebuild, const Compute& product, ValueId input,
                                       int number) {
  Graph& graph = rebuild.graph();
  const Compute* quotient = producing_compute(graph, input);
  if (!quotient || !is_elementwise(*quotient) || rebuild.num_readers(input) != 1) {
    return std::nullopt;
  }
  const Node& node = graph.producer(input);
  if (node.inputs.size() != 2 || !applies_to_both(quotient->body, ScalarOp::kDiv)) {
    return std::nullopt;
  }
  if (!reads_plainly(*quotient) || !match_softmax(graph, node.inputs[0], node.inputs[1])) {
    return std::nullopt;
  }
  const index::IndexMap& read = product.operands[number].map;
  Quotient result{node, node.inputs[0], node.inputs[1],
                  index::compose(quotient->operands[0].map, read),
                  index::compose(quotient->operands[1].map, read)};
  if (mentions_reduction(result.divisor_map, product.space)) return std::nullopt;
  return result;
}

/// A sum of products has been rounded so often that once more, for the divisor's inverse, does not
/// matter; divisions of whole vectors are slow.
bool is_worth_inverting(const Shape& quotients, const Shape& divisors) {
  constexpr int64_t kQuotients = 8;
  return num_elems(quotients) >= kQuotients * num_elems(divisors);
}

ValueId add_inverse(Graph& graph, ValueId divisor) {
  const Node sum = graph.producer(divisor);
  return graph::elementwise(
      graph, sum.name + "/inverse", {divisor},
      [](ScalarBody& body, const std::vector<int>& x) {
        const DType dtype = body.nodes[x[0]].dtype;
        return body.apply(ScalarOp::kDiv, body.constant(1, dtype), x[0]);
      },
      sum.origin);
}

/// A softmax that no product takes over.
bool multiply_by_inverse(Rebuild& rebuild, const Node& node) {
  const auto* quotient = std::get_if<Compute>(&node.op);
  if (!quotient || !is_elementwise(*quotient) || node.inputs.size() != 2 ||
      !applies_to_both(quotient->body, ScalarOp::kDiv)) {
    return false;
  }
  Graph& graph = rebuild.graph();
  const std::vector<ValueId> inputs = rebuild.mapped(node.inputs);
  if (!match_softmax(graph, inputs[0], inputs[1]) ||
      !is_worth_inverting(graph.values[inputs[0]].shape, graph.values[inputs[1]].shape)) {
    return false;
  }
  Compute product = *quotient;
  product.body.nodes.back().op = ScalarOp::kMul;
  const ValueId inverse = add_inverse(graph, inputs[1]);
  rebuild.replace(node.outputs[0], graph.add_compute(node.name, std::move(product),
                                                     {inputs[0], inverse}, node.origin));
  return true;
}

bool divide_later(Rebuild& rebuild, const Node& node) {
  const auto* compute = std::get_if<Compute>(&node.op);
  if (!compute || compute->combiner != Combiner::kSum || node.inputs.size() != 2 ||
      !applies_to_both(compute->body, ScalarOp::kMul)) {
    return false;
  }
  if (!reads_plainly(*compute)) return false;
  Graph& graph = rebuild.graph();
  const std::vector<ValueId> inputs = rebuild.mapped(node.inputs);
  const Shape shape = rebuild.old().values[node.outputs[0]].shape;
  for (int number : {0, 1}) {
    const ValueId input = inputs[number];
    if (num_elems(shape) > num_elems(graph.values[input].shape)) continue;
    const auto quotient = match_quotient(rebuild, *compute, input, number);
    if (!quotient) continue;
    Compute product = *compute;
    product.operands[number].map = quotient->dividend_map;
    std::vector<ValueId> product_inputs = inputs;
    product_inputs[number] = quotient->dividend;
    const ValueId sums =
        graph.add_compute(node.name, std::move(product), std::move(product_inputs), node.origin);
    graph.nodes[graph.values[sums].producer].work_flops = node.work_flops;
    Compute division;
    for (size_t d = 0; d < shape.size(); ++d) division.space.axes.push_back(compute->space.axes[d]);
    division.operands.resize(2);
    division.operands[0].map = index::IndexMap::identity(static_cast<int>(shape.size()));
    for (size_t d = 0; d < shape.size(); ++d) {
      if (shape[d] == 1) division.operands[0].map.exprs[d] = index::Expr(0);
    }
    division.operands[1].map = quotient->divisor_map;
    const DType dtype = compute->body.result_dtype();
    const int dividend = division.body.operand(0, dtype);
    const bool invert = is_worth_inverting(shape, graph.values[quotient->divisor].shape);
    division.body.apply(invert ? ScalarOp::kMul : ScalarOp::kDiv, dividend,
                        division.body.operand(1, dtype));
    const ValueId divisor = invert ? add_inverse(graph, quotient->divisor) : quotient->divisor;
    rebuild.replace(node.outputs[0], graph.add_compute(quotient->node.name, std::move(division),
                                                       {sums, divisor}, quotient->node.origin));
    return true;
  }
  return false;
}

}  // namespace

Result<Graph> divide_after_products(Graph graph) {
  return rebuild(rebuild_until_stable(std::move(graph), divide_later), multiply_by_inverse);
}

}  // namespace corf::rewrite
