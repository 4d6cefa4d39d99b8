#include "tests/fuzz/split_model.h"

#include <algorithm>

#include "onnx/tensor_proto.h"

namespace corf::fuzz {
namespace {

using onnx_proto::AttributeProto;
using onnx_proto::GraphProto;
using onnx_proto::NodeProto;
using onnx_proto::TensorProto;

void describe(onnx_proto::ValueInfoProto& info, const std::string& name, int type,
              const Shape& shape) {
  info.set_name(name);
  auto& tensor = *info.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(type);
  tensor.mutable_shape();
  for (int64_t extent : shape) tensor.mutable_shape()->add_dim()->set_dim_value(extent);
}

/// Writes the nodes that make `value` out of what its node has made.
class Split {
 public:
  Split(onnx_proto::ModelProto& model, ModelValue value, std::vector<Tensor>& inputs)
      : model_(model), graph_(*model.mutable_graph()), value_(std::move(value)), inputs_(inputs) {}

  /// The nodes; empty if the value admits no way of that number.
  std::vector<NodeProto> nodes(size_t way) {
    switch (way) {
      case 0:
        return all_nonzero();
      case 1:
        return all_compressed();
      case 2:
        return true_branch();
      case 3:
        return loop_of_one_step();
      case 4:
        return from_sequence();
      case 5:
        return from_split_sequence();
      default:
        return from_optional();
    }
  }

  std::string made() const { return value_.name + "_made"; }

 private:
  size_t rank() const { return value_.shape.size(); }
  int64_t num_elems() const {
    int64_t elems = 1;
    for (int64_t extent : value_.shape) elems *= extent;
    return elems;
  }
  std::string part(std::string_view what) const { return value_.name + "_" + std::string(what); }

  NodeProto& add(const std::string& op, const std::vector<std::string>& inputs,
                 const std::string& output) {
    NodeProto& node = nodes_.emplace_back();
    node.set_op_type(op);
    node.set_name(output + "_node");
    for (const std::string& input : inputs) node.add_input(input);
    node.add_output(output);
    return node;
  }

  /// An input of the model that holds the same number everywhere.
  std::string input(std::string_view what, int type, const Shape& shape, int64_t number) {
    describe(*graph_.add_input(), part(what), type, shape);
    Tensor tensor(*onnx::dtype_from_onnx(type), shape);
    for (int64_t i = 0; i < tensor.num_elems(); ++i) tensor.set_i64(i, number);
    inputs_.push_back(std::move(tensor));
    return part(what);
  }

  std::string integers(std::string_view what, const std::vector<int64_t>& numbers,
                       bool as_list = true) {
    TensorProto& proto = *graph_.add_initializer();
    proto.set_name(part(what));
    proto.set_data_type(TensorProto::INT64);
    if (as_list) proto.add_dims(static_cast<int64_t>(numbers.size()));
    for (int64_t number : numbers) proto.add_int64_data(number);
    return part(what);
  }

  void set_int(NodeProto& node, const char* name, int64_t number) {
    AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(AttributeProto::INT);
    attribute.set_i(number);
  }
  /// A body of one node, from `operand` to `result`.
  GraphProto body(const char* op, const std::vector<std::string>& operands,
                  const std::string& result) {
    GraphProto graph;
    graph.set_name(result + "_body");
    NodeProto& node = *graph.add_node();
    node.set_op_type(op);
    node.set_name(result + "_node");
    for (const std::string& operand : operands) node.add_input(operand);
    node.add_output(result);
    graph.add_output()->set_name(result);
    return graph;
  }
  void set_graph(NodeProto& node, const char* name, GraphProto graph) {
    AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(AttributeProto::GRAPH);
    *attribute.mutable_g() = std::move(graph);
  }

  std::vector<NodeProto> all_nonzero() {
    if (rank() == 0) return {};
    const std::string mask = input("mask", TensorProto::BOOL, value_.shape, 1);
    add("NonZero", {mask}, part("where"));
    add("Transpose", {part("where")}, part("places"));
    add("GatherND", {made(), part("places")}, part("picked"));
    add("Reshape", {part("picked"), integers("shape", value_.shape)}, value_.name);
    // An extent of 0 is no extent to be copied.
    set_int(nodes_.back(), "allowzero", 1);
    return nodes_;
  }

  std::vector<NodeProto> all_compressed() {
    const std::string mask = input("mask", TensorProto::BOOL, {num_elems()}, 1);
    add("Compress", {made(), mask}, part("picked"));
    add("Reshape", {part("picked"), integers("shape", value_.shape)}, value_.name);
    set_int(nodes_.back(), "allowzero", 1);
    return nodes_;
  }

  /// The other branch has another shape.
  std::vector<NodeProto> true_branch() {
    if (rank() == 0) return {};
    NodeProto& node = add("If", {input("condition", TensorProto::BOOL, {}, 1)}, value_.name);
    set_graph(node, "then_branch", body("Identity", {made()}, part("same")));
    GraphProto twice = body("Concat", {made(), made()}, part("twice"));
    set_int(*twice.mutable_node(0), "axis", 0);
    set_graph(node, "else_branch", std::move(twice));
    return nodes_;
  }

  std::vector<NodeProto> loop_of_one_step() {
    const std::string trips = input("trips", TensorProto::INT64, {}, 1);
    NodeProto& node = add("Loop", {trips, "", made()}, value_.name);
    GraphProto step = body("Identity", {part("carried")}, part("next"));
    describe(*step.add_input(), part("number"), TensorProto::INT64, {});
    describe(*step.add_input(), part("go"), TensorProto::BOOL, {});
    describe(*step.add_input(), part("carried"), value_.type, value_.shape);
    NodeProto& go = *step.add_node();
    go.set_op_type("Identity");
    go.set_name(part("go_node"));
    go.add_input(part("go"));
    go.add_output(part("go_on"));
    step.clear_output();
    describe(*step.add_output(), part("go_on"), TensorProto::BOOL, {});
    describe(*step.add_output(), part("next"), value_.type, value_.shape);
    set_graph(node, "body", std::move(step));
    return nodes_;
  }

  std::vector<NodeProto> from_sequence() {
    add("SequenceConstruct", {made(), made()}, part("pair"));
    add("SequenceAt", {part("pair"), integers("last", {-1}, /*as_list=*/false)}, value_.name);
    return nodes_;
  }

  std::vector<NodeProto> from_split_sequence() {
    if (rank() == 0 || value_.shape[0] == 0) return {};
    set_int(add("SplitToSequence", {made()}, part("rows")), "keepdims", 0);
    NodeProto& joined = add("ConcatFromSequence", {part("rows")}, value_.name);
    set_int(joined, "axis", 0);
    set_int(joined, "new_axis", 1);
    return nodes_;
  }

  std::vector<NodeProto> from_optional() {
    constexpr int64_t kFirstOpset = 15;
    if (model_.opset_import(0).version() < kFirstOpset) return {};
    add("Optional", {made()}, part("perhaps"));
    add("OptionalGetElement", {part("perhaps")}, value_.name);
    return nodes_;
  }

  onnx_proto::ModelProto& model_;
  GraphProto& graph_;
  ModelValue value_;
  std::vector<Tensor>& inputs_;
  std::vector<NodeProto> nodes_;
};

}  // namespace

std::vector<Tensor> split_model(onnx_proto::ModelProto& model,
                                const std::vector<ModelValue>& values, Choices& choices) {
  constexpr size_t kWays = 7;
  std::vector<Tensor> inputs;
  std::vector<NodeProto> nodes;
  for (const NodeProto& old : model.graph().node()) {
    nodes.push_back(old);
    const size_t maker = nodes.size() - 1;
    for (int i = 0; i < old.output_size(); ++i) {
      const std::string& name = old.output(i);
      const auto value =
          std::find_if(values.begin(), values.end(),
                       [&](const ModelValue& candidate) { return candidate.name == name; });
      if (value == values.end() || choices.below(8) > 5) continue;
      Split split(model, *value, inputs);
      const std::vector<NodeProto> made = split.nodes(choices.below(kWays));
      if (made.empty()) continue;
      nodes[maker].set_output(i, split.made());
      nodes.insert(nodes.end(), made.begin(), made.end());
    }
  }
  model.mutable_graph()->clear_node();
  for (const NodeProto& node : nodes) *model.mutable_graph()->add_node() = node;
  return inputs;
}

}  // namespace corf::fuzz
