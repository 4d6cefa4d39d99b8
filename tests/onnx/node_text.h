#pragma once
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "onnx/tensor_proto.h"
#include "tests/onnx/model_builder.h"

/// Nodes as lines of text, in parts between "|": see operator_templates.txt and operator_cases.txt.
namespace corf {

struct TensorText {
  std::string dtype;  // empty: left out
  Shape shape;
  std::optional<std::vector<double>> values;
  bool is_constant = false;  // "=" in front of its type
};

struct NodeText {
  std::string op;
  int64_t opset = 17;
  int num_outputs = 1;
  std::vector<TensorText> inputs;
  std::vector<std::pair<std::string, std::string>>
      attributes;    // name, value with its type's letter
  std::string rest;  // the last part
};

inline std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

inline TensorText parse_tensor(std::string word) {
  TensorText input;
  if (word == "-") return input;
  input.is_constant = word[0] == '=';
  if (input.is_constant) word.erase(0, 1);
  const size_t open = word.find('['), close = word.find(']');
  input.dtype = word.substr(0, open);
  for (const std::string& extent : split(word.substr(open + 1, close - open - 1), 'x')) {
    input.shape.push_back(std::stoll(extent));
  }
  if (const size_t brace = word.find('{'); brace != std::string::npos) {
    input.values.emplace();
    for (const std::string& value : split(word.substr(brace + 1, word.size() - brace - 2), ',')) {
      input.values->push_back(std::stod(value));
    }
  }
  return input;
}

inline std::vector<TensorText> parse_tensors(const std::string& text) {
  std::vector<TensorText> tensors;
  std::stringstream words(text);
  for (std::string word; words >> word;) tensors.push_back(parse_tensor(word));
  return tensors;
}

inline NodeText parse_node(const std::string& line) {
  std::vector<std::string> parts = split(line, '|');
  parts.resize(4);
  NodeText node;
  std::stringstream(parts[0]) >> node.op >> node.opset >> node.num_outputs;
  node.inputs = parse_tensors(parts[1]);
  std::stringstream attributes(parts[2]);
  for (std::string word; attributes >> word;) {
    const size_t equals = word.find('=');
    node.attributes.emplace_back(word.substr(0, equals), word.substr(equals + 1));
  }
  node.rest = parts[3];
  return node;
}

inline constexpr std::pair<const char*, int> kTypesByName[] = {
    {"f32", onnx_proto::TensorProto::FLOAT},   {"f64", onnx_proto::TensorProto::DOUBLE},
    {"f16", onnx_proto::TensorProto::FLOAT16}, {"bf16", onnx_proto::TensorProto::BFLOAT16},
    {"i64", onnx_proto::TensorProto::INT64},   {"i32", onnx_proto::TensorProto::INT32},
    {"i16", onnx_proto::TensorProto::INT16},   {"i8", onnx_proto::TensorProto::INT8},
    {"u64", onnx_proto::TensorProto::UINT64},  {"u32", onnx_proto::TensorProto::UINT32},
    {"u16", onnx_proto::TensorProto::UINT16},  {"u8", onnx_proto::TensorProto::UINT8},
    {"bool", onnx_proto::TensorProto::BOOL}};

inline int onnx_type(const std::string& dtype) {
  for (const auto& [name, type] : kTypesByName) {
    if (dtype == name) return type;
  }
  return onnx_proto::TensorProto::UNDEFINED;
}

inline Tensor tensor_of(const TensorText& text) {
  const DType dtype = *onnx::dtype_from_onnx(onnx_type(text.dtype));
  Tensor tensor(dtype, text.shape);
  for (size_t i = 0; text.values && i < text.values->size(); ++i) {
    const double value = (*text.values)[i];
    const auto at = static_cast<int64_t>(i);
    is_float(dtype) ? tensor.set_f64(at, value) : tensor.set_i64(at, static_cast<int64_t>(value));
  }
  return tensor;
}

/// The operator's name and, in front of its last dot, its domain.
inline void set_operator(onnx_proto::ModelProto& model, onnx_proto::NodeProto& node,
                         const std::string& op) {
  const size_t dot = op.rfind('.');
  node.set_op_type(dot == std::string::npos ? op : op.substr(dot + 1));
  if (dot == std::string::npos) return;
  node.set_domain(op.substr(0, dot));
  auto& opset = *model.add_opset_import();
  opset.set_version(1);
  opset.set_domain(node.domain());
}

inline void set_value(onnx_proto::AttributeProto& attribute, const std::string& value) {
  using onnx_proto::AttributeProto;
  const std::string rest = value.substr(1);
  switch (value[0]) {
    case 'i':
      attribute.set_type(AttributeProto::INT);
      attribute.set_i(std::stoll(rest));
      break;
    case 'f':
      attribute.set_type(AttributeProto::FLOAT);
      attribute.set_f(std::stof(rest));
      break;
    case 's':
      attribute.set_type(AttributeProto::STRING);
      attribute.set_s(rest);
      break;
    case 'I':
      attribute.set_type(AttributeProto::INTS);
      for (const std::string& part : split(rest, ',')) attribute.add_ints(std::stoll(part));
      break;
    case 'F':
      attribute.set_type(AttributeProto::FLOATS);
      for (const std::string& part : split(rest, ',')) attribute.add_floats(std::stof(part));
      break;
    case 'S':
      attribute.set_type(AttributeProto::STRINGS);
      for (const std::string& part : split(rest, ',')) attribute.add_strings(part);
      break;
    default: {
      const TensorText text = rest.empty() ? TensorText{"f32", {1}, {{1}}} : parse_tensor(rest);
      attribute.set_type(AttributeProto::TENSOR);
      auto& tensor = *attribute.mutable_t();
      tensor.set_data_type(onnx_type(text.dtype));
      for (int64_t extent : text.shape) tensor.add_dims(extent);
      const Tensor values = tensor_of(text);
      tensor.set_raw_data(values.bytes(), values.size_bytes());
    }
  }
}

}  // namespace corf
