#include <algorithm>
#include <filesystem>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <limits>
#include <unordered_set>

#include "onnx/dequantized_constants.h"
#include "onnx/model_state.h"
#include "onnx/sparse_tensor.h"
#include "support/read_file.h"

namespace corf::onnx {
namespace {

using onnx_proto::ModelProto;
using onnx_proto::TypeProto;
using onnx_proto::ValueInfoProto;

std::vector<SymbolicDim> read_dims(const TypeProto::Tensor& type) {
  std::vector<SymbolicDim> dims;
  for (const auto& proto : type.shape().dim()) {
    SymbolicDim dim;
    if (proto.has_dim_value() && proto.dim_value() >= 0) {
      dim.extent = proto.dim_value();
    } else {
      dim.symbol = proto.dim_param().empty() ? "?" : proto.dim_param();
    }
    dims.push_back(dim);
  }
  return dims;
}

Result<ModelTensor> read_value_info(const ValueInfoProto& info, std::string_view kind,
                                    bool type_required) {
  ModelTensor tensor;
  tensor.name = info.name();
  if (tensor.name.empty()) {
    return make_error(ErrorCode::kInvalidModel, "a model {} has no name", kind);
  }
  if (tensor.name.find('\0') != std::string::npos) {
    return make_error(ErrorCode::kInvalidModel,
                      "the name of model {} '{}' holds a zero byte, where C strings end; rename it",
                      kind, tensor.name);
  }
  const TypeProto& type = info.type();
  if (type.value_case() == TypeProto::VALUE_NOT_SET && !type_required) {
    tensor.has_rank = false;
    return tensor;
  }
  if (type.value_case() == TypeProto::VALUE_NOT_SET) {
    return make_error(ErrorCode::kInvalidModel, "model {} '{}' has no type", kind, tensor.name);
  }
  if (type.value_case() != TypeProto::kTensorType) {
    tensor.has_rank = false;
    tensor.kind =
        type.value_case() == TypeProto::kOptionalType ? ValueKind::kOptional : ValueKind::kSequence;
    if (type.has_sequence_type() || type.has_optional_type()) return tensor;
    return make_error(ErrorCode::kUnsupported,
                      "model {} '{}' is a map or a sparse tensor, which corf does not have", kind,
                      tensor.name);
  }
  if (type.tensor_type().elem_type() == onnx_proto::TensorProto::STRING) {
    tensor.has_rank = false;
    tensor.kind = ValueKind::kStrings;
    return tensor;
  }
  auto dtype = dtype_from_onnx(type.tensor_type().elem_type());
  if (!dtype && is_stored_type(type.tensor_type().elem_type())) {
    tensor.has_rank = false;
    tensor.kind = ValueKind::kNarrow;
    return tensor;
  }
  if (!dtype) {
    auto code =
        type.tensor_type().elem_type() == 0 ? ErrorCode::kInvalidModel : ErrorCode::kUnsupported;
    return make_error(code, "model {} '{}' has element type {}, which corf does not have", kind,
                      tensor.name, onnx_type_name(type.tensor_type().elem_type()));
  }
  tensor.dtype = *dtype;
  tensor.has_rank = type.tensor_type().has_shape();
  tensor.dims = read_dims(type.tensor_type());
  return tensor;
}

Result<int64_t> find_opset(const ModelProto& proto) {
  for (const auto& opset : proto.opset_import()) {
    if (opset.domain().empty() || opset.domain() == "ai.onnx") return opset.version();
  }
  for (const auto& node : proto.graph().node()) {
    if (!node.domain().empty() && node.domain() != "ai.onnx") continue;
    return make_error(ErrorCode::kInvalidModel,
                      "the model imports no opset of the default ONNX domain, which {} belongs to",
                      describe(node));
  }
  return 0;  // every node is of another domain
}

Status read_initializers(Model::State& state) {
  const std::set<std::string> digits = find_dequantized_constants(state.storage->proto.graph());
  for (const auto& proto : state.storage->proto.graph().initializer()) {
    std::string what = fmt::format("initializer '{}'", proto.name());
    auto tensor = digits.contains(proto.name())
                      ? read_digits(proto, *state.external, what)
                      : read_tensor(proto, state.storage, *state.external, what);
    if (!tensor.ok() && tensor.error().code != ErrorCode::kUnsupported) return tensor.error();
    if (!state.initializers.emplace(proto.name(), std::move(tensor)).second) {
      return make_error(ErrorCode::kInvalidModel, "{} is defined twice", what);
    }
  }
  for (const auto& sparse : state.storage->proto.graph().sparse_initializer()) {
    const std::string& name = sparse.values().name();
    const std::string what = fmt::format("initializer '{}'", name);
    auto tensor = read_sparse_tensor(sparse, state.storage, *state.external, what);
    if (!tensor.ok() && tensor.error().code != ErrorCode::kUnsupported) return tensor.error();
    if (!state.initializers.emplace(name, std::move(tensor)).second) {
      return make_error(ErrorCode::kInvalidModel, "{} is defined twice", what);
    }
  }
  return {};
}

Status read_interface(Model::State& state) {
  const auto& graph = state.storage->proto.graph();
  std::unordered_set<std::string> input_names;
  for (const auto& info : graph.input()) {
    if (!input_names.insert(info.name()).second) {
      return make_error(ErrorCode::kInvalidModel, "model input '{}' is defined twice", info.name());
    }
    // An initialiser gives an input's default; it is compiled as a constant.
    if (state.initializers.contains(info.name())) continue;
    CORF_ASSIGN(ModelTensor tensor, read_value_info(info, "input", true));
    state.inputs.push_back(std::move(tensor));
  }
  std::unordered_set<std::string> output_names;
  for (const auto& info : graph.output()) {
    if (!output_names.insert(info.name()).second) {
      return make_error(ErrorCode::kInvalidModel, "model output '{}' is listed twice", info.name());
    }
    CORF_ASSIGN(ModelTensor tensor, read_value_info(info, "output", false));
    state.outputs.push_back(std::move(tensor));
    state.declared_types[info.name()] = info.type().tensor_type().elem_type();
  }
  if (state.outputs.empty()) {
    return make_error(ErrorCode::kInvalidModel, "the model has no outputs");
  }
  for (const auto& info : graph.value_info()) {
    if (info.type().has_tensor_type()) {
      state.declared_types[info.name()] = info.type().tensor_type().elem_type();
    }
  }
  return {};
}

int64_t count_nodes(const google::protobuf::RepeatedPtrField<onnx_proto::NodeProto>& nodes) {
  int64_t count = nodes.size();
  for (const onnx_proto::NodeProto& node : nodes) {
    for (const onnx_proto::AttributeProto& attribute : node.attribute()) {
      if (attribute.has_g()) count += count_nodes(attribute.g().node());
      for (const auto& body : attribute.graphs()) count += count_nodes(body.node());
    }
  }
  return count;
}

ModelSize size_of(const Model::State& state) {
  const ModelProto& proto = state.storage->proto;
  ModelSize size;
  size.bytes = static_cast<int64_t>(proto.ByteSizeLong());
  for (const auto& tensor : proto.graph().initializer()) {
    const auto read = state.initializers.find(tensor.name());
    const bool external = tensor.data_location() == onnx_proto::TensorProto::EXTERNAL;
    if (external && read->second.ok()) size.bytes += read->second->size_bytes();
  }
  size.nodes = count_nodes(proto.graph().node());
  for (const auto& function : proto.functions()) size.nodes += count_nodes(function.node());
  return size;
}

Status read_nodes(Model::State& state, const Limits& limits) {
  CORF_ASSIGN(auto nodes, within_budget(allowed_for(state.size, limits), nullptr, [&] {
                return inline_functions(*state.storage, state.opset);
              }));
  for (const ModelNode& node : nodes) {
    if (node.proto->op_type().empty()) {
      return make_error(ErrorCode::kInvalidModel, "{} has no operator type", describe(*node.proto));
    }
  }
  std::vector<std::string> defined;
  for (const ModelTensor& input : state.inputs) defined.push_back(input.name);
  for (const auto& [name, tensor] : state.initializers) defined.push_back(name);
  CORF_ASSIGN(state.nodes, topological_order(nodes, defined));
  std::unordered_set<std::string> known(defined.begin(), defined.end());
  for (const ModelNode& node : state.nodes) {
    known.insert(node.proto->output().begin(), node.proto->output().end());
  }
  for (const ModelTensor& output : state.outputs) {
    if (!known.contains(output.name)) {
      return make_error(ErrorCode::kInvalidModel, "no node computes the model output '{}'",
                        output.name);
    }
  }
  return {};
}

Status check_size(int64_t size_bytes) {
  if (size_bytes == 0) return make_error(ErrorCode::kInvalidModel, "the model is empty (0 bytes)");
  if (size_bytes <= std::numeric_limits<int>::max()) return {};
  return make_error(ErrorCode::kInvalidModel,
                    "the model has {} bytes, but a protobuf message at most 2 GiB; keep the "
                    "weights as external data",
                    size_bytes);
}

Error no_model(int64_t size_bytes) {
  return make_error(ErrorCode::kInvalidModel,
                    "not an ONNX model, or damaged or truncated: its {} bytes do not parse as a "
                    "ModelProto message",
                    size_bytes);
}

/// Gives protobuf a file piece by piece, so that it lies in memory once.
class FileStream final : public google::protobuf::io::CopyingInputStream {
 public:
  explicit FileStream(const InputFile& file) : file_(file) {}
  int Read(void* buffer, int size) override {
    const int64_t count = std::min<int64_t>(size, file_.size_bytes() - offset_bytes_);
    status_ =
        file_.read(offset_bytes_, {static_cast<std::byte*>(buffer), static_cast<size_t>(count)});
    offset_bytes_ += count;
    return status_.ok() ? static_cast<int>(count) : -1;
  }
  /// Of the last piece.
  const Status& status() const { return status_; }

 private:
  const InputFile& file_;
  int64_t offset_bytes_ = 0;
  Status status_;
};

Result<std::shared_ptr<ModelStorage>> parse(const InputFile& file) {
  constexpr int kPieceBytes = 1 << 18;
  CORF_RETURN_IF_ERROR(check_size(file.size_bytes()));
  auto storage = std::make_shared<ModelStorage>();
  FileStream pieces(file);
  google::protobuf::io::CopyingInputStreamAdaptor stream(&pieces, kPieceBytes);
  const bool parsed =
      storage->proto.ParseFromBoundedZeroCopyStream(&stream, static_cast<int>(file.size_bytes()));
  CORF_RETURN_IF_ERROR(pieces.status());
  if (!parsed) return no_model(file.size_bytes());
  return storage;
}

Result<std::shared_ptr<ModelStorage>> parse(const void* bytes, size_t size_bytes) {
  const auto size = static_cast<int64_t>(std::min<size_t>(size_bytes, INT64_MAX));
  CORF_RETURN_IF_ERROR(check_size(size));
  auto storage = std::make_shared<ModelStorage>();
  if (!storage->proto.ParseFromArray(bytes, static_cast<int>(size))) return no_model(size);
  return storage;
}

Result<std::shared_ptr<const Model>> make_model(std::shared_ptr<ModelStorage> storage,
                                                std::vector<std::string> directories,
                                                const InputConstants& constants,
                                                const Limits& limits) {
  auto state = std::make_unique<Model::State>();
  state->storage = std::move(storage);
  state->external = std::make_shared<ExternalData>(std::move(directories));
  const ModelProto& proto = state->storage->proto;
  if (!proto.has_graph()) {
    return make_error(ErrorCode::kInvalidModel, "not an ONNX model: the file holds no graph");
  }
  CORF_ASSIGN(state->opset, find_opset(proto));
  for (const auto& entry : proto.metadata_props()) state->metadata[entry.key()] = entry.value();
  CORF_RETURN_IF_ERROR(read_initializers(*state));
  CORF_RETURN_IF_ERROR(read_interface(*state));
  CORF_RETURN_IF_ERROR(make_inputs_constant(*state, constants));
  state->size = size_of(*state);
  CORF_RETURN_IF_ERROR(read_nodes(*state, limits));
  return std::shared_ptr<const Model>(std::make_shared<Model>(std::move(state)));
}

}  // namespace

std::string_view in_words(ValueKind kind) {
  switch (kind) {
    case ValueKind::kTensor:
      return "a tensor";
    case ValueKind::kStrings:
      return "a tensor of strings";
    case ValueKind::kSequence:
      return "a sequence";
    case ValueKind::kOptional:
      return "an optional";
    case ValueKind::kNarrow:
      return "a tensor of elements of 8 bits or less";
  }
  return "";
}

std::string describe(const onnx_proto::NodeProto& node) {
  if (!node.name().empty()) return fmt::format("node '{}' ({})", node.name(), node.op_type());
  if (node.output_size() > 0) {
    return fmt::format("the node ({}) that computes '{}'", node.op_type(), node.output(0));
  }
  return fmt::format("an unnamed node ({})", node.op_type());
}

Model::Model(std::unique_ptr<State> state) : state_(std::move(state)) {}
Model::~Model() = default;
const std::vector<ModelTensor>& Model::inputs() const { return state_->inputs; }
const std::vector<ModelTensor>& Model::outputs() const { return state_->outputs; }
const std::map<std::string, std::string>& Model::metadata() const { return state_->metadata; }
int64_t Model::opset() const { return state_->opset; }
ModelSize Model::size() const { return state_->size; }

std::map<std::string, int64_t> Model::operator_counts() const {
  std::map<std::string, int64_t> counts;
  for (const ModelNode& node : state_->nodes) {
    const std::string& domain = node.proto->domain();
    const bool standard = domain.empty() || domain == "ai.onnx";
    ++counts[standard ? node.proto->op_type() : domain + "." + node.proto->op_type()];
  }
  return counts;
}

Result<std::shared_ptr<const Model>> load_model(const std::string& path,
                                                const InputConstants& constants,
                                                const Limits& limits) {
  CORF_ASSIGN(const InputFile file, InputFile::open(path));
  return load_model(file, path, constants, limits);
}

Result<std::shared_ptr<const Model>> load_model(const InputFile& file, const std::string& path,
                                                const InputConstants& constants,
                                                const Limits& limits) {
  const auto in_file = [&](const Error& error) {
    if (error.code == ErrorCode::kIo) return error;  // it names the file
    return make_error(error.code, "'{}': {}", path, error.message);
  };
  auto storage = parse(file);
  if (!storage.ok()) return in_file(storage.error());
  // A model that is itself a symbolic link (a download cache) has its data beside the target.
  std::filesystem::path directory = std::filesystem::path(path).parent_path();
  std::error_code error;
  auto target = std::filesystem::weakly_canonical(path, error).parent_path();
  std::vector<std::string> directories = {directory.string()};
  if (!error) directories.push_back(target.string());
  auto model = make_model(storage.take(), std::move(directories), constants, limits);
  if (!model.ok()) return in_file(model.error());
  return model;
}

Result<std::shared_ptr<const Model>> parse_model(const void* bytes, size_t size_bytes,
                                                 const std::string& directory,
                                                 const InputConstants& constants,
                                                 const Limits& limits) {
  CORF_ASSIGN(auto storage, parse(bytes, size_bytes));
  return make_model(std::move(storage), {directory}, constants, limits);
}

}  // namespace corf::onnx
