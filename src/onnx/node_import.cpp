#include "onnx/node_import.h"

#include <algorithm>
#include <fmt/ranges.h>
#include <limits>

#include "onnx/import.h"
#include "onnx/operator_types.h"
#include "onnx/sparse_tensor.h"
namespace corf::onnx {

using onnx_proto::AttributeProto;

NodeImport::NodeImport(graph::Graph& graph_in, const onnx_proto::NodeProto& proto, int64_t opset,
                       std::string name, std::vector<std::optional<ValueId>> inputs,
                       std::shared_ptr<const void> storage, ExternalData& external)
    : graph(graph_in),
      proto_(proto),
      opset_(opset),
      name_(std::move(name)),
      inputs_(std::move(inputs)),
      outputs_(proto.output_size()),
      storage_(std::move(storage)),
      external_(external) {}

Status NodeImport::require_inputs(int count) const {
  for (int i = 0; i < count; ++i) {
    if (!has(i)) return invalid("input {} of {} required inputs is missing", i, count);
  }
  return {};
}

const Tensor* NodeImport::known(ValueId value) const {
  const auto* constant = std::get_if<graph::Constant>(&graph.producer(value).op);
  return constant != nullptr ? &constant->tensor : nullptr;
}

Result<std::vector<int64_t>> NodeImport::known_ints(int input, std::string_view what) const {
  const Tensor* tensor = known(inputs_[input].value());
  if (tensor == nullptr) {
    return depends_on_data(input, what);
  }
  if (!is_integer(tensor->dtype())) {
    return invalid("its {} (input {}) has element type {}, not an integer", what, input,
                   to_string(tensor->dtype()));
  }
  std::vector<int64_t> values(tensor->num_elems());
  for (size_t i = 0; i < values.size(); ++i) values[i] = tensor->at_i64(static_cast<int64_t>(i));
  return values;
}

Result<std::vector<double>> NodeImport::known_floats(int input, std::string_view what) const {
  const Tensor* tensor = known(inputs_[input].value());
  if (tensor == nullptr) {
    return depends_on_data(input, what);
  }
  std::vector<double> values(tensor->num_elems());
  for (size_t i = 0; i < values.size(); ++i) values[i] = tensor->at_f64(static_cast<int64_t>(i));
  return values;
}

Error NodeImport::depends_on_data(int input, std::string_view what, Bind bind) const {
  return unsupported("its {} (input {}) depends on {}", what, input,
                     describe_awaited(inputs_[input].value(), bind));
}

std::string NodeImport::describe_awaited(ValueId value, Bind bind) const {
  if (await_) await_(value, bind);
  return describe_data(graph, value);
}

const AttributeProto* NodeImport::find(std::string_view name) const {
  for (const AttributeProto& attribute : proto_.attribute()) {
    if (attribute.name() == name) return &attribute;
  }
  return nullptr;
}

const AttributeProto* NodeImport::find(std::string_view name, AttributeProto::AttributeType type) {
  const AttributeProto* attribute = find(name);
  if (attribute == nullptr) return nullptr;
  // Files older than IR version 2 leave the type out; the field that is set tells it.
  if (attribute->type() == type || attribute->type() == AttributeProto::UNDEFINED) return attribute;
  if (attribute_status_.ok()) {
    attribute_status_ = invalid("attribute '{}' has the wrong type", name);
  }
  return nullptr;
}

int64_t NodeImport::int_attribute(std::string_view name, int64_t otherwise) {
  const auto* attribute = find(name, AttributeProto::INT);
  return attribute != nullptr ? attribute->i() : otherwise;
}

double NodeImport::float_attribute(std::string_view name, double otherwise) {
  const auto* attribute = find(name, AttributeProto::FLOAT);
  return attribute != nullptr ? attribute->f() : otherwise;
}

std::optional<DType> NodeImport::dtype_attribute(std::string_view name, DType otherwise) {
  const auto* attribute = find(name, AttributeProto::INT);
  if (attribute == nullptr) return otherwise;
  if (attribute->i() < 0 || attribute->i() > std::numeric_limits<int>::max()) return std::nullopt;
  return dtype_from_onnx(static_cast<int>(attribute->i()));
}

std::string NodeImport::string_attribute(std::string_view name, std::string_view otherwise) {
  const auto* attribute = find(name, AttributeProto::STRING);
  return attribute != nullptr ? attribute->s() : std::string(otherwise);
}

std::vector<int64_t> NodeImport::ints_attribute(std::string_view name,
                                                std::vector<int64_t> otherwise) {
  const auto* attribute = find(name, AttributeProto::INTS);
  if (attribute == nullptr) return otherwise;
  return {attribute->ints().begin(), attribute->ints().end()};
}

std::vector<double> NodeImport::floats_attribute(std::string_view name,
                                                 std::vector<double> otherwise) {
  const auto* attribute = find(name, AttributeProto::FLOATS);
  if (attribute == nullptr) return otherwise;
  return {attribute->floats().begin(), attribute->floats().end()};
}

std::string NodeImport::strings_attribute(std::string_view name) {
  const auto* attribute = find(name, AttributeProto::STRINGS);
  std::string joined;
  if (attribute == nullptr) return joined;
  for (const std::string& text : attribute->strings()) joined += (joined.empty() ? "" : ",") + text;
  return joined;
}

Result<Tensor> NodeImport::tensor_attribute(std::string_view name) {
  const auto* attribute = find(name, AttributeProto::TENSOR);
  if (attribute == nullptr || !attribute->has_t()) {
    return invalid("attribute '{}' (a tensor) is missing", name);
  }
  return read_tensor(attribute->t(), storage_, external_,
                     fmt::format("{}attribute '{}'", prefix(), name));
}

Result<Tensor> NodeImport::sparse_attribute(std::string_view name) {
  const auto* attribute = find(name, AttributeProto::SPARSE_TENSOR);
  if (attribute == nullptr || !attribute->has_sparse_tensor()) {
    return invalid("attribute '{}' (a sparse tensor) is missing", name);
  }
  return read_sparse_tensor(attribute->sparse_tensor(), storage_, external_,
                            fmt::format("{}attribute '{}'", prefix(), name));
}

const onnx_proto::GraphProto* NodeImport::body(std::string_view attribute) const {
  const AttributeProto* found = find(attribute);
  return found != nullptr && found->has_g() ? &found->g() : nullptr;
}

Result<std::vector<ValueId>> NodeImport::import_body(std::string_view attribute,
                                                     const std::vector<ValueId>& inputs) {
  const onnx_proto::GraphProto* proto = body(attribute);
  if (proto == nullptr) return invalid("attribute '{}' (a graph) is missing", attribute);
  if (proto->input_size() != static_cast<int>(inputs.size())) {
    return invalid("attribute '{}' takes {} values and is given {}", attribute, proto->input_size(),
                   inputs.size());
  }
  const size_t first = graph.nodes.size();
  auto outputs = body_import_(*proto, inputs);
  bodies_.emplace_back(first, graph.nodes.size());
  return outputs;
}

bool NodeImport::is_of_body(size_t node) const {
  return std::any_of(bodies_.begin(), bodies_.end(), [node](const auto& range) {
    return node >= range.first && node < range.second;
  });
}

void NodeImport::set_output(int i, ValueId value) {
  if (i < num_outputs()) outputs_[i] = value;
}

std::string NodeImport::prefix() const {
  std::string inputs;
  constexpr int kMaxInputs = 6;
  for (int i = 0; i < num_inputs() && i < kMaxInputs; ++i) {
    inputs += i == 0 ? ", inputs " : ", ";
    if (!has(i)) {
      inputs += "none";
      continue;
    }
    inputs += fmt::format("{} {}", to_string(dtype(input(i))), to_string(shape(input(i))));
  }
  if (num_inputs() > kMaxInputs) inputs += ", ...";
  return fmt::format("node '{}' ({}, opset {}{}): ", name_, op_type(), opset_, inputs);
}

std::vector<ValueId> inputs_behind(const graph::Graph& graph, ValueId value) {
  std::vector<bool> seen(graph.values.size());
  std::vector<ValueId> open = {value}, inputs;
  while (!open.empty()) {
    const ValueId next = open.back();
    open.pop_back();
    if (seen[next]) continue;
    seen[next] = true;
    const graph::Node& producer = graph.producer(next);
    open.insert(open.end(), producer.inputs.begin(), producer.inputs.end());
    if (std::holds_alternative<graph::Input>(producer.op)) inputs.push_back(next);
  }
  return inputs;
}

bool may_decide_shapes(const graph::Value& input) {
  constexpr int64_t kMostIntegers = 1024, kMostFloats = 16;
  return input.shape.size() <= 1 &&
         num_elems(input.shape) <= (is_float(input.dtype) ? kMostFloats : kMostIntegers);
}

std::string describe_data(const graph::Graph& graph, ValueId value) {
  constexpr int64_t kMostGiven = 64;  // elements that somebody would type
  constexpr size_t kMostNamed = 4;
  std::vector<std::string> names, options;
  bool can_be_given = true;
  for (const ValueId behind : inputs_behind(graph, value)) {
    const graph::Value& input = graph.values[behind];
    names.push_back(fmt::format("'{}'", input.name));
    options.push_back(fmt::format("--constant {}=VALUE", input.name));
    can_be_given = can_be_given && num_elems(input.shape) <= kMostGiven;
  }
  if (names.empty()) return "a value that is computed too late, when the model runs";
  const bool is_one = names.size() == 1;
  const bool too_many = names.size() > kMostNamed;
  if (too_many) names.resize(kMostNamed);
  std::string text =
      fmt::format("the {} of {} {}{}", can_be_given && is_one ? "value" : "values",
                  is_one ? "input" : "inputs", fmt::join(names, ", "), too_many ? ", ..." : "");
  if (!can_be_given || too_many) {
    return text + "; only what can be computed from the model and the input shapes is supported";
  }
  return text + fmt::format("; make {} ({}; option 'constant' of a session)",
                            is_one ? "it a constant" : "them constants", fmt::join(options, " "));
}

std::span<const Operator> all_operators() {
  static const auto table = [] {
    std::vector<Operator> all;
    for (auto group : {convolution_operators(),
                       pooling_operators(),
                       matmul_operators(),
                       elementwise_operators(),
                       activation_operators(),
                       reduction_operators(),
                       random_operators(),
                       gather_quantized_operators(),
                       normalization_operators(),
                       shape_operators(),
                       view_operators(),
                       indexing_operators(),
                       resize_operators(),
                       sampling_operators(),
                       attention_operators(),
                       loop_operators(),
                       quantization_operators(),
                       recurrence_operators(),
                       routine_operators(),
                       loss_operators(),
                       signal_operators(),
                       state_operators(),
                       patch_operators(),
                       skip_normalization_operators(),
                       microsoft_attention_operators(),
                       group_query_attention_operators(),
                       machine_learning_operators(),
                       tree_ensemble_operators(),
                       support_vector_operators(),
                       region_operators(),
                       quantized_operators(),
                       term_count_operators()}) {
      all.insert(all.end(), group.begin(), group.end());
    }
    std::sort(all.begin(), all.end(), [](const Operator& a, const Operator& b) {
      return std::pair(a.name, a.since) < std::pair(b.name, b.since);
    });
    return all;
  }();
  return table;
}

std::span<const Operator> find_operator(std::string_view domain, std::string_view name) {
  const bool is_default = domain.empty() || domain == "ai.onnx";
  const std::string full_name = is_default ? "" : fmt::format("{}.{}", domain, name);
  if (!is_default) name = full_name;
  auto named = std::ranges::equal_range(all_operators(), name, {}, &Operator::name);
  return {named.begin(), named.end()};
}

const Operator* find_operator(std::string_view domain, std::string_view name, int64_t opset) {
  for (const Operator& entry : find_operator(domain, name)) {
    if (opset >= entry.since && opset <= entry.until) return &entry;
  }
  return nullptr;
}

const std::vector<SupportedOperator>& supported_operators() {
  static const std::vector<SupportedOperator> list = [] {
    std::vector<SupportedOperator> all;
    for (const Operator& entry : all_operators()) {
      all.push_back({std::string(entry.name), entry.since, entry.until,
                     std::string(input_types_in_words(entry.name, entry.since))});
    }
    return all;
  }();
  return list;
}

}  // namespace corf::onnx
