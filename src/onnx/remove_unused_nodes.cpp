#include "onnx/remove_unused_nodes.h"

#include <iterator>

namespace corf::onnx {

using graph::ValueId;

void remove_unused_nodes(graph::Graph& graph) {
  std::vector<bool> used(graph.values.size());
  for (ValueId value : graph.inputs) used[value] = true;
  for (ValueId value : graph.outputs) used[value] = true;
  std::vector<graph::Node> kept;  // last node first
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    graph::Node& node = graph.nodes[i];
    bool live = false;
    for (ValueId output : node.outputs) live = live || used[output];
    if (!live) continue;
    for (ValueId input : node.inputs) used[input] = true;
    for (ValueId output : node.outputs) used[output] = true;
    kept.push_back(std::move(node));
  }
  std::vector<ValueId> renumbered(graph.values.size(), -1);
  std::vector<graph::Value> values;
  graph.nodes.assign(std::make_move_iterator(kept.rbegin()), std::make_move_iterator(kept.rend()));
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    graph::Node& node = graph.nodes[i];
    for (ValueId& input : node.inputs) input = renumbered[input];
    for (ValueId& output : node.outputs) {
      graph::Value value = std::move(graph.values[output]);
      value.producer = static_cast<graph::NodeId>(i);
      renumbered[output] = static_cast<ValueId>(values.size());
      output = renumbered[output];
      values.push_back(std::move(value));
    }
  }
  graph.values = std::move(values);
  for (ValueId& value : graph.inputs) value = renumbered[value];
  for (ValueId& value : graph.outputs) value = renumbered[value];
}

}  // namespace corf::onnx
