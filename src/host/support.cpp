#include "host/support.h"

#include <algorithm>
#include <map>

#include "host/routines.h"
#include "onnx/check_model.h"
#include "onnx/node_import.h"
#include "onnx/unsupported_nodes.h"
#include "support/printable.h"

namespace corf::host {
namespace {

using onnx::describe;
using onnx::ModelNode;
using onnx::UnsupportedNode;

/// Of one operator; the others are counted.
constexpr size_t kMostNodesNamed = 20;

/// Nodes that are refused for one reason.
struct Group {
  size_t count = 0;
  std::string remedy;
  std::vector<std::string> nodes;  // the first ones
};
/// By operator, "domain.Name" outside of ONNX's domain, and reason.
using Groups = std::map<std::pair<std::string, std::string>, Group>;

std::string operator_name(const ModelNode& node) {
  const std::string& domain = node.proto->domain();
  const bool is_standard = domain.empty() || domain == "ai.onnx";
  return is_standard ? node.proto->op_type() : domain + "." + node.proto->op_type();
}

/// Why no node of the operator is run, be it by the importer or by the host; "" if some are.
std::string why_refused(const ModelNode& node) {
  if (find_routine(*node.proto) != nullptr) return "";
  if (is_host_operator(*node.proto) && node.proto->op_type() != "Scan") return "";
  return onnx::why_unsupported(node);
}

std::string remedy_for(const ModelNode& node) {
  if (onnx::find_operator(node.proto->domain(), node.proto->op_type()).empty()) {
    return "export the model without it (`corf operators` lists what there is), or with a "
           "function of its name that is made of such operators";
  }
  return "convert the model to such an opset, with onnx.version_converter";
}

void add(Groups& groups, const ModelNode& node, const std::string& reason,
         const std::string& remedy, const std::string& line) {
  Group& group = groups[{operator_name(node), reason}];
  group.remedy = remedy;
  if (++group.count <= kMostNodesNamed) group.nodes.push_back(line);
}

/// Bodies nest no deeper than protobuf parses.
void add_refused_operators(Groups& groups, const ModelNode& node) {
  if (const std::string why = why_refused(node); !why.empty()) {
    add(groups, node, why, remedy_for(node), describe(*node.proto));
  }
  for (const auto& attribute : node.proto->attribute()) {
    for (const auto& inner : attribute.g().node()) {
      add_refused_operators(groups, {&inner, node.opset});
    }
  }
}

Groups operators_refused_in(const onnx::Model& model) {
  const onnx::Model::State& state = model.state();
  const std::vector<bool> live = onnx::find_live_nodes(state);
  Groups groups;
  for (size_t i = 0; i < state.nodes.size(); ++i) {
    if (live[i]) add_refused_operators(groups, state.nodes[i]);
  }
  return groups;
}

std::string to_text(const Groups& groups) {
  size_t total = 0;
  std::string text;
  for (const auto& [what, group] : groups) {
    total += group.count;
    const auto& [name, reason] = what;
    text += fmt::format("\n  {} ({} node{})", name, group.count, group.count == 1 ? "" : "s");
    if (!reason.empty()) text += ": " + reason;
    for (const std::string& node : group.nodes) text += "\n    " + printable(node);
    if (group.count > group.nodes.size()) {
      text += fmt::format("\n    and {} more", group.count - group.nodes.size());
    }
    if (!group.remedy.empty()) text += "\n    remedy: " + group.remedy;
  }
  if (total == 0) return "";
  return fmt::format("{} node{} not supported:{}", total, total == 1 ? " is" : "s are", text);
}

/// Whether the host takes the node, or the value that it lacks is there once pieces have been run.
bool is_run_in_pieces(const UnsupportedNode& found) {
  const onnx_proto::NodeProto& node = *found.node.proto;
  if (found.lacks_value || is_host_only(node) || node.op_type() == "Constant") return true;
  return found.lacks_tensor &&
         (find_routine(node) != nullptr || only_moves_elements(node.op_type()));
}

std::string in_lines(const std::vector<UnsupportedNode>& nodes, const Error& error) {
  if (nodes.empty()) return error.message;
  std::string text;
  for (const UnsupportedNode& found : nodes) {
    const bool is_piece = is_host_only(*found.node.proto) && !found.lacks_value;
    text +=
        (text.empty() ? "" : "\n") + printable(is_piece ? describe(*found.node.proto) +
                                                              ": it is a piece by itself, carried "
                                                              "out by the host"
                                                        : found.line);
  }
  return text;
}

}  // namespace

Result<Support> find_support(const onnx::Model& model, const onnx::ShapeBindings& shapes) {
  Groups refused = operators_refused_in(model);
  for (const onnx::ModelTensor& input : model.inputs()) {
    if (input.kind == onnx::ValueKind::kTensor) continue;
    if (!refused.empty()) return Support{RunKind::kRefused, {}, to_text(refused)};
    return Support{RunKind::kInPieces,
                   {},
                   fmt::format("input '{}' is {}", printable(input.name), in_words(input.kind))};
  }
  const onnx::ImportAttempt attempt = onnx::attempt_import(model, shapes);
  for (const UnsupportedNode& found : attempt.unsupported) {
    if (!why_refused(found.node).empty() || is_run_in_pieces(found)) continue;
    add(refused, found.node, "", "", found.line);
  }
  if (!refused.empty()) return Support{RunKind::kRefused, {}, to_text(refused)};
  if (attempt.status.ok()) return Support{};
  if (attempt.unsupported.empty() && !attempt.first_obstacle) return attempt.status.error();
  const RunKind kind = attempt.deciding_inputs.empty() ? RunKind::kInPieces : RunKind::kForValues;
  return Support{kind, attempt.deciding_inputs,
                 in_lines(attempt.unsupported, attempt.status.error())};
}

std::string refused_operators(const onnx::Model& model) {
  return to_text(operators_refused_in(model));
}

}  // namespace corf::host
