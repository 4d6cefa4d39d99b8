#pragma once
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "graph/operators.h"
#include "onnx/model.pb.h"
#include "onnx/tensor_proto.h"
#include "support/result.h"

namespace corf::onnx {

using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

/// One ONNX node on its way into the graph: what an operator's import function sees. Inputs are
/// values of the graph with concrete shapes; outputs are set one by one.
///
/// Attributes are read with their default. One of the wrong type gives the default, and the node is
/// reported as invalid after the import function has returned.
class NodeImport {
 public:
  NodeImport(graph::Graph& graph, const onnx_proto::NodeProto& proto, int64_t opset,
             std::string name, std::vector<std::optional<ValueId>> inputs,
             std::shared_ptr<const void> storage, ExternalData& external);

  graph::Graph& graph;

  /// kIfSmall: scalars and short lists may be bound to their values, the model compiled for each.
  /// kNever: they are data, as what a loop's number of steps or a selection follows from.
  enum class Bind : uint8_t { kIfSmall, kNever };

  /// A node of a branch that may not be the one that counts: nothing in it may fail a run.
  bool is_speculative() const { return is_speculative_; }
  void set_speculative(bool speculative) { is_speculative_ = speculative; }

  const std::string& name() const { return name_; }
  /// Name of a node that is a part of this one: "conv1/bias".
  std::string part(std::string_view suffix) const { return fmt::format("{}/{}", name_, suffix); }
  const std::string& op_type() const { return proto_.op_type(); }
  int64_t opset() const { return opset_; }

  int num_inputs() const { return static_cast<int>(inputs_.size()); }
  bool has(int input) const {
    return input >= 0 && input < num_inputs() && inputs_[input].has_value();
  }
  /// An input whose presence has been checked (by `require_inputs` or `has`).
  ValueId input(int i) const { return *inputs_[i]; }
  /// Errors: kInvalidModel if one of the first `count` inputs is missing.
  Status require_inputs(int count) const;

  Shape shape(ValueId value) const { return graph.values[value].shape; }
  int rank(ValueId value) const { return static_cast<int>(graph.values[value].shape.size()); }
  DType dtype(ValueId value) const { return graph.values[value].dtype; }
  /// The tensor of a value that is known while importing; null otherwise. Valid until the next node
  /// is added.
  const Tensor* known(ValueId value) const;
  /// Integers of an input that determines shapes or indices.
  /// Errors: kUnsupported if the input is not known while importing (a data-dependent shape).
  Result<std::vector<int64_t>> known_ints(int input, std::string_view what) const;
  Result<std::vector<double>> known_floats(int input, std::string_view what) const;
  /// kUnsupported: what input `input` holds ("shape", "axes") would have to be known. Names the
  /// model's inputs that it follows from, and the option that makes them constants.
  Error depends_on_data(int input, std::string_view what, Bind bind = Bind::kIfSmall) const;
  /// Of describe_data, for a value that would have to be known.
  std::string describe_awaited(ValueId value, Bind bind = Bind::kIfSmall) const;

  bool has_attribute(std::string_view name) const { return find(name) != nullptr; }
  int64_t int_attribute(std::string_view name, int64_t otherwise);
  double float_attribute(std::string_view name, double otherwise);
  /// An element type as TensorProto numbers it; nullopt if corf has none of that number.
  std::optional<DType> dtype_attribute(std::string_view name, DType otherwise);
  std::string string_attribute(std::string_view name, std::string_view otherwise);
  std::vector<int64_t> ints_attribute(std::string_view name, std::vector<int64_t> otherwise = {});
  std::vector<double> floats_attribute(std::string_view name, std::vector<double> otherwise = {});
  /// A list of strings, joined by commas.
  std::string strings_attribute(std::string_view name);
  /// Errors: kInvalidModel if the attribute is missing or no tensor.
  Result<Tensor> tensor_attribute(std::string_view name);
  /// Of a sparse tensor, with all its elements.
  Result<Tensor> sparse_attribute(std::string_view name);
  /// The first attribute that was read with a wrong type.
  const Status& attribute_status() const { return attribute_status_; }

  /// What the graph in an attribute gives for the values of its inputs. Its nodes are added to the
  /// graph at each call. Errors: kInvalidModel if there is none or it does not fit; kUnsupported
  /// without a message if what it lacks has been reported.
  Result<std::vector<ValueId>> import_body(std::string_view attribute,
                                           const std::vector<ValueId>& inputs);
  /// The attribute's graph; null if there is none.
  const onnx_proto::GraphProto* body(std::string_view attribute) const;
  /// Told of values that would have to be known, before the import function returns its error.
  using Await = std::function<void(ValueId, Bind)>;
  void await_with(Await await) { await_ = std::move(await); }
  using BodyImport = std::function<Result<std::vector<ValueId>>(const onnx_proto::GraphProto&,
                                                                const std::vector<ValueId>&)>;
  void import_bodies_with(BodyImport import) { body_import_ = std::move(import); }
  /// Whether a graph's node is part of a body, and has been named.
  bool is_of_body(size_t node) const;
  /// The node is imported as it is though all of its inputs are known: rewriting looks at it first.
  void leave_to_rewriting() { is_left_to_rewriting_ = true; }
  bool is_left_to_rewriting() const { return is_left_to_rewriting_; }
  bool has_imported_bodies() const { return !bodies_.empty(); }

  int num_outputs() const { return proto_.output_size(); }
  bool wants_output(int i) const { return i < num_outputs() && !proto_.output(i).empty(); }
  void set_output(ValueId value) { set_output(0, value); }
  void set_output(int i, ValueId value);
  const std::vector<std::optional<ValueId>>& outputs() const { return outputs_; }

  /// Errors of this node, named. `unsupported` says what is missing and what would be supported.
  template <typename... Args>
  Error invalid(fmt::format_string<Args...> format, Args&&... args) const {
    return Error{ErrorCode::kInvalidModel,
                 prefix() + fmt::format(format, std::forward<Args>(args)...)};
  }
  template <typename... Args>
  Error unsupported(fmt::format_string<Args...> format, Args&&... args) const {
    return Error{ErrorCode::kUnsupported,
                 prefix() + fmt::format(format, std::forward<Args>(args)...)};
  }
  /// "node 'conv1' (Conv, opset 17, inputs f32 1x3x8x8, f32 4x3x3x3): "
  std::string prefix() const;

 private:
  const onnx_proto::AttributeProto* find(std::string_view name) const;
  const onnx_proto::AttributeProto* find(std::string_view name,
                                         onnx_proto::AttributeProto::AttributeType type);

  const onnx_proto::NodeProto& proto_;
  int64_t opset_;
  std::string name_;
  std::vector<std::optional<ValueId>> inputs_;
  std::vector<std::optional<ValueId>> outputs_;
  std::shared_ptr<const void> storage_;
  ExternalData& external_;
  Status attribute_status_;
  BodyImport body_import_;
  Await await_;
  std::vector<std::pair<size_t, size_t>> bodies_;  // ranges of the graph's nodes
  bool is_speculative_ = false;
  bool is_left_to_rewriting_ = false;
};

/// Inputs of the graph that a value follows from.
std::vector<ValueId> inputs_behind(const graph::Graph& graph, ValueId value);

/// Whether the model is compiled for each value of such an input where something depends on it:
/// scalars and short lists, as shapes, axes and factors are.
bool may_decide_shapes(const graph::Value& input);

/// Which inputs of the model a value follows from, and what makes them constants: "the value of
/// input 'k'; make it a constant (--constant k=VALUE, option 'constant')".
std::string describe_data(const graph::Graph& graph, ValueId value);

/// The last opset whose texts of all operators have been read.
constexpr int kLastOpset = 28;

/// An operator of the default domain, or of another with that in front of its name
/// ("ai.onnx.preview.FlexAttention"), and how it is imported in the opsets from `since` to `until`,
/// of which the function knows all attributes and inputs. An operator whose versions have little in
/// common has a line for each.
struct Operator {
  std::string_view name;
  int since;
  Status (*import)(NodeImport&);
  int until = kLastOpset;
};

std::span<const Operator> convolution_operators();
std::span<const Operator> pooling_operators();
std::span<const Operator> matmul_operators();
std::span<const Operator> elementwise_operators();
std::span<const Operator> activation_operators();
std::span<const Operator> reduction_operators();
std::span<const Operator> random_operators();
std::span<const Operator> gather_quantized_operators();
std::span<const Operator> normalization_operators();
std::span<const Operator> skip_normalization_operators();
std::span<const Operator> microsoft_attention_operators();
std::span<const Operator> group_query_attention_operators();
std::span<const Operator> machine_learning_operators();
std::span<const Operator> quantized_operators();
std::span<const Operator> term_count_operators();
std::span<const Operator> region_operators();
std::span<const Operator> support_vector_operators();
std::span<const Operator> tree_ensemble_operators();
std::span<const Operator> shape_operators();
std::span<const Operator> view_operators();
std::span<const Operator> indexing_operators();
std::span<const Operator> resize_operators();
std::span<const Operator> sampling_operators();
std::span<const Operator> attention_operators();
std::span<const Operator> loop_operators();
std::span<const Operator> quantization_operators();
std::span<const Operator> recurrence_operators();
std::span<const Operator> routine_operators();
std::span<const Operator> loss_operators();
std::span<const Operator> signal_operators();
std::span<const Operator> state_operators();
std::span<const Operator> patch_operators();

/// Sorted by name and opset.
std::span<const Operator> all_operators();
/// By opset; empty if corf does not know the operator.
std::span<const Operator> find_operator(std::string_view domain, std::string_view name);
/// Null if corf does not know the operator as it is in this opset.
const Operator* find_operator(std::string_view domain, std::string_view name, int64_t opset);

}  // namespace corf::onnx
