#include "onnx/extract.h"

#include <limits>

#include "onnx/model_state.h"
#include "onnx/tensor_proto.h"

namespace corf::onnx {
namespace {

int type_number(DType dtype) {
  constexpr int kLastType = onnx_proto::TensorProto::BFLOAT16;
  for (int number = 1; number <= kLastType; ++number) {
    if (dtype_from_onnx(number) == dtype) return number;
  }
  return onnx_proto::TensorProto::UNDEFINED;
}

void fill(onnx_proto::TensorProto& proto, const std::string& name, const Tensor& tensor) {
  proto.set_name(name);
  proto.set_data_type(type_number(tensor.dtype()));
  for (const int64_t extent : tensor.shape()) proto.add_dims(extent);
  proto.set_raw_data(tensor.bytes(), static_cast<size_t>(tensor.size_bytes()));
}

void declare(onnx_proto::ValueInfoProto& proto, const std::string& name, const Tensor& tensor) {
  proto.set_name(name);
  auto* type = proto.mutable_type()->mutable_tensor_type();
  type->set_elem_type(type_number(tensor.dtype()));
  type->mutable_shape();
  for (const int64_t extent : tensor.shape()) {
    type->mutable_shape()->add_dim()->set_dim_value(extent);
  }
}

std::vector<std::string> names(const google::protobuf::RepeatedPtrField<std::string>& fields) {
  std::vector<std::string> list;
  for (const std::string& name : fields) {
    if (!name.empty()) list.push_back(name);
  }
  return list;
}

}  // namespace

std::vector<NodeNames> nodes_of(const Model& model) {
  std::vector<NodeNames> nodes;
  for (const ModelNode& node : model.state().nodes) {
    NodeNames one{node.proto->name(), {}, names(node.proto->output())};
    for (std::string& name : names_read(*node.proto)) {
      if (!name.empty()) one.reads.push_back(std::move(name));
    }
    nodes.push_back(std::move(one));
  }
  return nodes;
}

bool is_initializer(const Model& model, const std::string& value) {
  return model.state().initializers.contains(value);
}

Result<std::string> extract(const Model& model, const std::set<size_t>& nodes,
                            const KnownValues& known, const std::vector<std::string>& outputs) {
  const Model::State& state = model.state();
  const std::vector<NodeNames> all = nodes_of(model);
  onnx_proto::ModelProto part;
  const onnx_proto::ModelProto& whole = state.storage->proto;
  part.set_ir_version(whole.ir_version());
  *part.mutable_opset_import() = whole.opset_import();
  onnx_proto::GraphProto& graph = *part.mutable_graph();
  graph.set_name("part");
  std::set<std::string> written, read;
  for (const size_t position : nodes) {
    const ModelNode& node = state.nodes[position];
    if (node.opset != state.opset) {
      return make_error(ErrorCode::kUnsupported, "{} is of a function in opset {}, not {}",
                        describe(*node.proto), node.opset, state.opset);
    }
    *graph.add_node() = *node.proto;
    written.insert(all[position].writes.begin(), all[position].writes.end());
    read.insert(all[position].reads.begin(), all[position].reads.end());
  }
  for (const std::string& name : read) {
    if (written.contains(name)) continue;
    const auto initializer = state.initializers.find(name);
    const auto value = known.find(name);
    if (initializer != state.initializers.end() && initializer->second.ok()) {
      fill(*graph.add_initializer(), name, *initializer->second);
    } else if (value == known.end()) {
      return make_error(ErrorCode::kInvalidArgument, "the value '{}' is not known", name);
    } else if (value->second.is_constant) {
      fill(*graph.add_initializer(), name, value->second.tensor);
    } else {
      declare(*graph.add_input(), name, value->second.tensor);
    }
  }
  for (const std::string& name : outputs) {
    const auto value = known.find(name);
    if (value == known.end() || !written.contains(name)) {
      return make_error(ErrorCode::kInvalidArgument, "the value '{}' is not known", name);
    }
    declare(*graph.add_output(), name, value->second.tensor);
  }
  if (part.ByteSizeLong() > static_cast<size_t>(std::numeric_limits<int>::max())) {
    return make_error(ErrorCode::kUnsupported, "the part of the model has more than 2 GiB");
  }
  return part.SerializeAsString();
}

std::string tensor_to_onnx(const std::string& name, const Tensor& tensor) {
  onnx_proto::TensorProto proto;
  fill(proto, name, tensor);
  return proto.SerializeAsString();
}

}  // namespace corf::onnx
