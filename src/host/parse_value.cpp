#include "host/parse_value.h"

#include <limits>

#include "host/narrow.h"
#include "host/scope.h"

namespace corf::host {
namespace {

using onnx_proto::OptionalProto;
using onnx_proto::SequenceProto;
using onnx_proto::TensorProto;

/// What a message's tensors point into.
using Owner = std::shared_ptr<const void>;

Result<Value> to_value(const TensorProto& proto, const Owner& owner) {
  if (proto.data_type() == TensorProto::STRING) return read_strings(proto, "tensor");
  if (is_narrow(proto.data_type())) return read_narrow(proto, "tensor");
  onnx::ExternalData no_files({});
  CORF_ASSIGN(Tensor tensor, onnx::read_tensor(proto, owner, no_files, "tensor"));
  return Value(std::move(tensor));
}

Result<Value> to_value(const OptionalProto& proto, const Owner& owner);

// Messages nest no deeper than protobuf parses.
Result<Value> to_value(const SequenceProto& proto, const Owner& owner) {
  Value::Sequence items;
  const auto add = [&](const auto& messages) -> Status {
    for (const auto& message : messages) {
      CORF_ASSIGN(Value item, to_value(message, owner));
      items.push_back(std::move(item));
    }
    return {};
  };
  CORF_RETURN_IF_ERROR(add(proto.tensor_values()));
  CORF_RETURN_IF_ERROR(add(proto.sequence_values()));
  CORF_RETURN_IF_ERROR(add(proto.optional_values()));
  return Value(std::move(items));
}

Result<Value> to_value(const OptionalProto& proto, const Owner& owner) {
  if (proto.has_tensor_value()) return to_value(proto.tensor_value(), owner);
  if (proto.has_sequence_value()) return to_value(proto.sequence_value(), owner);
  if (proto.has_optional_value()) return to_value(proto.optional_value(), owner);
  return Value();
}

template <typename Proto>
Result<Value> parse(const void* bytes, size_t size_bytes) {
  auto proto = std::make_shared<Proto>();
  if (size_bytes > static_cast<size_t>(std::numeric_limits<int>::max()) ||
      !proto->ParseFromArray(bytes, static_cast<int>(size_bytes))) {
    return make_error(ErrorCode::kInvalidModel, "not an ONNX message of a value");
  }
  return to_value(*proto, proto);
}

}  // namespace

Result<Value> parse_value(const void* bytes, size_t size_bytes, onnx::ValueKind kind) {
  switch (kind) {
    case onnx::ValueKind::kSequence:
      return parse<SequenceProto>(bytes, size_bytes);
    case onnx::ValueKind::kOptional:
      return parse<OptionalProto>(bytes, size_bytes);
    default:
      return parse<TensorProto>(bytes, size_bytes);
  }
}

}  // namespace corf::host
