#include <functional>
#include <queue>
#include <unordered_set>

#include "onnx/model_state.h"

namespace corf::onnx {
namespace {

using onnx_proto::GraphProto;
using onnx_proto::NodeProto;

constexpr int kGiven = -1;  // defined by an input or initialiser

struct Dependencies {
  std::vector<std::vector<int>> producers;  // by node; one entry for each distinct read
  std::vector<std::vector<int>> readers;
};

Result<Dependencies> find_dependencies(const std::vector<ModelNode>& nodes,
                                       const std::vector<std::string>& defined) {
  std::unordered_map<std::string, int> producer;
  for (const std::string& name : defined) producer.emplace(name, kGiven);
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const std::string& output : nodes[i].proto->output()) {
      if (output.empty()) continue;
      auto [first, inserted] = producer.emplace(output, static_cast<int>(i));
      if (inserted) continue;
      std::string other = first->second == kGiven ? "a model input or initializer"
                                                  : describe(*nodes[first->second].proto);
      return make_error(ErrorCode::kInvalidModel, "value '{}' is defined twice: by {} and by {}",
                        output, other, describe(*nodes[i].proto));
    }
  }
  Dependencies result;
  result.producers.resize(nodes.size());
  result.readers.resize(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const std::string& name : names_read(*nodes[i].proto)) {
      if (name.empty()) continue;
      auto found = producer.find(name);
      if (found == producer.end()) {
        return make_error(ErrorCode::kInvalidModel,
                          "{}: input '{}' is not defined by any node, initializer or model input",
                          describe(*nodes[i].proto), name);
      }
      if (found->second == kGiven) continue;
      result.producers[i].push_back(found->second);
      result.readers[found->second].push_back(static_cast<int>(i));
    }
  }
  return result;
}

/// Walks backwards among nodes that never became ready: each has such a producer, so a node
/// repeats.
Error cycle_error(const std::vector<ModelNode>& nodes, const Dependencies& dependencies,
                  const std::vector<int>& missing) {
  int node = 0;
  while (missing[node] == 0) ++node;
  std::vector<int> path;
  std::vector<int> position(nodes.size(), -1);
  while (position[node] < 0) {
    position[node] = static_cast<int>(path.size());
    path.push_back(node);
    for (int producer : dependencies.producers[node]) {
      if (missing[producer] > 0) {
        node = producer;
        break;
      }
    }
  }
  constexpr size_t kMaxNames = 16;
  std::string names;
  size_t shown = 0;
  for (size_t i = path.size(); i-- > static_cast<size_t>(position[node]);) {
    if (shown++ == kMaxNames) {
      names += ", ...";
      break;
    }
    names += (names.empty() ? "" : ", ") + describe(*nodes[path[i]].proto);
  }
  return make_error(ErrorCode::kInvalidModel, "the graph has a cycle: {}", names);
}

}  // namespace

std::vector<std::string> names_read(const NodeProto& node) {
  std::vector<std::string> names(node.input().begin(), node.input().end());
  std::vector<const GraphProto*> pending;
  auto add_bodies = [&pending](const NodeProto& owner) {
    for (const auto& attribute : owner.attribute()) {
      if (attribute.has_g()) pending.push_back(&attribute.g());
      for (const auto& graph : attribute.graphs()) pending.push_back(&graph);
    }
  };
  add_bodies(node);
  if (pending.empty()) return names;
  std::unordered_set<std::string> inner;
  std::vector<std::string> outer;
  while (!pending.empty()) {
    const GraphProto& graph = *pending.back();
    pending.pop_back();
    for (const auto& input : graph.input()) inner.insert(input.name());
    for (const auto& initializer : graph.initializer()) inner.insert(initializer.name());
    for (const auto& body_node : graph.node()) {
      inner.insert(body_node.output().begin(), body_node.output().end());
      outer.insert(outer.end(), body_node.input().begin(), body_node.input().end());
      add_bodies(body_node);
    }
    for (const auto& output : graph.output()) outer.push_back(output.name());
  }
  for (const std::string& name : outer) {
    if (!inner.contains(name)) names.push_back(name);
  }
  return names;
}

Result<std::vector<ModelNode>> topological_order(const std::vector<ModelNode>& nodes,
                                                 const std::vector<std::string>& defined) {
  CORF_ASSIGN(Dependencies dependencies, find_dependencies(nodes, defined));
  std::vector<int> missing(nodes.size());  // producers that are not placed yet
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  for (size_t i = 0; i < nodes.size(); ++i) {
    missing[i] = static_cast<int>(dependencies.producers[i].size());
    if (missing[i] == 0) ready.push(static_cast<int>(i));
  }
  std::vector<ModelNode> ordered;
  ordered.reserve(nodes.size());
  while (!ready.empty()) {
    int node = ready.top();
    ready.pop();
    ordered.push_back(nodes[node]);
    for (int reader : dependencies.readers[node]) {
      if (--missing[reader] == 0) ready.push(reader);
    }
  }
  if (ordered.size() != nodes.size()) return cycle_error(nodes, dependencies, missing);
  return ordered;
}

}  // namespace corf::onnx
