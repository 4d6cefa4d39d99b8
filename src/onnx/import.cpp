#include "onnx/import.h"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <unordered_set>

#include "graph/evaluate.h"
#include "graph/evaluate_view.h"
#include "onnx/bind_shape.h"
#include "onnx/block.h"
#include "onnx/check_model.h"
#include "onnx/compose.h"
#include "onnx/folding.h"
#include "onnx/importer.h"
#include "onnx/operator_types.h"
#include "onnx/remove_unused_nodes.h"
#include "support/budget.h"
#include "support/printable.h"

namespace corf::onnx {
namespace {

using graph::Graph;
using onnx_proto::NodeProto;

/// Nodes with known inputs and at most so many result elements are evaluated while importing, for
/// shapes depend on them; larger ones are left to constant folding.
constexpr int64_t kMaxFoldedElems = 1 << 16;

/// Of a node, whose name becomes part of many others.
constexpr size_t kMostNameBytes = 512;

bool has_body(const NodeProto& node) {
  return std::any_of(node.attribute().begin(), node.attribute().end(),
                     [](const auto& attribute) { return attribute.has_g(); });
}

/// No machine lives to see the end of more.
constexpr double kMaxSteps = 0x1p60;

}  // namespace

Result<Graph> Importer::run() {
  CORF_RETURN_IF_ERROR(check_opset(state_.opset));
  claim_names();
  CORF_RETURN_IF_ERROR(add_inputs());
  const std::vector<bool> live = find_live_nodes(state_);
  for (size_t i = 0; i < state_.nodes.size(); ++i) {
    current_node_ = i;
    if (live[i]) CORF_RETURN_IF_ERROR(import_node(state_.nodes[i], names_of_nodes_[i]));
  }
  for (const ModelTensor& output : state_.outputs) report_if_unavailable(output.name);
  if (!unsupported_.empty()) {
    std::vector<std::string> lines;
    for (const Refusal& refusal : unsupported_) lines.push_back(refusal.node.line);
    return unsupported_error(lines);
  }
  CORF_RETURN_IF_ERROR(add_outputs());
  CORF_RETURN_IF_ERROR(check_constant_values());
  remove_unused_nodes(graph_);
  return std::move(graph_);
}

Status Importer::check_constant_values() const {
  const Budget* const budget = Budget::current();
  if (budget == nullptr || !budget->limits().memory_bytes) return {};
  const double most_bytes = static_cast<double>(*budget->limits().memory_bytes);
  std::vector<bool> is_constant(graph_.values.size(), false);
  for (const graph::Node& node : graph_.nodes) {
    if (std::holds_alternative<graph::Input>(node.op)) continue;
    if (!std::all_of(node.inputs.begin(), node.inputs.end(),
                     [&](ValueId input) { return is_constant[input]; })) {
      continue;
    }
    const auto* view = std::get_if<graph::View>(&node.op);
    const bool is_another_look = view != nullptr && !std::holds_alternative<graph::Concat>(*view) &&
                                 !std::holds_alternative<graph::Pad>(*view);
    for (ValueId output : node.outputs) {
      is_constant[output] = true;
      const graph::Value& value = graph_.values[output];
      const double bytes = static_cast<double>(size_bytes(value.dtype)) *
                           static_cast<double>(num_elems(value.shape));
      if (is_another_look || bytes <= most_bytes) continue;
      return make_error(ErrorCode::kOverLimit,
                        "node '{}' ({}): its result of shape {} follows from constants alone and "
                        "takes {:.0f} MiB, more than the {:.0f} of option limits.memory",
                        node.name, node.origin, to_string(value.shape), bytes / 0x1p20,
                        most_bytes / 0x1p20);
    }
  }
  return {};
}

void Importer::claim_names() {
  for (const ModelNode& node : state_.nodes) {
    const NodeProto& proto = *node.proto;
    std::string wanted = shortened(proto.name(), kMostNameBytes);
    if (wanted.empty() && proto.output_size() > 0) wanted = proto.output(0);
    names_of_nodes_.push_back(node_names_.claim(wanted.empty() ? proto.op_type() : wanted));
    for (const std::string& output : proto.output()) value_names_.claim(output);
  }
  for (const ModelTensor& input : state_.inputs) value_names_.claim(input.name);
  for (const auto& [name, tensor] : state_.initializers) value_names_.claim(name);
}

Status Importer::add_inputs() {
  std::unordered_set<std::string> bindable;
  std::map<std::string, int64_t> symbols;  // as the inputs' shapes bind them
  for (const ModelTensor& input : state_.inputs) {
    if (input.kind != ValueKind::kTensor) {
      return make_error(ErrorCode::kUnsupported,
                        "input '{}' is {}: such models are run on values, piece by piece",
                        input.name, in_words(input.kind));
    }
    CORF_ASSIGN(Shape shape, bind_shape(input, bindings_));
    bindable.insert(input.name);
    for (size_t i = 0; i < input.dims.size(); ++i) {
      const std::string& symbol = input.dims[i].symbol;
      bindable.insert(symbol);
      if (symbol.empty() || symbol == "?") continue;
      auto [known, inserted] = symbols.emplace(symbol, shape[i]);
      if (!inserted && known->second != shape[i]) {
        return make_error(ErrorCode::kInvalidArgument,
                          "dimension '{}' is {} in one input and {} in input '{}'", symbol,
                          known->second, shape[i], input.name);
      }
    }
    CORF_ASSIGN(const ValueId value, add_input(input, shape));
    graph_.values[value].name = input.name;
    values_[input.name] = value;
  }
  for (const auto& [name, shape] : bindings_) {
    if (!bindable.contains(name)) {
      return make_error(ErrorCode::kInvalidArgument,
                        "a shape is given for '{}', which is no input or symbolic dimension", name);
    }
  }
  return {};
}

Result<ValueId> Importer::add_input(const ModelTensor& input, const Shape& shape) {
  const std::string name = node_names_.claim(input.name);
  const auto bound = bound_values_.find(input.name);
  if (bound == bound_values_.end()) return graph_.add_input(name, input.dtype, shape);
  const Tensor& value = bound->second;
  if (value.dtype() != input.dtype || value.shape() != shape) {
    return make_error(ErrorCode::kInvalidArgument,
                      "input '{}' is {} {}, but the value bound to it is {} {}", input.name,
                      to_string(input.dtype), to_string(shape), to_string(value.dtype()),
                      to_string(value.shape()));
  }
  return graph_.add_constant(name, value);
}

void Importer::note_obstacle() {
  if (obstacles_.empty()) first_obstacle_ = current_node_;
  obstacles_.insert(current_node_);
}

void Importer::await(ValueId value, NodeImport::Bind bind) {
  note_obstacle();
  if (bind == NodeImport::Bind::kNever) return;
  for (const ValueId input : inputs_behind(graph_, value)) {
    if (may_decide_shapes(graph_.values[input])) awaited_inputs_.insert(graph_.values[input].name);
  }
}

NodeImport Importer::context_of(const ModelNode& node, const std::string& name, Values inputs) {
  NodeImport context(graph_, *node.proto, node.opset, name, std::move(inputs), state_.storage,
                     *state_.external);
  context.import_bodies_with(
      [this, opset = node.opset](const auto& body, const std::vector<ValueId>& body_inputs) {
        return import_body(body, opset, body_inputs);
      });
  context.await_with([this](ValueId value, NodeImport::Bind bind) { await(value, bind); });
  return context;
}

Result<std::optional<ValueId>> Importer::find_input(const std::string& name) {
  if (name.empty()) return std::optional<ValueId>();
  if (auto known = values_.find(name); known != values_.end()) {
    return std::optional<ValueId>(known->second);
  }
  auto initializer = state_.initializers.find(name);
  if (initializer == state_.initializers.end()) {
    return make_error(ErrorCode::kInvalidModel, "value '{}' is read before it is computed", name);
  }
  if (!initializer->second.ok()) return initializer->second.error();
  if (const Shape& shape = initializer->second->shape(); !has_sound_extents(shape)) {
    return make_error(ErrorCode::kInvalidModel, "initializer '{}' of shape {} is too large", name,
                      to_string(shape));
  }
  ValueId value = graph_.add_constant(node_names_.claim(name), *initializer->second);
  graph_.values[value].name = name;
  values_[name] = value;
  return std::optional<ValueId>(value);
}

bool Importer::report_if_unavailable(const std::string& name) {
  auto found = unavailable_.find(name);
  if (found == unavailable_.end()) return false;
  if (found->second) unsupported_.push_back(std::move(*found->second));
  found->second.reset();
  return true;
}

Status Importer::import_node(const ModelNode& node, const std::string& name) {
  const NodeProto& proto = *node.proto;
  if (is_if(proto)) return import_if(node, name);
  bool available = true;
  std::vector<std::optional<ValueId>> inputs;
  for (const std::string& input_name : proto.input()) {
    if (!input_name.empty() && report_if_unavailable(input_name)) {
      available = false;
      inputs.emplace_back();
      continue;
    }
    auto input = find_input(input_name);
    if (!input.ok() && input.error().code == ErrorCode::kUnsupported) {
      return give_up(node, fmt::format("{}: {}", describe(proto), input.error().message),
                     /*lacks_tensor=*/true);
    }
    if (!input.ok()) return input.error();
    inputs.push_back(*input);
  }
  NodeImport context = context_of(node, name, std::move(inputs));
  if (const std::string why = why_unsupported(node); !why.empty()) {
    return give_up(node, context.prefix() + why);
  }
  if (!available) return give_up(node, "");
  look_at_budget();
  Status status =
      import_with(*find_operator(proto.domain(), proto.op_type(), node.opset), context, node);
  if (!status.ok() && has_body(proto)) note_obstacle();
  if (!status.ok() && status.error().code == ErrorCode::kUnsupported) {
    return give_up(node, status.error().message);
  }
  if (const Budget* budget = Budget::current()) {
    budget->check_nodes(static_cast<int64_t>(graph_.nodes.size()));
  }
  return status;
}

Status Importer::give_up(const ModelNode& node, std::string why, bool lacks_tensor) {
  if (!why.empty()) {
    unsupported_.push_back({{node, std::move(why), false, lacks_tensor}, current_node_});
  }
  for (const std::string& output : node.proto->output()) unavailable_[output] = std::nullopt;
  return {};
}

std::vector<UnsupportedNode> Importer::unsupported_nodes() const {
  std::vector<UnsupportedNode> nodes;
  for (const Refusal& refusal : unsupported_) {
    nodes.push_back(refusal.node);
    nodes.back().lacks_value = obstacles_.contains(refusal.position);
  }
  return nodes;
}

Status Importer::import_with(const Operator& entry, NodeImport& context, const ModelNode& node) {
  const NodeProto& proto = *node.proto;
  size_t first_node = graph_.nodes.size();
  size_t first_value = graph_.values.size();
  context.set_speculative(branches_apart_ > 0);
  Status status = check_input_types(context, entry.name);
  if (status.ok()) status = entry.import(context);
  // What followed from an attribute's default is not the fault.
  if (!context.attribute_status().ok()) status = context.attribute_status();
  if (status.ok()) status = check_sizes(context, first_node, first_value);
  if (status.ok()) {
    auto folded = fold(context, first_node, first_value);
    if (!folded.ok()) status = folded.error();
  }
  if (!status.ok()) {
    graph_.nodes.resize(first_node);
    graph_.values.resize(first_value);
    std::erase_if(values_, [&](const auto& entry) {  // of bodies
      return static_cast<size_t>(entry.second) >= first_value;
    });
    return status;
  }
  name_new_nodes(first_node, context, proto);
  for (int i = 0; i < proto.output_size(); ++i) {
    const std::string& name = proto.output(i);
    if (name.empty()) continue;
    if (!context.outputs()[i]) {
      const std::string why = context.prefix() + fmt::format("its output {} is not supported", i);
      unavailable_[name] = Refusal{{node, why}, current_node_};
      continue;
    }
    values_[name] = *context.outputs()[i];
    CORF_RETURN_IF_ERROR(check_declared_type(proto, name, values_[name]));
  }
  return {};
}

Status Importer::check_sizes(const NodeImport& context, size_t first_node,
                             size_t first_value) const {
  for (size_t i = first_value; i < graph_.values.size(); ++i) {
    if (!has_sound_extents(graph_.values[i].shape)) {
      return context.invalid("a result of shape {} is too large",
                             to_string(graph_.values[i].shape));
    }
  }
  for (size_t i = first_node; i < graph_.nodes.size(); ++i) {
    const auto* compute = std::get_if<graph::Compute>(&graph_.nodes[i].op);
    if (compute == nullptr) continue;
    double steps = 1;  // as a float, which does not overflow
    for (const index::Axis& axis : compute->space.axes) {
      steps *= static_cast<double>(std::max<int64_t>(axis.extent, 1));
    }
    if (!(steps < kMaxSteps)) return context.invalid("it would take {:.2g} steps", steps);
  }
  return {};
}

Result<bool> Importer::fold(NodeImport& context, size_t first_node, size_t first_value) {
  if (context.has_imported_bodies()) return false;  // node by node, they may read other values
  if (context.is_left_to_rewriting()) return false;
  for (int i = 0; i < context.num_inputs(); ++i) {
    if (context.has(i) && context.known(context.input(i)) == nullptr) return false;
  }
  int64_t result_elems = 0;
  for (auto output : context.outputs()) {
    if (output) result_elems += num_elems(graph_.values[*output].shape);
  }
  if (result_elems > kMaxFoldedElems) return false;
  std::map<ValueId, Tensor> computed;
  bool any_computed = false;
  for (size_t i = first_node; i < graph_.nodes.size(); ++i) {
    const graph::Node& node = graph_.nodes[i];
    if (const auto* constant = std::get_if<graph::Constant>(&node.op)) {
      computed[node.outputs[0]] = constant->tensor;
      continue;
    }
    any_computed = true;
    std::vector<Tensor> inputs;
    for (ValueId input : node.inputs) {
      const Tensor* known = context.known(input);
      inputs.push_back(known != nullptr ? *known : computed.at(input));
    }
    auto evaluated = graph::evaluate_node(graph_, node, inputs, how_to_fold(graph_, node, context));
    // A routine without a reference is left to the run.
    if (!evaluated.ok() && evaluated.error().code == ErrorCode::kUnsupported) return false;
    CORF_ASSIGN(auto results, std::move(evaluated));
    for (size_t j = 0; j < results.size(); ++j) computed[node.outputs[j]] = std::move(results[j]);
  }
  if (!any_computed) return false;
  std::vector<std::optional<Tensor>> results;
  for (auto output : context.outputs()) {
    bool is_new = output && static_cast<size_t>(*output) >= first_value;
    results.push_back(
        is_new ? std::optional(graph::converted(computed.at(*output), graph_.values[*output].dtype))
               : std::nullopt);
  }
  graph_.nodes.resize(first_node);
  graph_.values.resize(first_value);
  for (size_t i = 0; i < results.size(); ++i) {
    if (!results[i]) continue;
    std::string name = i == 0 ? context.name() : context.part(std::to_string(i));
    context.set_output(static_cast<int>(i), graph_.add_constant(name, *results[i]));
  }
  return true;
}

void Importer::name_new_nodes(size_t first_node, const NodeImport& context,
                              const NodeProto& proto) {
  std::map<ValueId, std::string> output_names;
  for (int i = 0; i < proto.output_size(); ++i) {
    auto value = context.outputs()[i];
    if (value && !proto.output(i).empty()) output_names.emplace(*value, proto.output(i));
  }
  bool name_used = false;
  for (size_t i = first_node; i < graph_.nodes.size(); ++i) {
    graph::Node& node = graph_.nodes[i];
    if (context.is_of_body(i)) continue;
    if (node.name.empty() || node.name == context.name()) {
      node.name = name_used ? node_names_.claim(context.part("step")) : context.name();
      name_used = true;
    } else {
      node.name = node_names_.claim(node.name);
    }
    node.origin = proto.op_type();
    for (size_t j = 0; j < node.outputs.size(); ++j) {
      auto found = output_names.find(node.outputs[j]);
      std::string part = j == 0 ? node.name : fmt::format("{}/{}", node.name, j);
      graph_.values[node.outputs[j]].name =
          found != output_names.end() ? found->second : value_names_.claim(part);
    }
  }
}

Status Importer::check_declared_type(const NodeProto& proto, const std::string& output,
                                     ValueId value) {
  auto declared = state_.declared_types.find(output);
  if (declared == state_.declared_types.end() || declared->second == 0) return {};
  DType dtype = graph_.values[value].dtype;
  if (dtype_from_onnx(declared->second) == dtype) return {};
  return make_error(ErrorCode::kInvalidModel,
                    "{}: its output '{}' has element type {}, but the model declares {}",
                    describe(proto), output, to_string(dtype), onnx_type_name(declared->second));
}

Status Importer::add_outputs() {
  std::unordered_set<ValueId> used;
  for (const ModelTensor& output : state_.outputs) {
    CORF_ASSIGN(std::optional<ValueId> found, find_input(output.name));
    ValueId value = *found;
    const graph::Op& op = graph_.producer(value).op;
    // Every output is computed by a node of its own, so that it can have its own buffer.
    bool given =
        std::holds_alternative<graph::Input>(op) || std::holds_alternative<graph::Constant>(op);
    if (given || used.contains(value)) {
      bool name_taken = graph_.values[value].name == output.name;
      value = copy(graph_, node_names_.claim(output.name + "/copy"), value);
      graph_.nodes.back().origin = "Identity";
      graph_.values[value].name =
          name_taken ? value_names_.claim(output.name + "/copy") : output.name;
    }
    used.insert(value);
    graph_.outputs.push_back(value);
    graph_.output_names.push_back(output.name);
  }
  return {};
}

Status check_operators(const Model& model) {
  const Model::State& state = model.state();
  CORF_RETURN_IF_ERROR(check_opset(state.opset));
  const std::vector<bool> live = find_live_nodes(state);
  std::vector<std::string> unsupported;
  for (size_t i = 0; i < state.nodes.size(); ++i) {
    // Which branch of an If counts may depend on the shapes.
    if (!live[i] || is_if(*state.nodes[i].proto)) continue;
    const std::string why = why_unsupported(state.nodes[i]);
    if (why.empty()) continue;
    unsupported.push_back(fmt::format("{}, opset {}: {}", describe(*state.nodes[i].proto),
                                      state.nodes[i].opset, why));
  }
  return unsupported.empty() ? Status() : Status(unsupported_error(unsupported));
}

namespace {

Result<graph::Graph> run_import(Importer& importer) {
  try {
    return importer.run();
  } catch (const std::bad_alloc&) {
    return make_error(ErrorCode::kOutOfMemory,
                      "importing the model needs more memory than there is; are its shapes right?");
  } catch (const std::length_error&) {
    return make_error(ErrorCode::kOutOfMemory, "a shape of the model exceeds any memory");
  }
}

std::vector<std::string> deciding_inputs(const Importer& importer) {
  return {importer.awaited_inputs().begin(), importer.awaited_inputs().end()};
}

}  // namespace

Result<graph::Graph> import(const Model& model, const ShapeBindings& shapes,
                            const ValueBindings& values) {
  Importer importer(model.state(), shapes, values);
  return run_import(importer);
}

ImportAttempt attempt_import(const Model& model, const ShapeBindings& shapes,
                             const ValueBindings& values) {
  Importer importer(model.state(), shapes, values);
  const auto graph = run_import(importer);
  if (graph.ok()) return {};
  return {graph.error(), importer.unsupported_nodes(), deciding_inputs(importer),
          importer.first_obstacle()};
}

std::vector<std::string> find_deciding_inputs(const Model& model, const ShapeBindings& shapes,
                                              const ValueBindings& values) {
  return attempt_import(model, shapes, values).deciding_inputs;
}

std::optional<size_t> find_obstacle(const Model& segment, const ShapeBindings& shapes,
                                    const ValueBindings& values) {
  return attempt_import(segment, shapes, values).first_obstacle;
}

}  // namespace corf::onnx
