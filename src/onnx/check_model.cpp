#include "onnx/check_model.h"

#include <algorithm>
#include <unordered_set>

#include "onnx/node_import.h"
#include "support/printable.h"

namespace corf::onnx {

std::vector<bool> find_live_nodes(const Model::State& state) {
  std::unordered_set<std::string> needed;
  for (const ModelTensor& output : state.outputs) needed.insert(output.name);
  std::vector<bool> live(state.nodes.size());
  for (size_t i = state.nodes.size(); i-- > 0;) {
    const onnx_proto::NodeProto& node = *state.nodes[i].proto;
    for (const std::string& output : node.output()) {
      live[i] = live[i] || (!output.empty() && needed.contains(output));
    }
    if (!live[i]) continue;
    for (const std::string& name : names_read(node)) needed.insert(name);
  }
  return live;
}

std::string why_unsupported(const ModelNode& node) {
  const onnx_proto::NodeProto& proto = *node.proto;
  if (find_operator(proto.domain(), proto.op_type(), node.opset) != nullptr) return "";
  const std::span<const Operator> known = find_operator(proto.domain(), proto.op_type());
  if (known.empty()) {
    const std::string domain =
        proto.domain().empty() ? "" : fmt::format(" of domain '{}'", proto.domain());
    return "the operator" + domain + " is not supported";
  }
  std::string ranges;
  for (const Operator& entry : known) {
    ranges += fmt::format("{}{} to {}", ranges.empty() ? "" : ", ", entry.since, entry.until);
  }
  return "supported in opsets " + ranges;
}

Status check_opset(int64_t opset) {
  if (opset == 0) return {};  // no node of the default domain
  if (opset >= 1 && opset <= kLastOpset) return {};
  return make_error(ErrorCode::kUnsupported, "the model uses opset {}; 1 to {} are supported",
                    opset, kLastOpset);
}

Error unsupported_error(const std::vector<std::string>& lines) {
  if (lines.size() == 1) return Error{ErrorCode::kUnsupported, lines[0]};
  constexpr size_t kMostLines = 500;
  const size_t shown = std::min(lines.size(), kMostLines);
  std::string message = fmt::format("{} nodes are not supported:", lines.size());
  for (size_t i = 0; i < shown; ++i) message += "\n  " + printable(lines[i]);
  if (shown < lines.size()) message += fmt::format("\n  and {} more", lines.size() - shown);
  return Error{ErrorCode::kUnsupported, message};
}

}  // namespace corf::onnx
