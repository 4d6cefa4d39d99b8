#pragma once
#include <cstdint>
#include <string>
#include <vector>

/// Writes small ONNX models byte by byte (protobuf's wire format), so that these tests need nothing
/// but the public interface.
namespace tiny_model {

inline std::string varint(uint64_t value) {
  std::string bytes;
  do {
    bytes += static_cast<char>((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
    value >>= 7;
  } while (value != 0);
  return bytes;
}
inline std::string number(int field, uint64_t value) {
  return varint(static_cast<uint64_t>(field) << 3) + varint(value);
}
inline std::string bytes(int field, const std::string& content) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(content.size()) + content;
}

constexpr uint64_t kFloat = 1, kInt64 = 7;  // TensorProto.DataType

/// ValueInfoProto; a dimension is a number or, if it does not begin with a digit, a symbol.
inline std::string value(const std::string& name, const std::vector<std::string>& dims,
                         uint64_t type = kFloat) {
  std::string shape;
  for (const std::string& dim : dims) {
    const bool is_number = dim[0] >= '0' && dim[0] <= '9';
    shape += bytes(1, is_number ? number(1, std::stoull(dim)) : bytes(2, dim));
  }
  return bytes(1, name) + bytes(2, bytes(1, number(1, type) + bytes(2, shape)));
}

/// NodeProto without attributes.
inline std::string node(const std::string& op, const std::string& name,
                        const std::vector<std::string>& inputs, const std::string& output) {
  std::string proto;
  for (const std::string& input : inputs) proto += bytes(1, input);
  return proto + bytes(2, output) + bytes(3, name) + bytes(4, op);
}

/// TensorProto of float32.
inline std::string tensor(const std::string& name, const std::vector<uint64_t>& dims,
                          const std::vector<float>& values) {
  std::string proto;
  for (const uint64_t dim : dims) proto += number(1, dim);
  const std::string raw(reinterpret_cast<const char*>(values.data()),
                        values.size() * sizeof(float));
  return proto + number(2, kFloat) + bytes(8, name) + bytes(9, raw);
}

/// y = relu(x w + b): x [batch, 3], w [[1, 2], [3, 4], [5, 6]], b [0.5, -100]; metadata key
/// "about".
inline std::string linear() {
  const std::string graph =
      bytes(1, node("MatMul", "product", {"x", "w"}, "xw")) +
      bytes(1, node("Add", "shift", {"xw", "b"}, "sum")) +
      bytes(1, node("Relu", "clip", {"sum"}, "y")) + bytes(2, "linear") +
      bytes(5, tensor("w", {3, 2}, {1, 2, 3, 4, 5, 6})) + bytes(5, tensor("b", {2}, {0.5f, -100})) +
      bytes(11, value("x", {"batch", "3"})) + bytes(12, value("y", {"batch", "2"}));
  return number(1, 8) + bytes(7, graph) + bytes(8, bytes(1, "") + number(2, 13)) +
         bytes(14, bytes(1, "about") + bytes(2, "a test"));
}

/// y = Tile(Reshape(x, shape), repeats): x [4], shape i64 [2], repeats i64 [2].
inline std::string shaped_by_values() {
  const std::string graph =
      bytes(1, node("Reshape", "reshape", {"x", "shape"}, "matrix")) +
      bytes(1, node("Tile", "tile", {"matrix", "repeats"}, "y")) + bytes(2, "shaped") +
      bytes(11, value("x", {"4"})) + bytes(11, value("shape", {"2"}, kInt64)) +
      bytes(11, value("repeats", {"2"}, kInt64)) + bytes(12, value("y", {"rows", "columns"}));
  return number(1, 8) + bytes(7, graph) + bytes(8, bytes(1, "") + number(2, 13));
}

}  // namespace tiny_model
