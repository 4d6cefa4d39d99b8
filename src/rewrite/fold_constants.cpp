#include "rewrite/fold_constants.h"

#include <algorithm>

#include "graph/evaluate.h"
#include "rewrite/quantization.h"
#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
#include "rewrite/simplify_bodies.h"
#include "rewrite/structure.h"
#include "support/checked.h"

namespace corf::rewrite {
using graph::Graph;
using graph::Node;
using graph::ValueId;

namespace {

constexpr FoldLimits kLimits;

int64_t size_bytes(const graph::Value& value) {
  return num_elems(value.shape) * corf::size_bytes(value.dtype);
}

/// The values that routines read, at first hand or through views: no index map could hold a view.
std::vector<bool> read_by_routines(const Graph& graph) {
  std::vector<bool> read(graph.values.size(), false);
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    const bool is_view = std::holds_alternative<graph::View>(node->op);
    if (std::holds_alternative<graph::Opaque>(node->op) || (is_view && read[node->outputs[0]])) {
      for (ValueId input : node->inputs) read[input] = true;
    }
  }
  return read;
}

/// Whether the node gives an element for each of its largest operand's, and reads each once: a
/// conversion, a scaling.
bool converts(const Graph& graph, const Node& node) {
  const auto* compute = std::get_if<graph::Compute>(&node.op);
  if (!compute || !is_elementwise(*compute)) return false;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Shape& shape = graph.values[node.inputs[i]].shape;
    if (reads_own_point(compute->operands[i], shape, compute->space)) return true;
  }
  return false;
}

/// Whether the node picks elements by an index that it reads: one at a time, where vectors read a
/// constant.
bool gathers(const Node& node) {
  const auto* compute = std::get_if<graph::Compute>(&node.op);
  if (!compute) return false;
  const auto num_axes = static_cast<int>(compute->space.axes.size());
  const auto num_operands = static_cast<int>(compute->operands.size());
  for (const graph::Operand& operand : compute->operands) {
    for (const index::Expr& expr : operand.map.exprs) {
      for (int i = 0; i < num_operands; ++i) {
        if (index::depends_on(expr, num_axes + i)) return true;
      }
    }
  }
  return false;
}

int64_t result_bytes(const Graph& graph, const Node& node) {
  int64_t bytes = 0;
  for (ValueId output : node.outputs) bytes += size_bytes(graph.values[output]);
  return bytes;
}

/// What all results may take.
int64_t total_limit(const Graph& graph) {
  int64_t bytes = 0;
  for (const Node& node : graph.nodes) {
    if (const auto* constant = std::get_if<graph::Constant>(&node.op)) {
      bytes += constant->tensor.size_bytes();
    }
  }
  return kLimits.total_bytes + kLimits.total_factor * bytes;
}

bool is_worth_folding(const Graph& graph, const Node& node, const std::vector<bool>& by_routine) {
  int64_t input_bytes = 0;
  const int64_t output_bytes = result_bytes(graph, node);
  for (ValueId input : node.inputs) input_bytes += size_bytes(graph.values[input]);
  if (output_bytes <= kLimits.small_bytes && input_bytes <= kLimits.result_bytes) return true;
  if (converts(graph, node)) return output_bytes <= kLimits.converted_bytes;
  if (output_bytes > 2 * input_bytes && !gathers(node)) return false;
  if (const auto* compute = std::get_if<graph::Compute>(&node.op)) {
    int64_t points = 1;
    for (const index::Axis& axis : compute->space.axes) {
      const std::optional<int64_t> product = checked_mul(points, axis.extent);
      if (!product || *product > kLimits.points) return false;
      points = *product;
    }
  }
  const bool is_free = std::holds_alternative<graph::View>(node.op) && !by_routine[node.outputs[0]];
  return output_bytes <= (is_free ? kLimits.view_bytes : kLimits.result_bytes);
}

/// The node as it would read the new values.
Node mapped_node(const Rebuild& rebuild, const Node& node) {
  Node result = node;
  result.inputs = rebuild.mapped(node.inputs);
  return result;
}

Graph fold(Graph graph, bool dequantizations) {
  const std::vector<bool> by_routine = read_by_routines(graph);
  int64_t left_bytes = total_limit(graph);
  Graph folded = rebuild(graph, [&](Rebuild& rebuild, const Node& node) {
    if (node.inputs.empty()) return false;
    std::vector<Tensor> inputs;
    for (ValueId input : node.inputs) {
      const Tensor* tensor = constant_tensor(rebuild.graph(), rebuild.mapped(input));
      if (!tensor) return false;
      inputs.push_back(*tensor);
    }
    if (!dequantizations && dequantizes_constant(rebuild.graph(), mapped_node(rebuild, node))) {
      return false;
    }
    // A reshaped constant shares its bytes.
    const auto* view = std::get_if<graph::View>(&node.op);
    if (view && std::holds_alternative<graph::Reshape>(*view)) {
      const ValueId output = node.outputs[0];
      rebuild.replace(output,
                      rebuild.graph().add_constant(
                          node.name, inputs[0].reshaped(rebuild.old().values[output].shape)));
      return true;
    }
    if (!is_worth_folding(rebuild.old(), node, by_routine)) return false;
    const int64_t bytes = result_bytes(rebuild.old(), node);
    if (bytes > left_bytes) return false;
    left_bytes -= bytes;
    Result<std::vector<Tensor>> outputs =
        graph::evaluate_node(rebuild.old(), node, inputs, graph::kAsComputed);
    if (!outputs.ok()) return false;
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      rebuild.replace(node.outputs[i], rebuild.graph().add_constant(node.name, (*outputs)[i]));
    }
    return true;
  });
  return without_dead_nodes(std::move(folded));
}

}  // namespace

Result<Graph> fold_constants(Graph graph) { return fold(std::move(graph), true); }

Result<Graph> fold_all_but_dequantizations(Graph graph) { return fold(std::move(graph), false); }

Result<Graph> fold_dequantizations(Graph graph) {
  const bool any = std::any_of(graph.nodes.begin(), graph.nodes.end(),
                               [&](const Node& node) { return dequantizes_constant(graph, node); });
  if (!any) return graph;
  CORF_ASSIGN(Graph folded, fold_constants(std::move(graph)));
  return simplify_bodies(std::move(folded));
}

}  // namespace corf::rewrite
