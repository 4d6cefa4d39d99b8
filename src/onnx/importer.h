#pragma once
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "onnx/import.h"
#include "onnx/model_state.h"
#include "onnx/node_import.h"
#include "onnx/unsupported_nodes.h"
#include "support/unique_names.h"

namespace corf::onnx {

bool is_if(const onnx_proto::NodeProto& node);

/// One import: the graph so far, and what the model's names stand for in it.
class Importer {
 public:
  Importer(const Model::State& state, const ShapeBindings& bindings, const ValueBindings& values)
      : state_(state), bindings_(bindings), bound_values_(values) {}

  Result<graph::Graph> run();
  /// Of the run: inputs whose values were missing (find_deciding_inputs).
  const std::set<std::string>& awaited_inputs() const { return awaited_inputs_; }
  /// Of the run: the first of the model's nodes that lacked a value, or that has a body and could
  /// not be imported.
  std::optional<size_t> first_obstacle() const {
    return obstacles_.empty() ? std::nullopt : std::optional<size_t>(first_obstacle_);
  }
  /// Of the run: all that was refused.
  std::vector<UnsupportedNode> unsupported_nodes() const;

 private:
  /// The model's own names come first; the parts of decompositions take what is left.
  void claim_names();
  Status add_inputs();
  /// The input as the graph has it: a constant if its value is bound.
  Result<ValueId> add_input(const ModelTensor& input, const Shape& shape);

  Status import_node(const ModelNode& node, const std::string& name);
  /// In the node's place the branch that a known condition selects; both branches and a choice
  /// between their outputs where the condition depends on data.
  Status import_if(const ModelNode& node, const std::string& name);
  /// Gives the node's outputs the branch's values.
  Status import_branch(const onnx_proto::GraphProto& branch, const ModelNode& node);
  using Values = std::vector<std::optional<ValueId>>;
  /// The branch's values for the node's outputs (none: unavailable); its names stay its own.
  Result<Values> import_branch_apart(const onnx_proto::GraphProto& branch, const ModelNode& node);
  /// `inputs`: the condition and what the branches give for `output`.
  Status select_output(const ModelNode& node, const std::string& name, int output, Values inputs);
  /// What the body of a loop gives for the values of its inputs; its names stay its own.
  /// Errors: kUnsupported without a message if that has been reported.
  Result<std::vector<ValueId>> import_body(const onnx_proto::GraphProto& body, int64_t opset,
                                           const std::vector<ValueId>& inputs);
  /// Back to the values that were known by name, and those of the model's initialisers.
  void forget_values(std::unordered_map<std::string, ValueId> outside);
  /// The body's initialisers and nodes, their values by name in `values_`.
  Status import_body_nodes(const onnx_proto::GraphProto& body, int64_t opset);
  /// Notes that the current node lacks a value, with the inputs that it follows from, if they may
  /// decide shapes and the model is to be compiled for each of their values.
  void await(ValueId value, NodeImport::Bind bind);
  void note_obstacle();
  /// Why a node is refused, and which of the model's nodes it is or belongs to.
  struct Refusal {
    UnsupportedNode node;
    size_t position = 0;
  };
  /// What an operator's import function sees of the node.
  NodeImport context_of(const ModelNode& node, const std::string& name, Values inputs);
  /// Notes why the node cannot be imported, unless that has been said already.
  Status give_up(const ModelNode& node, std::string why, bool lacks_tensor = false);
  Status import_with(const Operator& entry, NodeImport& context, const ModelNode& node);
  Result<std::optional<ValueId>> find_input(const std::string& name);
  /// True if nothing computes the value; the reason is then reported, once.
  bool report_if_unavailable(const std::string& name);
  /// Of what the node has become, from `first_node` and `first_value` on.
  Status check_sizes(const NodeImport& context, size_t first_node, size_t first_value) const;
  /// Replaces the nodes from `first_node` on with constants if all of `context`'s inputs are known.
  Result<bool> fold(NodeImport& context, size_t first_node, size_t first_value);
  void name_new_nodes(size_t first_node, const NodeImport& context,
                      const onnx_proto::NodeProto& proto);
  Status check_declared_type(const onnx_proto::NodeProto& proto, const std::string& output,
                             ValueId value);
  Status add_outputs();
  /// What follows from constants alone is made before a run, or in each run: a few bytes must not
  /// become more than the budget's memory. Errors: kOverLimit naming the node.
  Status check_constant_values() const;

  const Model::State& state_;
  const ShapeBindings& bindings_;
  const ValueBindings& bound_values_;
  graph::Graph graph_;
  std::unordered_map<std::string, ValueId> values_;
  /// Outputs that could not be imported, so nothing behind them can; with the reason if it is not
  /// among `unsupported_` yet.
  std::unordered_map<std::string, std::optional<Refusal>> unavailable_;
  std::vector<Refusal> unsupported_;
  std::vector<std::string> names_of_nodes_;  // unique, by position in state_.nodes
  UniqueNames node_names_;
  UniqueNames value_names_;
  std::set<std::string> awaited_inputs_;
  size_t current_node_ = 0;     // of the model's
  std::set<size_t> obstacles_;  // of the model's nodes
  size_t first_obstacle_ = 0;   // if there are any
  int branches_apart_ = 0;      // that are being imported though they may not be chosen
};

}  // namespace corf::onnx
