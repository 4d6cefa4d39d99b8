#pragma once
#include <string>
#include <variant>
#include <vector>

#include "graph/evaluate.h"
#include "graph/text.h"
#include "onnx/import.h"
#include "onnx/model.pb.h"

namespace corf {

/// Builds small ONNX models in memory.
class ModelBuilder {
 public:
  using Dim = std::variant<int64_t, std::string>;
  using AttributeValue =
      std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>, Tensor>;
  using Attributes = std::vector<std::pair<std::string, AttributeValue>>;

  explicit ModelBuilder(int64_t opset = 17) {
    proto.set_ir_version(8);
    proto.add_opset_import()->set_version(opset);
    proto.mutable_graph()->set_name("test");
  }

  ModelBuilder& input(const std::string& name, const std::vector<Dim>& dims,
                      int type = onnx_proto::TensorProto::FLOAT) {
    auto& info = *proto.mutable_graph()->add_input();
    info.set_name(name);
    auto& tensor = *info.mutable_type()->mutable_tensor_type();
    tensor.set_elem_type(type);
    tensor.mutable_shape();
    for (const Dim& dim : dims) {
      auto& entry = *tensor.mutable_shape()->add_dim();
      if (const auto* extent = std::get_if<int64_t>(&dim)) {
        entry.set_dim_value(*extent);
      } else {
        entry.set_dim_param(std::get<std::string>(dim));
      }
    }
    return *this;
  }

  ModelBuilder& output(const std::string& name, int type = onnx_proto::TensorProto::UNDEFINED) {
    auto& info = *proto.mutable_graph()->add_output();
    info.set_name(name);
    if (type != 0) info.mutable_type()->mutable_tensor_type()->set_elem_type(type);
    return *this;
  }

  ModelBuilder& initializer(const std::string& name, const Tensor& tensor) {
    set_tensor(*proto.mutable_graph()->add_initializer(), tensor);
    proto.mutable_graph()->mutable_initializer()->rbegin()->set_name(name);
    return *this;
  }
  ModelBuilder& floats(const std::string& name, Shape shape, const std::vector<float>& values) {
    return initializer(name, make_tensor<float>(std::move(shape), values));
  }
  ModelBuilder& ints(const std::string& name, const std::vector<int64_t>& values) {
    Shape shape = {static_cast<int64_t>(values.size())};
    return initializer(name, make_tensor<int64_t>(shape, values));
  }

  /// The node is named after its operator and first output: "Conv_y".
  ModelBuilder& node(const std::string& op_type, const std::vector<std::string>& inputs,
                     const std::vector<std::string>& outputs, const Attributes& attributes = {}) {
    auto& node = *proto.mutable_graph()->add_node();
    node.set_op_type(op_type);
    node.set_name(op_type + "_" + (outputs.empty() ? "" : outputs[0]));
    for (const std::string& name : inputs) node.add_input(name);
    for (const std::string& name : outputs) node.add_output(name);
    for (const auto& [name, value] : attributes) set_attribute(*node.add_attribute(), name, value);
    return *this;
  }

  std::string bytes() const { return proto.SerializeAsString(); }

  Result<std::shared_ptr<const onnx::Model>> parse(const std::string& directory = ".") const {
    std::string serialized = bytes();
    return onnx::parse_model(serialized.data(), serialized.size(), directory);
  }
  Result<graph::Graph> import(const onnx::ShapeBindings& shapes = {}) const {
    auto model = parse();
    if (!model.ok()) return model.error();
    auto graph = onnx::import(**model, shapes);
    if (!graph.ok()) return graph.error();
    CORF_RETURN_IF_ERROR(graph::verify(*graph));
    return graph;
  }
  Result<std::vector<Tensor>> run(const std::vector<Tensor>& inputs,
                                  const onnx::ShapeBindings& shapes = {}) const {
    auto graph = import(shapes);
    if (!graph.ok()) return graph.error();
    return graph::evaluate(*graph, inputs, {.round_to_dtype = true});
  }

  onnx_proto::ModelProto proto;

 private:
  static void set_tensor(onnx_proto::TensorProto& proto, const Tensor& tensor) {
    for (int64_t extent : tensor.shape()) proto.add_dims(extent);
    static const std::pair<DType, int> kTypes[] = {{DType::kF32, onnx_proto::TensorProto::FLOAT},
                                                   {DType::kF64, onnx_proto::TensorProto::DOUBLE},
                                                   {DType::kF16, onnx_proto::TensorProto::FLOAT16},
                                                   {DType::kI64, onnx_proto::TensorProto::INT64},
                                                   {DType::kI32, onnx_proto::TensorProto::INT32},
                                                   {DType::kI8, onnx_proto::TensorProto::INT8},
                                                   {DType::kU8, onnx_proto::TensorProto::UINT8},
                                                   {DType::kBool, onnx_proto::TensorProto::BOOL}};
    for (auto [dtype, type] : kTypes) {
      if (dtype == tensor.dtype()) proto.set_data_type(type);
    }
    proto.set_raw_data(tensor.bytes(), tensor.size_bytes());
  }

  static void set_attribute(onnx_proto::AttributeProto& attribute, const std::string& name,
                            const AttributeValue& value) {
    using onnx_proto::AttributeProto;
    attribute.set_name(name);
    if (const auto* number = std::get_if<int64_t>(&value)) {
      attribute.set_type(AttributeProto::INT);
      attribute.set_i(*number);
    } else if (const auto* real = std::get_if<double>(&value)) {
      attribute.set_type(AttributeProto::FLOAT);
      attribute.set_f(static_cast<float>(*real));
    } else if (const auto* text = std::get_if<std::string>(&value)) {
      attribute.set_type(AttributeProto::STRING);
      attribute.set_s(*text);
    } else if (const auto* numbers = std::get_if<std::vector<int64_t>>(&value)) {
      attribute.set_type(AttributeProto::INTS);
      for (int64_t entry : *numbers) attribute.add_ints(entry);
    } else if (const auto* reals = std::get_if<std::vector<double>>(&value)) {
      attribute.set_type(AttributeProto::FLOATS);
      for (double entry : *reals) attribute.add_floats(static_cast<float>(entry));
    } else {
      attribute.set_type(AttributeProto::TENSOR);
      set_tensor(*attribute.mutable_t(), std::get<Tensor>(value));
    }
  }
};

inline Tensor floats(Shape shape, const std::vector<float>& values) {
  return make_tensor<float>(std::move(shape), values);
}

inline std::vector<double> values_of(const Tensor& tensor) {
  std::vector<double> values;
  for (int64_t i = 0; i < tensor.num_elems(); ++i) values.push_back(tensor.at_f64(i));
  return values;
}

}  // namespace corf
