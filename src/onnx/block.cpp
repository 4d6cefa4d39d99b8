#include "onnx/block.h"

#include "onnx/bind_shape.h"
#include "onnx/check_model.h"

namespace corf::onnx {
namespace {

using onnx_proto::NodeProto;
using onnx_proto::TensorProto;

bool is_constant(const NodeProto& node) {
  return node.op_type() == "Constant" && (node.domain().empty() || node.domain() == "ai.onnx") &&
         node.input_size() == 0 && node.output_size() == 1 && node.attribute_size() == 1;
}

bool is_other(const TensorProto& proto) {
  return proto.data_type() == TensorProto::STRING || is_stored_type(proto.data_type());
}

void add_constant(Block& block, const std::string& name, const TensorProto& proto) {
  if (is_other(proto)) block.other_constants.emplace(name, &proto);
  const Model::State& state = block.model->state();
  auto tensor =
      read_tensor(proto, state.storage, *state.external, fmt::format("constant '{}'", name));
  if (tensor.ok() && !has_sound_extents(tensor->shape())) {
    tensor = make_error(ErrorCode::kInvalidModel, "constant '{}' of shape {} is too large", name,
                        to_string(tensor->shape()));
  }
  block.constants.emplace(name, std::move(tensor));
}

template <typename T, typename List>
Tensor list_tensor(const List& list) {
  const std::vector<T> values(list.begin(), list.end());
  return make_tensor<T>({static_cast<int64_t>(values.size())}, values);
}
template <typename T>
Tensor scalar_tensor(T value) {
  return make_tensor<T>({}, std::span<const T>(&value, 1));
}

/// False: the node is run as any other.
bool take_constant(Block& block, const NodeProto& node) {
  if (!is_constant(node)) return false;
  const auto& attribute = node.attribute(0);
  const std::string& output = node.output(0);
  if (attribute.name() == "value" && attribute.has_t()) {
    add_constant(block, output, attribute.t());
  } else if (attribute.name() == "value_int" && attribute.has_i()) {
    block.constants.emplace(output, scalar_tensor<int64_t>(attribute.i()));
  } else if (attribute.name() == "value_float" && attribute.has_f()) {
    block.constants.emplace(output, scalar_tensor<float>(attribute.f()));
  } else if (attribute.name() == "value_ints") {
    block.constants.emplace(output, list_tensor<int64_t>(attribute.ints()));
  } else if (attribute.name() == "value_floats") {
    block.constants.emplace(output, list_tensor<float>(attribute.floats()));
  } else {
    return false;
  }
  return true;
}

}  // namespace

Result<Block> main_block(std::shared_ptr<const Model> model) {
  Block block;
  block.model = std::move(model);
  const Model::State& state = block.model->state();
  for (const ModelTensor& input : state.inputs) block.inputs.push_back(input.name);
  for (const ModelTensor& output : state.outputs) block.outputs.push_back(output.name);
  block.constants = state.initializers;
  for (const auto& proto : state.storage->proto.graph().initializer()) {
    const bool is_read = state.initializers.at(proto.name()).ok();
    if (is_other(proto) && !is_read) block.other_constants.emplace(proto.name(), &proto);
  }
  const std::vector<bool> live = find_live_nodes(state);
  for (size_t i = 0; i < state.nodes.size(); ++i) {
    if (live[i] && !take_constant(block, *state.nodes[i].proto)) {
      block.nodes.push_back(state.nodes[i]);
    }
  }
  return block;
}

Result<Block> body_block(std::shared_ptr<const Model> model, const onnx_proto::GraphProto& body,
                         int64_t opset) {
  Block block;
  block.model = std::move(model);
  std::unordered_set<std::string> defined;
  const auto define = [&](const std::string& name) -> Status {
    if (name.empty() || defined.insert(name).second) return {};
    return make_error(ErrorCode::kInvalidModel, "in a body, value '{}' is defined twice", name);
  };
  for (const auto& input : body.input()) {
    CORF_RETURN_IF_ERROR(define(input.name()));
    block.inputs.push_back(input.name());
  }
  for (const auto& output : body.output()) block.outputs.push_back(output.name());
  for (const auto& initializer : body.initializer()) {
    CORF_RETURN_IF_ERROR(define(initializer.name()));
    add_constant(block, initializer.name(), initializer);
  }
  for (const NodeProto& node : body.node()) {
    for (const std::string& output : node.output()) CORF_RETURN_IF_ERROR(define(output));
    if (!take_constant(block, node)) block.nodes.push_back({&node, opset});
  }
  return block;
}

std::shared_ptr<const Model> make_segment_model(const Block& block,
                                                std::span<const ModelNode> nodes,
                                                std::vector<ModelTensor> inputs,
                                                const std::vector<std::string>& outputs,
                                                const FindConstant& find_constant) {
  const Model::State& whole = block.model->state();
  auto segment = std::make_unique<Model::State>();
  segment->storage = whole.storage;
  segment->external = whole.external;
  segment->inputs = std::move(inputs);
  for (const std::string& name : outputs) {
    ModelTensor output;
    output.name = name;
    output.has_rank = false;
    segment->outputs.push_back(output);
  }
  segment->opset = whole.opset;
  segment->size = whole.size;
  segment->nodes.assign(nodes.begin(), nodes.end());
  for (const ModelNode& node : nodes) {
    for (const std::string& name : names_read(*node.proto)) {
      if (const Result<Tensor>* constant = find_constant(name)) {
        segment->initializers.emplace(name, *constant);
      }
    }
  }
  return std::make_shared<Model>(std::move(segment));
}

}  // namespace corf::onnx
