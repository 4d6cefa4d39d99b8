#include "tests/fuzz/model_operators.h"
#include "tests/fuzz/odd_values.h"
#include "tests/fuzz/random_model.h"

namespace corf::fuzz {
namespace {

using onnx_proto::AttributeProto;
using onnx_proto::NodeProto;
using onnx_proto::TensorProto;

/// One of several elements of a repeated field.
template <typename Field>
auto* any_of(Field* field, Choices& choices) {
  using Element = std::remove_reference_t<decltype((*field)[0])>;
  return field->empty()
             ? static_cast<Element*>(nullptr)
             : &(*field)[static_cast<int>(choices.below(static_cast<size_t>(field->size())))];
}

void damage_tensor(TensorProto& tensor, Choices& choices) {
  switch (choices.below(5)) {
    case 0:
      tensor.set_data_type(static_cast<int>(choices.pick(0, 30)));
      break;
    case 1:
      tensor.add_dims(odd_int_of(choices));
      break;
    case 2:
      if (tensor.dims_size() > 0) tensor.set_dims(0, odd_int_of(choices));
      break;
    case 3:
      if (!tensor.raw_data().empty()) tensor.mutable_raw_data()->pop_back();
      break;
    default:
      tensor.set_data_location(TensorProto::EXTERNAL);
      auto& location = *tensor.add_external_data();
      location.set_key(choices.chance(128) ? "location" : "offset");
      location.set_value(choices.chance(128) ? "../nothing" : "-1");
  }
}

void damage_node(NodeProto& node, onnx_proto::GraphProto& graph, Choices& choices) {
  NodeProto* other = any_of(graph.mutable_node(), choices);
  switch (choices.below(8)) {
    case 0:
      if (node.output_size() > 0 && other->output_size() > 0) other->set_output(0, node.output(0));
      break;
    case 1:
      if (node.input_size() > 0) node.mutable_input()->RemoveLast();
      break;
    case 2:
      if (node.input_size() > 0 && other->output_size() > 0) node.set_input(0, other->output(0));
      break;
    case 3:
      if (node.input_size() > 0) node.add_input(node.input(0));
      break;
    case 4:
      if (auto* attribute = any_of(node.mutable_attribute(), choices)) {
        attribute->set_type(static_cast<AttributeProto::AttributeType>(choices.pick(0, 14)));
      }
      break;
    case 5:
      if (auto* attribute = any_of(node.mutable_attribute(), choices))
        *node.add_attribute() = *attribute;
      break;
    case 6:
      node.set_op_type(std::string(
          choices.chance(128) ? model_operators()[choices.below(model_operators().size())].name
                              : "If"));
      break;
    default:
      node.clear_output();
      break;
  }
}

}  // namespace

void damage_model(onnx_proto::ModelProto& model, Choices& choices) {
  auto& graph = *model.mutable_graph();
  switch (choices.below(6)) {
    case 0:
      if (auto* tensor = any_of(graph.mutable_initializer(), choices))
        damage_tensor(*tensor, choices);
      break;
    case 1:
    case 2:
      if (auto* node = any_of(graph.mutable_node(), choices)) damage_node(*node, graph, choices);
      break;
    case 3:
      if (auto* input = any_of(graph.mutable_input(), choices)) {
        auto& type = *input->mutable_type()->mutable_tensor_type();
        if (choices.chance(128)) {
          type.mutable_shape()->add_dim()->set_dim_value(odd_int_of(choices));
        } else {
          type.set_elem_type(static_cast<int>(choices.pick(0, 30)));
        }
      }
      break;
    case 4:
      if (auto* output = any_of(graph.mutable_output(), choices)) {
        output->set_name(choices.chance(128) ? "v0" : "nothing");
        output->mutable_type()->mutable_tensor_type()->set_elem_type(
            static_cast<int>(choices.pick(0, 17)));
      }
      break;
    default:
      if (graph.node_size() > 0) {
        // A function of the model in the place of a node.
        NodeProto& node = *graph.mutable_node(graph.node_size() - 1);
        auto& function = *model.add_functions();
        function.set_name("f");
        function.set_domain("own");
        for (const std::string& name : node.input()) function.add_input(name);
        for (const std::string& name : node.output()) function.add_output(name);
        *function.add_node() = node;
        *function.add_opset_import() = model.opset_import(0);
        if (choices.chance(24)) {
          NodeProto& again = *function.add_node();
          again = node;
          again.set_op_type("f");
          again.set_domain("own");
        }
        node.set_op_type("f");
        node.set_domain("own");
        node.clear_attribute();
        auto& domain = *model.add_opset_import();
        domain.set_domain("own");
        domain.set_version(1);
      }
  }
}

}  // namespace corf::fuzz
