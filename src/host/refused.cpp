#include "host/refused.h"

#include <map>

#include "host/routines.h"
#include "onnx/check_model.h"

namespace corf::host {
namespace {

using onnx::ModelNode;

/// Why the node is refused, "" if it is not.
std::string why_refused(const ModelNode& node) {
  const bool is_control_flow =
      is_host_operator(*node.proto) && find_routine(*node.proto) == nullptr;
  if (find_routine(*node.proto) != nullptr) return "";
  if (is_control_flow && node.proto->op_type() != "Scan") return "";
  return onnx::why_unsupported(node);
}

/// Bodies nest no deeper than protobuf parses.
void count_refused(const ModelNode& node, std::map<std::string, int>& counts) {
  if (const std::string why = why_refused(node); !why.empty()) {
    ++counts[fmt::format("{}: {}", node.proto->op_type(), why)];
  }
  for (const auto& attribute : node.proto->attribute()) {
    for (const auto& inner : attribute.g().node()) count_refused({&inner, node.opset}, counts);
  }
}

}  // namespace

std::vector<std::string> refused_operators(const onnx::Model& model) {
  const onnx::Model::State& state = model.state();
  const std::vector<bool> live = onnx::find_live_nodes(state);
  std::map<std::string, int> counts;
  for (size_t i = 0; i < state.nodes.size(); ++i) {
    if (live[i]) count_refused(state.nodes[i], counts);
  }
  std::vector<std::string> lines;
  for (const auto& [line, count] : counts) {
    lines.push_back(fmt::format("{} ({} node{})", line, count, count == 1 ? "" : "s"));
  }
  return lines;
}

}  // namespace corf::host
