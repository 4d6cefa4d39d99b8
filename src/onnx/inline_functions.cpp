#include <set>
#include <tuple>
#include <unordered_set>

#include "onnx/model_state.h"

namespace corf::onnx {
namespace {

using onnx_proto::AttributeProto;
using onnx_proto::FunctionProto;
using onnx_proto::GraphProto;
using onnx_proto::NodeProto;

constexpr int kMaxCallDepth = 64;
/// Of a message without anything in it, with what stands beside it.
constexpr int64_t kBytesPerNode = 512;

using FunctionKey = std::tuple<std::string, std::string, std::string>;  // domain, name, overload

std::string normal_domain(const std::string& domain) { return domain == "ai.onnx" ? "" : domain; }

int64_t default_opset(const FunctionProto& function, int64_t otherwise) {
  for (const auto& opset : function.opset_import()) {
    if (normal_domain(opset.domain()).empty()) return opset.version();
  }
  return otherwise;
}

/// Gives the values inside a function's body names of their own in the caller.
class Renaming {
 public:
  Renaming(const FunctionProto& function, const NodeProto& call, std::string prefix)
      : prefix_(std::move(prefix)) {
    for (int i = 0; i < function.input_size(); ++i) {
      names_[function.input(i)] = i < call.input_size() ? call.input(i) : "";
    }
    for (int i = 0; i < function.output_size(); ++i) {
      if (i < call.output_size() && !call.output(i).empty()) {
        names_[function.output(i)] = call.output(i);
      }
    }
  }

  void apply(NodeProto& node) const {
    node.set_name(prefix_ + (node.name().empty() ? node.op_type() : node.name()));
    std::vector<NodeProto*> pending = {&node};
    while (!pending.empty()) {
      NodeProto& current = *pending.back();
      pending.pop_back();
      for (std::string& name : *current.mutable_input()) rename(name);
      for (std::string& name : *current.mutable_output()) rename(name);
      for (AttributeProto& attribute : *current.mutable_attribute()) {
        if (attribute.has_g()) rename(*attribute.mutable_g(), pending);
        for (GraphProto& graph : *attribute.mutable_graphs()) rename(graph, pending);
      }
    }
  }

 private:
  void rename(std::string& name) const {
    if (name.empty()) return;
    auto found = names_.find(name);
    name = found != names_.end() ? found->second : prefix_ + name;
  }
  void rename(GraphProto& graph, std::vector<NodeProto*>& pending) const {
    for (auto& input : *graph.mutable_input()) rename(*input.mutable_name());
    for (auto& output : *graph.mutable_output()) rename(*output.mutable_name());
    for (auto& tensor : *graph.mutable_initializer()) rename(*tensor.mutable_name());
    for (auto& node : *graph.mutable_node()) pending.push_back(&node);
  }
  std::string prefix_;
  std::unordered_map<std::string, std::string> names_;
};

/// Attributes that refer to the function's own take the call's value, or the function's default, or
/// are left out.
void bind_attributes(NodeProto& node, const FunctionProto& function, const NodeProto& call) {
  auto find = [](const auto& attributes, const std::string& name) -> const AttributeProto* {
    for (const AttributeProto& attribute : attributes) {
      if (attribute.name() == name) return &attribute;
    }
    return nullptr;
  };
  NodeProto bound;
  for (const AttributeProto& attribute : node.attribute()) {
    if (attribute.ref_attr_name().empty()) {
      *bound.add_attribute() = attribute;
      continue;
    }
    const AttributeProto* value = find(call.attribute(), attribute.ref_attr_name());
    if (value == nullptr) value = find(function.attribute_proto(), attribute.ref_attr_name());
    if (value == nullptr) continue;
    AttributeProto& copy = *bound.add_attribute();
    copy = *value;
    copy.set_name(attribute.name());
  }
  node.mutable_attribute()->Swap(bound.mutable_attribute());
}

}  // namespace

Result<std::vector<ModelNode>> inline_functions(ModelStorage& storage, int64_t model_opset) {
  std::map<FunctionKey, const FunctionProto*> functions;
  for (const FunctionProto& function : storage.proto.functions()) {
    functions[{normal_domain(function.domain()), function.name(), function.overload()}] = &function;
  }
  struct Pending {
    ModelNode node;
    int depth;
  };
  std::vector<Pending> stack;  // the next node on top
  const auto& nodes = storage.proto.graph().node();
  for (int i = nodes.size(); i-- > 0;) stack.push_back({{&nodes[i], model_opset}, 0});
  std::vector<ModelNode> result;
  std::set<std::string> prefixes;
  while (!stack.empty()) {
    Pending pending = stack.back();
    stack.pop_back();
    const NodeProto& node = *pending.node.proto;
    auto found = functions.find({normal_domain(node.domain()), node.op_type(), node.overload()});
    if (found == functions.end()) {
      result.push_back(pending.node);
      continue;
    }
    const FunctionProto& function = *found->second;
    if (pending.depth == kMaxCallDepth) {
      return make_error(ErrorCode::kInvalidModel,
                        "{}: function '{}' calls itself, or calls nest deeper than {}",
                        describe(node), function.name(), kMaxCallDepth);
    }
    if (node.input_size() > function.input_size() || node.output_size() > function.output_size()) {
      return make_error(ErrorCode::kInvalidModel,
                        "{}: {} inputs and {} outputs for function '{}', which has {} and {}",
                        describe(node), node.input_size(), node.output_size(), function.name(),
                        function.input_size(), function.output_size());
    }
    std::string base = !node.name().empty() ? node.name() : node.op_type();
    std::string prefix = base + "/";
    for (int i = 1; !prefixes.insert(prefix).second; ++i) prefix = fmt::format("{}_{}/", base, i);
    Renaming renaming(function, node, prefix);
    int64_t opset = default_opset(function, pending.node.opset);
    for (int i = function.node_size(); i-- > 0;) {
      NodeProto& copy = storage.inlined_nodes.emplace_back(function.node(i));
      bind_attributes(copy, function, node);
      renaming.apply(copy);
      stack.push_back({{&copy, opset}, pending.depth + 1});
      if (Budget* budget = Budget::current()) {
        budget->check_nodes(static_cast<int64_t>(storage.inlined_nodes.size()));
        budget->hold_bytes(kBytesPerNode + 2 * static_cast<int64_t>(copy.ByteSizeLong()));
        look_at_budget();
      }
    }
  }
  return result;
}

}  // namespace corf::onnx
