#include "rewrite/merge_elementwise.h"

#include <algorithm>

#include "graph/scalar_cost.h"
#include "rewrite/quantization.h"
#include "rewrite/rebuild.h"
#include "rewrite/simplify_bodies.h"
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

// Every operand is a buffer of the kernel and every body node a register while it lives.
constexpr size_t kMaxOperands = 8;
constexpr size_t kMaxBodyNodes = 64;
constexpr double kMaxInstructions = 512;

bool may_take_producers(const Compute& compute) {
  const auto axes_only = [&](const Operand& operand) {
    return reads_axes_only(operand, compute.space);
  };
  if (!std::all_of(compute.operands.begin(), compute.operands.end(), axes_only)) return false;
  return compute.combiner == graph::Combiner::kNone || compute.operands.size() == 1;
}

/// The producer's body at the coordinates at which the consumer reads it, appended to `body`.
/// Operands are numbered from `first_operand`. The result's number, or nullopt where a coordinate
/// is needed that is not an axis.
std::optional<int> append_body(ScalarBody& body, const ScalarBody& producer,
                               const index::IndexMap& map, int first_operand) {
  const int offset = static_cast<int>(body.nodes.size());
  for (ScalarNode node : producer.nodes) {
    if (node.op == ScalarOp::kOperand) node.index += first_operand;
    if (node.op == ScalarOp::kIndex) {
      const index::Expr& coordinate = map.exprs[node.index];
      if (coordinate.kind() != index::ExprKind::kVariable) return std::nullopt;
      node.index = coordinate.variable_id();
    }
    for (int& argument : node.args) {
      if (argument >= 0) argument += offset;
    }
    body.nodes.push_back(node);
  }
  return static_cast<int>(body.nodes.size()) - 1;
}

/// The consumer with operand `merged` replaced by the producer's computation.
std::optional<Compute> with_producer(const Compute& consumer, int merged, const Compute& producer) {
  Compute result = consumer;
  result.body.nodes.clear();
  const int first_operand = static_cast<int>(consumer.operands.size());
  const std::optional<int> inlined =
      append_body(result.body, producer.body, consumer.operands[merged].map, first_operand);
  if (!inlined) return std::nullopt;
  std::vector<int> map;
  for (ScalarNode node : consumer.body.nodes) {
    if (node.op == ScalarOp::kOperand && node.index == merged) {
      map.push_back(*inlined);
      continue;
    }
    for (int& argument : node.args) {
      if (argument >= 0) argument = map[argument];
    }
    map.push_back(static_cast<int>(result.body.nodes.size()));
    result.body.nodes.push_back(node);
  }
  // The last node is the result, even where the consumer only returns what it reads.
  if (map.back() != static_cast<int>(result.body.nodes.size()) - 1) {
    result.body.nodes.push_back(result.body.nodes[map.back()]);
  }
  const std::vector<index::Interval> ranges = axis_ranges(consumer.space);
  for (Operand operand : producer.operands) {
    operand.map = index::compose(operand.map, consumer.operands[merged].map);
    for (index::Expr& expr : operand.map.exprs) expr = index::simplify(expr, ranges);
    result.operands.push_back(std::move(operand));
  }
  return result;
}

/// Whether the node continues a reduction, element for element: then it is that one's epilogue, and
/// no other reduction's prologue.
bool is_epilogue(const Graph& graph, const Node& node, const Compute& compute) {
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Compute* source = producing_compute(graph, node.inputs[i]);
    if (source && source->combiner != graph::Combiner::kNone &&
        source->space.num_points() > compute.space.num_points() &&
        reads_own_point(compute.operands[i], graph.values[node.inputs[i]].shape, compute.space)) {
      return true;
    }
  }
  return false;
}

/// Computed in each of its readers: they read bytes then.
bool is_dequantization(const Graph& graph, ValueId value) {
  return match_dequantization(graph, graph.producer(value)).has_value();
}

bool continues_integer_sum(const Graph& graph, const Node& node) {
  return std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId input) {
    const Compute* source = producing_compute(graph, input);
    return source && source->combiner == graph::Combiner::kSum &&
           source->body.result_dtype() == DType::kI32;
  });
}

bool merge_one(Rebuild& rebuild, Compute& consumer, std::vector<ValueId>& inputs, std::string& name,
               std::string& origin, const Demand& demand) {
  const Graph& graph = rebuild.graph();
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ValueId input = inputs[i];
    const Compute* producer = producing_compute(graph, input);
    if (!producer || !is_elementwise(*producer) || consumer.operands[i].guarded ||
        (rebuild.num_readers(input) != 1 && !is_dequantization(graph, input)) ||
        std::count(inputs.begin(), inputs.end(), input) != 1 ||
        consumer.space.num_points() > producer->space.num_points()) {
      continue;
    }
    const Node& node = graph.producer(input);
    if (consumer.combiner != graph::Combiner::kNone && is_epilogue(graph, node, *producer)) {
      continue;
    }
    // What makes bytes of sums of bytes stays with them, even where a view of it is read.
    if (!reads_own_point(consumer.operands[i], graph.values[input].shape, consumer.space) &&
        continues_integer_sum(graph, node)) {
      continue;
    }
    std::optional<Compute> merged = with_producer(consumer, static_cast<int>(i), *producer);
    if (!merged) continue;
    std::vector<ValueId> merged_inputs = inputs;
    merged_inputs.insert(merged_inputs.end(), node.inputs.begin(), node.inputs.end());
    tidy_operands(*merged, merged_inputs);
    merged->body = simplify_body(merged->body, demand, rebuild.ranges(*merged, merged_inputs));
    tidy_operands(*merged, merged_inputs);
    if (merged_inputs.empty() || merged_inputs.size() > kMaxOperands ||
        merged->body.nodes.size() > kMaxBodyNodes ||
        graph::num_instructions(merged->body) > kMaxInstructions) {
      continue;
    }
    name = joined_name(node.name, name);
    origin = joined_name(node.origin, origin);
    consumer = std::move(*merged);
    inputs = std::move(merged_inputs);
    return true;
  }
  return false;
}

Graph merge_into(Graph graph, bool reductions) {
  return rebuild_until_stable(std::move(graph), [=](Rebuild& rebuild, const Node& node) {
    const auto* compute = std::get_if<Compute>(&node.op);
    if (!compute || !may_take_producers(*compute)) return false;
    if (!reductions && compute->combiner != graph::Combiner::kNone) return false;
    Compute merged = *compute;
    std::vector<ValueId> inputs = rebuild.mapped(node.inputs);
    std::string name = node.name;
    std::string origin = node.origin;
    bool changed = false;
    const Demand demand = demand_of_body(merged, rebuild.demand(node.outputs[0]));
    while (merge_one(rebuild, merged, inputs, name, origin, demand)) changed = true;
    if (!changed) return false;
    rebuild.replace(node.outputs[0], rebuild.graph().add_compute(name, std::move(merged),
                                                                 std::move(inputs), origin));
    return true;
  });
}

}  // namespace

Result<Graph> merge_elementwise(Graph graph) {
  // Element-wise chains first: only whole ones tell whether they are a reduction's epilogue.
  return merge_into(merge_into(std::move(graph), false), true);
}

}  // namespace corf::rewrite
