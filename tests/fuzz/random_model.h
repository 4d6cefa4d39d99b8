#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "onnx/model.pb.h"
#include "tensor/tensor.h"
#include "tests/fuzz/choices.h"

namespace corf::fuzz {

/// A value of the model under construction.
struct ModelValue {
  std::string name;
  int type = 0;  // TensorProto.data_type
  Shape shape;
};

/// The model with one more node, its last one: what the node makes; nullopt: it is refused, and the
/// node is left out.
using TryNode = std::function<std::optional<std::vector<ModelValue>>(
    const onnx_proto::ModelProto& model, const onnx_proto::NodeProto& node)>;

struct ModelChoices {
  size_t most_nodes = 4;
  int64_t most_elems = 512;  // of an input or a constant
  int odd_of_256 = 24;       // arguments that an operator does not expect
  bool any_opset = true;
};

/// A model of a few nodes over the importer's operators: random types, shapes with extents of 0 and
/// 1, attributes that mostly fit. It is the last one of those that `try_node` took; if it took
/// none, a model without nodes.
onnx_proto::ModelProto random_model(Choices& choices, const ModelChoices& how,
                                    const TryNode& try_node);

/// What `node` makes, of a graph that has all its outputs; nullopt if they are large.
std::optional<std::vector<ModelValue>> outputs_of(const graph::Graph& graph,
                                                  const onnx_proto::NodeProto& node);

/// Damages the model itself: names, types, extents, data.
void damage_model(onnx_proto::ModelProto& model, Choices& choices);

}  // namespace corf::fuzz
