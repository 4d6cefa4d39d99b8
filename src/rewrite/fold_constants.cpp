#include "rewrite/fold_constants.h"

#include "graph/evaluate.h"
#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
#include "rewrite/structure.h"
#include "support/checked.h"

namespace corf::rewrite {
using graph::Graph;
using graph::Node;
using graph::ValueId;

namespace {

constexpr int64_t kSmallBytes = 4096;
constexpr int64_t kMaxBytes = 64 << 20;
// Views of constants that are larger fold into their readers' index maps instead, for nothing.
constexpr int64_t kMaxViewBytes = 1 << 20;
constexpr int64_t kMaxPoints = int64_t{1} << 28;

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

bool within_budget(const Graph& graph, const Node& node, const std::vector<bool>& by_routine) {
  int64_t input_bytes = 0;
  int64_t output_bytes = 0;
  for (ValueId input : node.inputs) input_bytes += size_bytes(graph.values[input]);
  for (ValueId output : node.outputs) output_bytes += size_bytes(graph.values[output]);
  if (output_bytes <= kSmallBytes && input_bytes <= kMaxBytes) return true;
  if (output_bytes > 2 * input_bytes) return false;
  if (const auto* compute = std::get_if<graph::Compute>(&node.op)) {
    int64_t points = 1;
    for (const index::Axis& axis : compute->space.axes) {
      const std::optional<int64_t> product = checked_mul(points, axis.extent);
      if (!product || *product > kMaxPoints) return false;
      points = *product;
    }
  }
  const bool is_free = std::holds_alternative<graph::View>(node.op) && !by_routine[node.outputs[0]];
  return output_bytes <= (is_free ? kMaxViewBytes : kMaxBytes);
}

}  // namespace

Result<Graph> fold_constants(const Graph& graph) {
  const std::vector<bool> by_routine = read_by_routines(graph);
  Graph folded = rebuild(graph, [&](Rebuild& rebuild, const Node& node) {
    if (node.inputs.empty()) return false;
    std::vector<Tensor> inputs;
    for (ValueId input : node.inputs) {
      const Tensor* tensor = constant_tensor(rebuild.graph(), rebuild.mapped(input));
      if (!tensor) return false;
      inputs.push_back(*tensor);
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
    if (!within_budget(rebuild.old(), node, by_routine)) return false;
    Result<std::vector<Tensor>> outputs =
        graph::evaluate_node(rebuild.old(), node, inputs, {.round_to_dtype = true});
    if (!outputs.ok()) return false;
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      rebuild.replace(node.outputs[i], rebuild.graph().add_constant(node.name, (*outputs)[i]));
    }
    return true;
  });
  return without_dead_nodes(folded);
}

}  // namespace corf::rewrite
