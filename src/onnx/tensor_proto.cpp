#include "onnx/tensor_proto.h"

#include <charconv>
#include <cstring>

#include "support/checked.h"

namespace corf::onnx {
namespace {

using onnx_proto::TensorProto;

/// Newer than the proto's text.
constexpr int kUint2 = 25, kInt2 = 26;  // the last of the types

/// A tensor over `bytes`, shared if they are aligned for their type.
Tensor wrap_bytes(DType dtype, const Shape& shape, const void* bytes,
                  const std::shared_ptr<const void>& owner) {
  auto alignment = static_cast<uintptr_t>(size_bytes(dtype));
  // Booleans are copied, for only 0 and 1 may be stored.
  if (dtype != DType::kBool && reinterpret_cast<uintptr_t>(bytes) % alignment == 0) {
    return Tensor(dtype, shape, std::const_pointer_cast<void>(owner), const_cast<void*>(bytes));
  }
  Tensor copy(dtype, shape);
  if (copy.size_bytes() > 0) std::memcpy(copy.bytes(), bytes, copy.size_bytes());
  if (dtype == DType::kBool) {
    auto* values = reinterpret_cast<uint8_t*>(copy.bytes());
    for (int64_t i = 0; i < copy.num_elems(); ++i) values[i] = values[i] != 0;
  }
  return copy;
}

template <typename Field>
Tensor share_field(DType dtype, const Shape& shape, const Field& field,
                   const std::shared_ptr<const void>& owner) {
  return wrap_bytes(dtype, shape, field.data(), owner);
}

/// Elements that the proto stores one to an integer wider than their type.
template <typename Field>
Tensor narrow_field(DType dtype, const Shape& shape, const Field& field) {
  Tensor tensor(dtype, shape);
  int64_t width = size_bytes(dtype);
  for (int64_t i = 0; i < tensor.num_elems(); ++i) {
    auto value = static_cast<uint64_t>(field[static_cast<int>(i)]);
    if (dtype == DType::kBool) value = value != 0;
    std::memcpy(tensor.bytes() + i * width, &value, width);  // little-endian, as x86-64 is
  }
  return tensor;
}

Result<Tensor> read_external(const TensorProto& proto, DType dtype, const Shape& shape,
                             int64_t expected_bytes, ExternalData& external,
                             const std::string& what) {
  std::string location;
  uint64_t offset = 0;
  std::optional<uint64_t> length;
  for (const auto& entry : proto.external_data()) {
    const std::string& text = entry.value();
    if (entry.key() == "location") location = text;
    if (entry.key() != "offset" && entry.key() != "length") continue;
    uint64_t number = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size()) {
      return make_error(ErrorCode::kInvalidModel, "{}: external data has {} '{}', not a number",
                        what, entry.key(), text);
    }
    if (entry.key() == "offset") offset = number;
    if (entry.key() == "length") length = number;
  }
  if (location.empty()) {
    return make_error(ErrorCode::kInvalidModel, "{}: external data without a location", what);
  }
  auto file = external.open(location);
  if (!file.ok()) {
    return make_error(file.error().code, "{}: {}", what, file.error().message);
  }
  const auto available = static_cast<uint64_t>((*file)->size_bytes());
  auto expected = static_cast<uint64_t>(expected_bytes);
  if (length && *length != expected) {
    return make_error(ErrorCode::kInvalidModel,
                      "{}: external data of {} bytes for shape {} of {}, which needs {}", what,
                      *length, to_string(shape), to_string(dtype), expected);
  }
  if (offset > available || expected > available - offset) {
    return make_error(ErrorCode::kInvalidModel,
                      "{}: external data at bytes {} to {} of '{}', which has only {} bytes", what,
                      offset, offset + expected, location, available);
  }
  auto bytes = (*file)->read(static_cast<int64_t>(offset), expected_bytes);
  if (!bytes.ok()) return make_error(bytes.error().code, "{}: {}", what, bytes.error().message);
  return wrap_bytes(dtype, shape, *bytes, *file);
}

}  // namespace

std::optional<DType> dtype_from_onnx(int data_type) {
  switch (data_type) {
    case TensorProto::FLOAT:
      return DType::kF32;
    case TensorProto::UINT8:
      return DType::kU8;
    case TensorProto::INT8:
      return DType::kI8;
    case TensorProto::UINT16:
      return DType::kU16;
    case TensorProto::INT16:
      return DType::kI16;
    case TensorProto::INT32:
      return DType::kI32;
    case TensorProto::INT64:
      return DType::kI64;
    case TensorProto::BOOL:
      return DType::kBool;
    case TensorProto::FLOAT16:
      return DType::kF16;
    case TensorProto::DOUBLE:
      return DType::kF64;
    case TensorProto::UINT32:
      return DType::kU32;
    case TensorProto::UINT64:
      return DType::kU64;
    case TensorProto::BFLOAT16:
      return DType::kBF16;
    default:
      return std::nullopt;
  }
}

bool is_stored_type(int data_type) {
  return data_type >= TensorProto::FLOAT8E4M3FN && data_type <= kInt2;
}

int digit_bits(int data_type) {
  if (data_type == TensorProto::UINT4 || data_type == TensorProto::INT4) return 4;
  return data_type == kUint2 || data_type == kInt2 ? 2 : 0;
}

std::string onnx_type_name(int data_type) {
  static constexpr const char* kNames[] = {
      "undefined",      "float",    "uint8",        "int8",           "uint16",
      "int16",          "int32",    "int64",        "string",         "bool",
      "float16",        "double",   "uint32",       "uint64",         "complex64",
      "complex128",     "bfloat16", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2",
      "float8e5m2fnuz", "uint4",    "int4",         "float4e2m1",     "float8e8m0",
      "uint2",          "int2"};
  if (data_type < 0 || data_type >= static_cast<int>(std::size(kNames))) {
    return fmt::format("type {}", data_type);
  }
  return kNames[data_type];
}

Result<Tensor> read_tensor(const TensorProto& proto, const std::shared_ptr<const void>& owner,
                           ExternalData& external, const std::string& what) {
  Shape shape(proto.dims().begin(), proto.dims().end());
  auto count = checked_num_elems(shape);
  if (!count.ok()) {
    return make_error(ErrorCode::kInvalidModel, "{}: {}", what, count.error().message);
  }
  auto dtype = dtype_from_onnx(proto.data_type());
  if (!dtype) {
    auto code = proto.data_type() == TensorProto::UNDEFINED ? ErrorCode::kInvalidModel
                                                            : ErrorCode::kUnsupported;
    return make_error(code, "{} has element type {}", what, onnx_type_name(proto.data_type()));
  }
  auto expected_bytes = checked_mul(*count, size_bytes(*dtype));
  if (!expected_bytes) {
    return make_error(ErrorCode::kInvalidModel, "{}: shape {} is too large", what,
                      to_string(shape));
  }
  if (*count == 0) return Tensor(*dtype, shape);
  if (proto.data_location() == TensorProto::EXTERNAL) {
    return read_external(proto, *dtype, shape, *expected_bytes, external, what);
  }
  if (proto.has_raw_data()) {
    const std::string& raw = proto.raw_data();
    if (static_cast<int64_t>(raw.size()) != *expected_bytes) {
      return make_error(ErrorCode::kInvalidModel, "{} holds {} bytes, but shape {} of {} needs {}",
                        what, raw.size(), to_string(shape), to_string(*dtype), *expected_bytes);
    }
    return wrap_bytes(*dtype, shape, raw.data(), owner);
  }
  int64_t held = 0;
  switch (*dtype) {
    case DType::kF32:
      held = proto.float_data_size();
      break;
    case DType::kF64:
      held = proto.double_data_size();
      break;
    case DType::kI64:
      held = proto.int64_data_size();
      break;
    case DType::kU32:
    case DType::kU64:
      held = proto.uint64_data_size();
      break;
    default:
      held = proto.int32_data_size();
  }
  if (held != *count) {
    return make_error(ErrorCode::kInvalidModel, "{} holds {} elements, but shape {} of {} needs {}",
                      what, held, to_string(shape), to_string(*dtype), *count);
  }
  switch (*dtype) {
    case DType::kF32:
      return share_field(*dtype, shape, proto.float_data(), owner);
    case DType::kF64:
      return share_field(*dtype, shape, proto.double_data(), owner);
    case DType::kI64:
      return share_field(*dtype, shape, proto.int64_data(), owner);
    case DType::kU64:
      return share_field(*dtype, shape, proto.uint64_data(), owner);
    case DType::kU32:
      return narrow_field(*dtype, shape, proto.uint64_data());
    default:
      return narrow_field(*dtype, shape, proto.int32_data());
  }
}

Result<Tensor> read_digits(const TensorProto& proto, ExternalData& external,
                           const std::string& what) {
  const Shape shape(proto.dims().begin(), proto.dims().end());
  const auto count = checked_num_elems(shape);
  if (!count.ok()) {
    return make_error(ErrorCode::kInvalidModel, "{}: {}", what, count.error().message);
  }
  const int bits = digit_bits(proto.data_type()), per_byte = 8 / bits;
  // The bytes, as a tensor of their own.
  TensorProto header;
  header.set_data_type(TensorProto::UINT8);
  header.add_dims(ceil_div(*count, per_byte));
  header.set_data_location(proto.data_location());
  *header.mutable_external_data() = proto.external_data();
  if (proto.has_raw_data()) header.set_raw_data(proto.raw_data());
  *header.mutable_int32_data() = proto.int32_data();
  CORF_ASSIGN(const Tensor bytes, read_tensor(header, nullptr, external, what));
  const bool is_signed = proto.data_type() == TensorProto::INT4 || proto.data_type() == kInt2;
  Tensor result(is_signed ? DType::kI8 : DType::kU8, shape);
  const int mask = (1 << bits) - 1, sign = is_signed ? 1 << (bits - 1) : 0;
  for (int64_t i = 0; i < *count; ++i) {
    const int number = bytes.data<uint8_t>()[i / per_byte] >> (i % per_byte * bits) & mask;
    // Two's complement.
    result.data<uint8_t>()[i] = static_cast<uint8_t>((number ^ sign) - sign);
  }
  return result;
}

}  // namespace corf::onnx
