#include "onnx/import.h"

#include <new>
#include <stdexcept>
#include <unordered_set>

#include "graph/evaluate.h"
#include "onnx/bind_shape.h"
#include "onnx/check_model.h"
#include "onnx/compose.h"
#include "onnx/model_state.h"
#include "onnx/node_import.h"
#include "onnx/remove_unused_nodes.h"
#include "onnx/unique_names.h"

namespace corf::onnx {
namespace {

using graph::Graph;
using onnx_proto::NodeProto;

/// Nodes with known inputs and at most so many result elements are evaluated while importing, for
/// shapes depend on them; larger ones are left to constant folding.
constexpr int64_t kMaxFoldedElems = 1 << 16;

/// Opset whose Where a choice between the branches of an If follows.
constexpr int64_t kOpsetOfWhere = 16;

/// More elements than any machine holds: such a shape is a mistake in the model.
constexpr int64_t kMaxElems = int64_t{1} << 40;

bool is_if(const NodeProto& node) {
  return node.op_type() == "If" && (node.domain().empty() || node.domain() == "ai.onnx");
}

Result<const onnx_proto::GraphProto*> find_branch(const NodeProto& node, std::string_view name) {
  for (const auto& attribute : node.attribute()) {
    if (attribute.name() == name && attribute.has_g()) return &attribute.g();
  }
  return make_error(ErrorCode::kInvalidModel, "{}: it has no {}", describe(node), name);
}

class Importer {
 public:
  Importer(const Model::State& state, const ShapeBindings& bindings)
      : state_(state), bindings_(bindings) {}

  Result<Graph> run() {
    CORF_RETURN_IF_ERROR(check_opset(state_.opset));
    claim_names();
    CORF_RETURN_IF_ERROR(add_inputs());
    const std::vector<bool> live = find_live_nodes(state_);
    for (size_t i = 0; i < state_.nodes.size(); ++i) {
      if (live[i]) CORF_RETURN_IF_ERROR(import_node(state_.nodes[i], names_of_nodes_[i]));
    }
    for (const ModelTensor& output : state_.outputs) report_if_unavailable(output.name);
    if (!unsupported_.empty()) return unsupported_error(unsupported_);
    CORF_RETURN_IF_ERROR(add_outputs());
    remove_unused_nodes(graph_);
    return std::move(graph_);
  }

 private:
  /// The model's own names come first; the parts of decompositions take what is left.
  void claim_names();
  Status add_inputs();

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
  /// Notes why the node cannot be imported, unless that has been said already.
  Status give_up(const NodeProto& node, std::string why);
  Status import_with(const Operator& entry, NodeImport& context, const NodeProto& proto);
  Result<std::optional<ValueId>> find_input(const std::string& name);
  /// True if nothing computes the value; the reason is then reported, once.
  bool report_if_unavailable(const std::string& name);
  Status check_sizes(const NodeImport& context, size_t first_value) const;
  /// Replaces the nodes from `first_node` on with constants if all of `context`'s inputs are known.
  Result<bool> fold(NodeImport& context, size_t first_node, size_t first_value);
  void name_new_nodes(size_t first_node, const NodeImport& context, const NodeProto& proto);
  Status check_declared_type(const NodeProto& proto, const std::string& output, ValueId value);
  Status add_outputs();

  const Model::State& state_;
  const ShapeBindings& bindings_;
  Graph graph_;
  std::unordered_map<std::string, ValueId> values_;
  /// Outputs that could not be imported, so nothing behind them can; with the reason if it is not
  /// among `unsupported_` yet.
  std::unordered_map<std::string, std::string> unavailable_;
  std::vector<std::string> unsupported_;
  std::vector<std::string> names_of_nodes_;  // unique, by position in state_.nodes
  UniqueNames node_names_;
  UniqueNames value_names_;
};

void Importer::claim_names() {
  for (const ModelNode& node : state_.nodes) {
    const NodeProto& proto = *node.proto;
    std::string wanted = proto.name();
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
    ValueId value = graph_.add_input(node_names_.claim(input.name), input.dtype, shape);
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
  ValueId value = graph_.add_constant(node_names_.claim(name), *initializer->second);
  graph_.values[value].name = name;
  values_[name] = value;
  return std::optional<ValueId>(value);
}

bool Importer::report_if_unavailable(const std::string& name) {
  auto found = unavailable_.find(name);
  if (found == unavailable_.end()) return false;
  if (!found->second.empty()) unsupported_.push_back(std::move(found->second));
  found->second.clear();
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
      return give_up(proto, fmt::format("{}: {}", describe(proto), input.error().message));
    }
    if (!input.ok()) return input.error();
    inputs.push_back(*input);
  }
  NodeImport context(graph_, proto, node.opset, name, std::move(inputs), state_.storage,
                     *state_.external);
  if (const std::string why = why_unsupported(node); !why.empty()) {
    return give_up(proto, context.prefix() + why);
  }
  if (!available) return give_up(proto, "");
  Status status = import_with(*find_operator(proto.domain(), proto.op_type()), context, proto);
  if (!status.ok() && status.error().code == ErrorCode::kUnsupported) {
    return give_up(proto, status.error().message);
  }
  return status;
}

Status Importer::give_up(const NodeProto& node, std::string why) {
  if (!why.empty()) unsupported_.push_back(std::move(why));
  for (const std::string& output : node.output()) unavailable_[output] = "";
  return {};
}

Status Importer::import_if(const ModelNode& node, const std::string& name) {
  const NodeProto& proto = *node.proto;
  if (proto.input_size() != 1) {
    return make_error(ErrorCode::kInvalidModel, "{}: one input is required", describe(proto));
  }
  if (report_if_unavailable(proto.input(0))) return give_up(proto, "");
  CORF_ASSIGN(auto condition, find_input(proto.input(0)));
  CORF_ASSIGN(const onnx_proto::GraphProto* then_branch, find_branch(proto, "then_branch"));
  CORF_ASSIGN(const onnx_proto::GraphProto* else_branch, find_branch(proto, "else_branch"));
  NodeImport context(graph_, proto, node.opset, name, {condition}, state_.storage,
                     *state_.external);
  if (!condition || num_elems(context.shape(*condition)) != 1) {
    return make_error(ErrorCode::kInvalidModel, "{}its condition is not one element",
                      context.prefix());
  }
  if (const Tensor* known = context.known(*condition)) {
    return import_branch(known->at_i64(0) != 0 ? *then_branch : *else_branch, node);
  }
  CORF_ASSIGN(Values then_values, import_branch_apart(*then_branch, node));
  CORF_ASSIGN(Values else_values, import_branch_apart(*else_branch, node));
  for (int i = 0; i < proto.output_size(); ++i) {
    if (!then_values[i] || !else_values[i]) continue;  // unavailable, and reported
    CORF_RETURN_IF_ERROR(select_output(node, name, i, {condition, then_values[i], else_values[i]}));
  }
  return {};
}

Result<Importer::Values> Importer::import_branch_apart(const onnx_proto::GraphProto& branch,
                                                       const ModelNode& node) {
  const std::unordered_map<std::string, ValueId> outside = values_;
  if (Status status = import_branch(branch, node); !status.ok()) {
    return make_error(status.error().code,
                      "{} (a branch of {}, whose condition depends on data, so both are compiled; "
                      "make the input that decides a constant)",
                      status.error().message, describe(*node.proto));
  }
  Values values;
  for (const std::string& output : node.proto->output()) {
    auto found = values_.find(output);
    values.push_back(found == values_.end() ? std::optional<ValueId>() : found->second);
  }
  values_ = outside;
  return values;
}

Status Importer::select_output(const ModelNode& node, const std::string& name, int output,
                               Values inputs) {
  NodeProto select;  // Where(condition, then, else)
  select.set_op_type(node.proto->op_type());
  select.set_name(node.proto->name());
  select.add_output(node.proto->output(output));
  std::string part = output == 0 ? name : node_names_.claim(fmt::format("{}/{}", name, output));
  NodeImport context(graph_, select, kOpsetOfWhere, part, std::move(inputs), state_.storage,
                     *state_.external);
  const graph::Value& a = graph_.values[context.input(1)];
  const graph::Value& b = graph_.values[context.input(2)];
  if (a.dtype != b.dtype || a.shape != b.shape ||
      context.rank(context.input(0)) > context.rank(context.input(1))) {
    return give_up(
        select,
        context.prefix() + fmt::format("its condition depends on data, and its branches give "
                                       "{} {} and {} {} for output {}; only branches of the "
                                       "same type and shape can be chosen from at run time; make "
                                       "the input that decides a constant",
                                       to_string(a.dtype), to_string(a.shape), to_string(b.dtype),
                                       to_string(b.shape), output));
  }
  return import_with(*find_operator("", "Where"), context, select);
}

Status Importer::import_branch(const onnx_proto::GraphProto& branch, const ModelNode& node) {
  const NodeProto& proto = *node.proto;
  if (branch.output_size() != proto.output_size()) {
    return make_error(ErrorCode::kInvalidModel, "{}: a branch has {} outputs, not {}",
                      describe(proto), branch.output_size(), proto.output_size());
  }
  for (const auto& initializer : branch.initializer()) {
    CORF_ASSIGN(Tensor tensor, read_tensor(initializer, state_.storage, *state_.external,
                                           fmt::format("initializer '{}'", initializer.name())));
    ValueId value = graph_.add_constant(node_names_.claim(initializer.name()), std::move(tensor));
    graph_.values[value].name = value_names_.claim(initializer.name());
    values_[initializer.name()] = value;
  }
  // Branches nest no deeper than protobuf parses.
  for (const NodeProto& inner : branch.node()) {
    std::string wanted = inner.name();
    if (wanted.empty()) wanted = inner.output_size() > 0 ? inner.output(0) : inner.op_type();
    std::string name = node_names_.claim(wanted);
    for (const std::string& output : inner.output()) {
      if (values_.contains(output)) {
        return make_error(ErrorCode::kInvalidModel, "{}: value '{}' is defined twice",
                          describe(inner), output);
      }
      value_names_.claim(output);
    }
    CORF_RETURN_IF_ERROR(import_node({&inner, node.opset}, name));
  }
  for (int i = 0; i < branch.output_size(); ++i) {
    const std::string& inner = branch.output(i).name();
    if (report_if_unavailable(inner)) {
      unavailable_[proto.output(i)] = "";
      continue;
    }
    CORF_ASSIGN(auto value, find_input(inner));
    if (!value) {
      return make_error(ErrorCode::kInvalidModel, "{}: a branch's output has no name",
                        describe(proto));
    }
    values_[proto.output(i)] = *value;
  }
  return {};
}

Status Importer::import_with(const Operator& entry, NodeImport& context, const NodeProto& proto) {
  size_t first_node = graph_.nodes.size();
  size_t first_value = graph_.values.size();
  Status status = entry.import(context);
  // What followed from an attribute's default is not the fault.
  if (!context.attribute_status().ok()) status = context.attribute_status();
  if (status.ok()) status = check_sizes(context, first_value);
  if (status.ok()) {
    auto folded = fold(context, first_node, first_value);
    if (!folded.ok()) status = folded.error();
  }
  if (!status.ok()) {
    graph_.nodes.resize(first_node);
    graph_.values.resize(first_value);
    return status;
  }
  name_new_nodes(first_node, context, proto);
  for (int i = 0; i < proto.output_size(); ++i) {
    const std::string& name = proto.output(i);
    if (name.empty()) continue;
    if (!context.outputs()[i]) {
      unavailable_[name] = context.prefix() + fmt::format("its output {} is not supported", i);
      continue;
    }
    values_[name] = *context.outputs()[i];
    CORF_RETURN_IF_ERROR(check_declared_type(proto, name, values_[name]));
  }
  return {};
}

Status Importer::check_sizes(const NodeImport& context, size_t first_value) const {
  for (size_t i = first_value; i < graph_.values.size(); ++i) {
    auto count = checked_num_elems(graph_.values[i].shape);
    if (!count.ok() || *count > kMaxElems) {
      return context.invalid("a result of shape {} is too large",
                             to_string(graph_.values[i].shape));
    }
  }
  return {};
}

Result<bool> Importer::fold(NodeImport& context, size_t first_node, size_t first_value) {
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
    CORF_ASSIGN(auto results, graph::evaluate_node(graph_, node, inputs, {.round_to_dtype = true}));
    for (size_t j = 0; j < results.size(); ++j) computed[node.outputs[j]] = std::move(results[j]);
  }
  if (!any_computed) return false;
  std::vector<std::optional<Tensor>> results;
  for (auto output : context.outputs()) {
    bool is_new = output && static_cast<size_t>(*output) >= first_value;
    results.push_back(is_new ? std::optional(computed.at(*output)) : std::nullopt);
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

}  // namespace

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

Result<graph::Graph> import(const Model& model, const ShapeBindings& shapes) {
  try {
    return Importer(model.state(), shapes).run();
  } catch (const std::bad_alloc&) {
    return make_error(ErrorCode::kOutOfMemory,
                      "importing the model needs more memory than there is; are its shapes right?");
  } catch (const std::length_error&) {
    return make_error(ErrorCode::kOutOfMemory, "a shape of the model exceeds any memory");
  }
}

}  // namespace corf::onnx
