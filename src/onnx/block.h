#pragma once
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "onnx/import.h"
#include "onnx/model_state.h"

namespace corf::onnx {

/// A graph of a model as it is run piece by piece: the model's own, or a body of one of its nodes.
struct Block {
  std::shared_ptr<const Model> model;  // which all else here points into
  std::vector<ModelNode> nodes;        // in topological order, without those that are constants
  std::vector<std::string> inputs, outputs;
  /// Initialisers and what Constant nodes hold, or why a value cannot be used.
  std::unordered_map<std::string, Result<Tensor>> constants;
  /// Those that are strings, or of types that are only stored.
  std::unordered_map<std::string, const onnx_proto::TensorProto*> other_constants;
};

Result<Block> main_block(std::shared_ptr<const Model> model);
/// Of a node of `model`, which is written in `opset`. Errors: kInvalidModel naming what is wrong.
Result<Block> body_block(std::shared_ptr<const Model> model, const onnx_proto::GraphProto& body,
                         int64_t opset);

/// Finds constants by name; null where the name is none.
using FindConstant = std::function<const Result<Tensor>*(const std::string&)>;

/// Some consecutive nodes of a block as a model. `inputs`: what it takes, of any shape.
std::shared_ptr<const Model> make_segment_model(const Block& block,
                                                std::span<const ModelNode> nodes,
                                                std::vector<ModelTensor> inputs,
                                                const std::vector<std::string>& outputs,
                                                const FindConstant& find_constant);

/// Position of the first node of a segment that cannot be imported for want of a value that is not
/// known before a run, or because its body cannot be unrolled; nullopt if there is none.
std::optional<size_t> find_obstacle(const Model& segment, const ShapeBindings& shapes,
                                    const ValueBindings& values);

}  // namespace corf::onnx
