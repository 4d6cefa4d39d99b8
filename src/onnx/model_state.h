#pragma once
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "onnx/import.h"
#include "onnx/model.pb.h"
#include "onnx/tensor_proto.h"

namespace corf::onnx {

/// A node and the opset of the default domain in the scope (model or function) that it is from.
struct ModelNode {
  const onnx_proto::NodeProto* proto = nullptr;
  int64_t opset = 0;
};

/// What the tensors of a model point into.
struct ModelStorage {
  onnx_proto::ModelProto proto;
  /// Nodes that calls of the model's own functions have been replaced with.
  std::deque<onnx_proto::NodeProto> inlined_nodes;
};

struct Model::State {
  std::shared_ptr<ModelStorage> storage;
  std::shared_ptr<ExternalData> external;  // for tensors in attributes
  std::vector<ModelTensor> inputs;
  std::vector<ModelTensor> outputs;
  std::map<std::string, std::string> metadata;
  int64_t opset = 0;
  ModelSize size;
  /// In topological order, calls of functions replaced with their bodies.
  std::vector<ModelNode> nodes;
  /// By name: a tensor, or why it cannot be used (an element type that corf does not have).
  std::unordered_map<std::string, Result<Tensor>> initializers;
  /// Element types that the model declares for values, as TensorProto.data_type.
  std::unordered_map<std::string, int> declared_types;
};

/// "node 'conv1' (Conv)", or by its first output if it has no name.
std::string describe(const onnx_proto::NodeProto& node);

/// Names that a node reads: its inputs, and what the bodies in its attributes (branches, loops)
/// take from outside.
std::vector<std::string> names_read(const onnx_proto::NodeProto& node);

/// Makes the inputs initialisers, as `InputConstants` says.
Status make_inputs_constant(Model::State& state, const InputConstants& constants);

/// Replaces calls of the model's functions with the functions' bodies.
/// Errors: kInvalidModel if a function calls itself. Throws OverBudget.
Result<std::vector<ModelNode>> inline_functions(ModelStorage& storage, int64_t model_opset);

/// Nodes reordered so that every input is defined before; stable, so an ordered list is unchanged.
/// `defined`: names of the model's inputs and initialisers.
/// Errors: kInvalidModel naming a value defined twice or not at all, or the nodes of a cycle.
Result<std::vector<ModelNode>> topological_order(const std::vector<ModelNode>& nodes,
                                                 const std::vector<std::string>& defined);

}  // namespace corf::onnx
