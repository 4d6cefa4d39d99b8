// Nodes with bodies: the branches of an If, and what loops repeat.
#include <unordered_set>

#include "onnx/bind_shape.h"
#include "onnx/importer.h"

namespace corf::onnx {

using onnx_proto::NodeProto;

namespace {

/// Opset whose Where a choice between the branches of an If follows.
constexpr int64_t kOpsetOfWhere = 16;

Result<const onnx_proto::GraphProto*> find_branch(const NodeProto& node, std::string_view name) {
  for (const auto& attribute : node.attribute()) {
    if (attribute.name() == name && attribute.has_g()) return &attribute.g();
  }
  return make_error(ErrorCode::kInvalidModel, "{}: it has no {}", describe(node), name);
}

}  // namespace

bool is_if(const NodeProto& node) {
  return node.op_type() == "If" && (node.domain().empty() || node.domain() == "ai.onnx");
}

Status Importer::import_if(const ModelNode& node, const std::string& name) {
  const NodeProto& proto = *node.proto;
  if (proto.input_size() != 1) {
    return make_error(ErrorCode::kInvalidModel, "{}: one input is required", describe(proto));
  }
  if (report_if_unavailable(proto.input(0))) return give_up(node, "");
  CORF_ASSIGN(auto condition, find_input(proto.input(0)));
  CORF_ASSIGN(const onnx_proto::GraphProto* then_branch, find_branch(proto, "then_branch"));
  CORF_ASSIGN(const onnx_proto::GraphProto* else_branch, find_branch(proto, "else_branch"));
  const NodeImport context = context_of(node, name, {condition});
  if (!condition || num_elems(context.shape(*condition)) != 1) {
    return make_error(ErrorCode::kInvalidModel, "{}its condition is not one element",
                      context.prefix());
  }
  if (const Tensor* known = context.known(*condition)) {
    return import_branch(known->at_i64(0) != 0 ? *then_branch : *else_branch, node);
  }
  CORF_ASSIGN(Values then_values, import_branch_apart(*then_branch, node));
  CORF_ASSIGN(Values else_values, import_branch_apart(*else_branch, node));
  for (int i = 0; i < proto.output_size(); ++i) {
    if (!then_values[i] || !else_values[i]) {  // unavailable, and reported
      await(*condition, NodeImport::Bind::kIfSmall);
      continue;
    }
    CORF_RETURN_IF_ERROR(select_output(node, name, i, {condition, then_values[i], else_values[i]}));
  }
  return {};
}

Result<Importer::Values> Importer::import_branch_apart(const onnx_proto::GraphProto& branch,
                                                       const ModelNode& node) {
  const std::unordered_map<std::string, ValueId> outside = values_;
  ++branches_apart_;
  Status status = import_branch(branch, node);
  --branches_apart_;
  if (!status.ok()) {
    const std::string& condition = node.proto->input(0);
    await(outside.at(condition), NodeImport::Bind::kIfSmall);
    return make_error(status.error().code,
                      "{} (a branch of {}; both branches are compiled, for its condition depends "
                      "on {})",
                      status.error().message, describe(*node.proto),
                      describe_data(graph_, outside.at(condition)));
  }
  Values values;
  for (const std::string& output : node.proto->output()) {
    auto found = values_.find(output);
    values.push_back(found == values_.end() ? std::optional<ValueId>() : found->second);
  }
  forget_values(outside);
  return values;
}

Status Importer::select_output(const ModelNode& node, const std::string& name, int output,
                               Values inputs) {
  NodeProto select;  // Where(condition, then, else)
  select.set_op_type(node.proto->op_type());
  select.set_name(node.proto->name());
  select.add_output(node.proto->output(output));
  std::string part = output == 0 ? name : node_names_.claim(fmt::format("{}/{}", name, output));
  NodeImport context = context_of({&select, kOpsetOfWhere}, part, std::move(inputs));
  const graph::Value& a = graph_.values[context.input(1)];
  const graph::Value& b = graph_.values[context.input(2)];
  if (a.dtype != b.dtype || a.shape != b.shape ||
      context.rank(context.input(0)) > context.rank(context.input(1))) {
    Status status = give_up(
        {&select, node.opset},
        context.prefix() +
            fmt::format("its branches give {} {} and {} {} for output {}; at run time only "
                        "branches of the same type and shape can be chosen from, and its condition "
                        "depends on {}",
                        to_string(a.dtype), to_string(a.shape), to_string(b.dtype),
                        to_string(b.shape), output, context.describe_awaited(context.input(0))));
    unsupported_.back().node.node = node;
    return status;
  }
  return import_with(*find_operator("", "Where", kOpsetOfWhere), context, {&select, node.opset});
}

Status Importer::import_branch(const onnx_proto::GraphProto& branch, const ModelNode& node) {
  const NodeProto& proto = *node.proto;
  if (branch.output_size() != proto.output_size()) {
    return make_error(ErrorCode::kInvalidModel, "{}: a branch has {} outputs, not {}",
                      describe(proto), branch.output_size(), proto.output_size());
  }
  CORF_RETURN_IF_ERROR(import_body_nodes(branch, node.opset));
  for (int i = 0; i < branch.output_size(); ++i) {
    const std::string& inner = branch.output(i).name();
    if (report_if_unavailable(inner)) {
      unavailable_[proto.output(i)] = std::nullopt;
      continue;
    }
    CORF_ASSIGN(auto value, find_input(inner));
    if (!value) {
      return make_error(ErrorCode::kInvalidModel, "{}: a branch's output has no name",
                        describe(proto));
    }
    values_[proto.output(i)] = *value;
  }
  return {};
}

Status Importer::import_body_nodes(const onnx_proto::GraphProto& body, int64_t opset) {
  for (const auto& initializer : body.initializer()) {
    CORF_ASSIGN(Tensor tensor, read_tensor(initializer, state_.storage, *state_.external,
                                           fmt::format("initializer '{}'", initializer.name())));
    if (!has_sound_extents(tensor.shape())) {
      return make_error(ErrorCode::kInvalidModel, "initializer '{}' of shape {} is too large",
                        initializer.name(), to_string(tensor.shape()));
    }
    ValueId value = graph_.add_constant(node_names_.claim(initializer.name()), std::move(tensor));
    graph_.values[value].name = value_names_.claim(initializer.name());
    values_[initializer.name()] = value;
  }
  // Bodies nest no deeper than protobuf parses.
  for (const NodeProto& inner : body.node()) {
    std::string wanted = inner.name();
    if (wanted.empty()) wanted = inner.output_size() > 0 ? inner.output(0) : inner.op_type();
    std::string name = node_names_.claim(wanted);
    for (const std::string& output : inner.output()) {
      if (values_.contains(output)) {
        return make_error(ErrorCode::kInvalidModel, "{}: value '{}' is defined twice",
                          describe(inner), output);
      }
      value_names_.claim(output);
    }
    CORF_RETURN_IF_ERROR(import_node({&inner, opset}, name));
  }
  return {};
}

void Importer::forget_values(std::unordered_map<std::string, ValueId> outside) {
  for (const auto& [name, value] : values_) {
    if (state_.initializers.contains(name)) outside.emplace(name, value);
  }
  values_ = std::move(outside);
}

Result<std::vector<ValueId>> Importer::import_body(const onnx_proto::GraphProto& body,
                                                   int64_t opset,
                                                   const std::vector<ValueId>& inputs) {
  const std::unordered_map<std::string, ValueId> outside = values_;
  const size_t first_value = graph_.values.size();
  for (size_t i = 0; i < inputs.size(); ++i) {
    values_[body.input(static_cast<int>(i)).name()] = inputs[i];
  }
  CORF_RETURN_IF_ERROR(import_body_nodes(body, opset));
  std::vector<ValueId> outputs;
  for (const auto& output : body.output()) {
    if (report_if_unavailable(output.name())) return Error{ErrorCode::kUnsupported, ""};
    CORF_ASSIGN(auto value, find_input(output.name()));
    if (!value) return make_error(ErrorCode::kInvalidModel, "a body's output has no name");
    outputs.push_back(*value);
  }
  // The body may be imported again.
  for (size_t i = first_value; i < graph_.values.size(); ++i) {
    graph_.values[i].name = value_names_.claim(graph_.values[i].name);
  }
  forget_values(outside);
  return outputs;
}

}  // namespace corf::onnx
