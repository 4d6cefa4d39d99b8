#include "graph/without_dead_nodes.h"

#include <algorithm>

namespace corf::graph {

Graph without_dead_nodes(Graph graph) {
  std::vector<bool> live_values(graph.values.size());
  std::vector<bool> live_nodes(graph.nodes.size());
  for (ValueId output : graph.outputs) live_values[output] = true;
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& node = graph.nodes[i];
    bool live = std::holds_alternative<graph::Input>(node.op);
    for (ValueId output : node.outputs) live = live || live_values[output];
    live_nodes[i] = live;
    if (!live) continue;
    for (ValueId input : node.inputs) live_values[input] = true;
  }

  if (std::find(live_nodes.begin(), live_nodes.end(), false) == live_nodes.end()) return graph;

  Graph result;
  std::vector<ValueId> map(graph.values.size(), -1);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (!live_nodes[i]) continue;
    Node node = std::move(graph.nodes[i]);
    for (ValueId& input : node.inputs) input = map[input];
    for (ValueId& output : node.outputs) {
      map[output] = static_cast<ValueId>(result.values.size());
      result.values.push_back(std::move(graph.values[output]));
      result.values.back().producer = static_cast<NodeId>(result.nodes.size());
      output = map[output];
    }
    result.nodes.push_back(std::move(node));
  }
  for (ValueId input : graph.inputs) result.inputs.push_back(map[input]);
  for (ValueId output : graph.outputs) result.outputs.push_back(map[output]);
  result.output_names = std::move(graph.output_names);
  return result;
}

}  // namespace corf::graph
