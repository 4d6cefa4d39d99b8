#include "rewrite/rebuild.h"

#include <algorithm>

#include "rewrite/remove_dead_nodes.h"
#include "support/assert.h"
#include "support/budget.h"

namespace corf::rewrite {
using graph::Graph;
using graph::Node;
using graph::NodeId;
using graph::ValueId;

Rebuild::Rebuild(const Graph& old) : old_(old), map_(old.values.size(), -1) {
  old_readers_.resize(old.values.size());
  for (const Node& node : old.nodes) {
    std::vector<ValueId> read = node.inputs;
    std::sort(read.begin(), read.end());
    read.erase(std::unique(read.begin(), read.end()), read.end());
    for (ValueId value : read) ++old_readers_[value];
  }
  for (ValueId value : old.outputs) ++old_readers_[value];
  graph_.output_names = old.output_names;
  graph_.nodes.reserve(old.nodes.size());
  graph_.values.reserve(old.values.size());
}

std::vector<ValueId> Rebuild::mapped(const std::vector<ValueId>& old_values) const {
  std::vector<ValueId> result;
  result.reserve(old_values.size());
  for (ValueId value : old_values) result.push_back(map_[value]);
  return result;
}

void Rebuild::copy(const Node& node) {
  look_at_budget();
  Node copied = node;
  copied.inputs = mapped(node.inputs);
  for (ValueId& output : copied.outputs) {
    const ValueId old_value = output;
    output = static_cast<ValueId>(graph_.values.size());
    graph_.values.push_back(old_.values[old_value]);
    graph_.values.back().producer = static_cast<NodeId>(graph_.nodes.size());
    map_[old_value] = output;
    new_readers_.resize(graph_.values.size());
    new_readers_[output] = old_readers_[old_value];
  }
  graph_.nodes.push_back(std::move(copied));
}

void Rebuild::replace(ValueId old_value, ValueId new_value) {
  CORF_ASSERT(graph_.values[new_value].dtype == old_.values[old_value].dtype &&
                  graph_.values[new_value].shape == old_.values[old_value].shape,
              "a rewrite changed a value's type or shape");
  new_readers_.resize(graph_.values.size());
  if (new_readers_[new_value] == 0) {
    graph_.values[new_value].name = old_.values[old_value].name;
  } else {
    // A node that is replaced by what it read is one reader less.
    for (ValueId read : old_.producer(old_value).inputs) {
      if (map_[read] != new_value) continue;
      --new_readers_[new_value];
      break;
    }
  }
  new_readers_[new_value] += old_readers_[old_value];
  map_[old_value] = new_value;
  changed_ = true;
}

int Rebuild::num_readers(ValueId new_value) const {
  if (new_value >= static_cast<ValueId>(new_readers_.size())) return 1;
  return std::max(1, new_readers_[new_value]);
}

const Demand& Rebuild::demand(ValueId old_value) {
  if (demands_.empty()) demands_ = demands(old_);
  return demands_[old_value];
}

Graph Rebuild::finish() {
  // Inputs stay, in their order, whether they are read or not.
  for (ValueId input : old_.inputs) graph_.inputs.push_back(map_[input]);
  graph_.outputs = mapped(old_.outputs);
  return std::move(graph_);
}

Graph rebuild(const Graph& graph, const Visit& visit) {
  Rebuild rebuild(graph);
  for (const Node& node : graph.nodes) {
    if (!visit(rebuild, node)) rebuild.copy(node);
  }
  return rebuild.finish();
}

Graph rebuild_until_stable(Graph graph, const Visit& visit) {
  for (;;) {
    Rebuild rebuild(graph);
    for (const Node& node : graph.nodes) {
      if (!visit(rebuild, node)) rebuild.copy(node);
    }
    if (!rebuild.changed()) return graph;
    graph = without_dead_nodes(rebuild.finish());
  }
}

std::string joined_name(const std::string& a, const std::string& b) {
  if (a.empty() || a == b) return b;
  if (b.empty()) return a;
  constexpr size_t kMostBytes = 1024;
  if (a.size() + b.size() > kMostBytes) return a;
  const std::string padded = "+" + a + "+";
  std::string result = a;
  for (size_t begin = 0; begin <= b.size();) {
    const size_t end = std::min(b.find('+', begin), b.size());
    const std::string part = b.substr(begin, end - begin);
    if (padded.find("+" + part + "+") == std::string::npos) result += "+" + part;
    begin = end + 1;
  }
  return result;
}

}  // namespace corf::rewrite
