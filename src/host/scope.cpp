#include "host/scope.h"

#include "host/narrow.h"

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

Result<Value> read_narrow(const onnx_proto::TensorProto& proto, const std::string& what) {
  const int bits = narrow_bits(proto.data_type());
  const Shape shape(proto.dims().begin(), proto.dims().end());
  const auto count = checked_num_elems(shape);
  const int64_t per_byte = 8 / bits;
  std::string packed = proto.raw_data();
  if (!proto.has_raw_data()) {
    for (const int32_t entry : proto.int32_data()) packed.push_back(static_cast<char>(entry));
  }
  if (proto.data_location() == onnx_proto::TensorProto::EXTERNAL) {
    return make_error(ErrorCode::kUnsupported, "{} of {} is external data", what,
                      onnx::onnx_type_name(proto.data_type()));
  }
  if (!count.ok() || (*count + per_byte - 1) / per_byte != static_cast<int64_t>(packed.size())) {
    return make_error(ErrorCode::kInvalidModel, "{} of shape {} and type {} holds {} bytes", what,
                      to_string(shape), onnx::onnx_type_name(proto.data_type()), packed.size());
  }
  session::Narrow narrow{proto.data_type(), Tensor(DType::kU8, shape)};
  for (int64_t i = 0; i < *count; ++i) {
    const auto byte = static_cast<uint8_t>(packed[i / per_byte]);
    const int code = byte >> (bits * (i % per_byte)) & ((1 << bits) - 1);
    narrow.codes.data<uint8_t>()[i] = static_cast<uint8_t>(code);
  }
  return Value(std::move(narrow));
}

Result<Value> read_value(const onnx::Block& block, const onnx_proto::TensorProto& proto,
                         const std::string& what) {
  if (proto.data_type() == onnx_proto::TensorProto::STRING) return read_strings(proto, what);
  if (is_narrow(proto.data_type())) return read_narrow(proto, what);
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
    if (const auto text = block.other_constants.find(name); text != block.other_constants.end()) {
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
    if (scope->block_.block.other_constants.contains(name)) return true;
    if (scope->block_.block.constants.contains(name)) return false;
  }
  return false;
}

}  // namespace corf::host
