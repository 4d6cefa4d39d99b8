#include "host/scope.h"

namespace corf::host {

Result<Value> read_strings(const onnx_proto::TensorProto& proto, const std::string& what) {
  Strings strings;
  strings.shape.assign(proto.dims().begin(), proto.dims().end());
  strings.elems.assign(proto.string_data().begin(), proto.string_data().end());
  const auto count = checked_num_elems(strings.shape);
  if (!count.ok() || *count != static_cast<int64_t>(strings.elems.size())) {
    return make_error(ErrorCode::kInvalidModel, "{} of shape {} has {} strings", what,
                      to_string(strings.shape), strings.elems.size());
  }
  return Value(std::move(strings));
}

Result<Value> read_value(const onnx::Block& block, const onnx_proto::TensorProto& proto,
                         const std::string& what) {
  if (proto.data_type() == onnx_proto::TensorProto::STRING) return read_strings(proto, what);
  const onnx::Model::State& state = block.model->state();
  CORF_ASSIGN(Tensor tensor, onnx::read_tensor(proto, state.storage, *state.external, what));
  return Value(std::move(tensor));
}

NamedBlock::NamedBlock(onnx::Block given) : block(std::move(given)) {
  defined.insert(block.inputs.begin(), block.inputs.end());
  for (const onnx::ModelNode& node : block.nodes) {
    defined.insert(node.proto->output().begin(), node.proto->output().end());
  }
}

Result<Value> Scope::find(const std::string& name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->around_) {
    if (const auto value = scope->values_.find(name); value != scope->values_.end()) {
      return value->second;
    }
    const onnx::Block& block = scope->block_.block;
    if (const auto text = block.string_constants.find(name); text != block.string_constants.end()) {
      return read_value(block, *text->second, fmt::format("constant '{}'", name));
    }
    if (const auto found = block.constants.find(name); found != block.constants.end()) {
      if (!found->second.ok()) return found->second.error();
      return Value(*found->second);
    }
  }
  return make_error(ErrorCode::kInvalidModel, "value '{}' is read before it is computed", name);
}

const Result<Tensor>* Scope::find_constant(const std::string& name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->around_) {
    if (scope->block_.defined.contains(name)) return nullptr;
    const auto found = scope->block_.block.constants.find(name);
    if (found != scope->block_.block.constants.end()) return &found->second;
  }
  return nullptr;
}

bool Scope::is_no_tensor(const std::string& name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->around_) {
    if (const auto value = scope->values_.find(name); value != scope->values_.end()) {
      return value->second.tensor() == nullptr;
    }
    if (scope->block_.block.string_constants.contains(name)) return true;
    if (scope->block_.block.constants.contains(name)) return false;
  }
  return false;
}

}  // namespace corf::host
