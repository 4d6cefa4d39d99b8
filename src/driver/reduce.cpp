#include "driver/reduce.h"

#include <algorithm>
#include <map>
#include <set>

#include "graph/evaluate.h"
#include "graph/evaluate_view.h"
#include "onnx/extract.h"

namespace corf::driver {
namespace {

using Nodes = std::set<size_t>;  // positions

/// Integers that follow from shapes alone would decide shapes as inputs, where none may.
constexpr int64_t kMostShapeElems = 1024;

Tensor in_type(const Tensor& tensor, DType dtype) {
  return tensor.dtype() == dtype ? tensor : graph::converted(tensor, dtype);
}

/// Every value of the model that the reference computes, in its own type.
Result<onnx::KnownValues> evaluate_values(const graph::Graph& graph,
                                          const std::vector<Tensor>& inputs,
                                          const CompileOptions& options) {
  graph::EvaluateOptions evaluating;
  evaluating.threads = std::max(options.threads, 1);
  CORF_ASSIGN(const std::vector<Tensor> tensors, graph::evaluate_all(graph, inputs, evaluating));
  std::set<graph::ValueId> constants;
  for (const graph::Node& node : graph.nodes) {
    if (std::holds_alternative<graph::Constant>(node.op)) {
      constants.insert(node.outputs.begin(), node.outputs.end());
    }
  }
  onnx::KnownValues values;
  for (size_t id = 0; id < tensors.size(); ++id) {
    const graph::Value& value = graph.values[static_cast<graph::ValueId>(id)];
    if (tensors[id].empty() && num_elems(value.shape) > 0) continue;
    const bool decides_shapes = !is_float(value.dtype) && num_elems(value.shape) <= kMostShapeElems;
    values[value.name] = {in_type(tensors[id], value.dtype),
                          decides_shapes || constants.contains(static_cast<graph::ValueId>(id))};
  }
  // Inputs of the model stay inputs, whatever they are.
  for (const graph::ValueId id : graph.inputs) values[graph.values[id].name].is_constant = false;
  return values;
}

class Reduction {
 public:
  Reduction(const onnx::Model& model, onnx::KnownValues values, const CompileOptions& options)
      : model_(model),
        nodes_(onnx::nodes_of(model)),
        values_(std::move(values)),
        options_(options) {
    options_.shapes.clear();
    options_.values.clear();
    options_.plan_text.reset();
    options_.plan_cache_dir.clear();
    for (size_t i = 0; i < nodes_.size(); ++i) {
      for (const std::string& name : nodes_[i].writes) writer_[name] = i;
    }
  }

  Result<std::optional<Reproduction>> run() {
    const std::optional<size_t> last = first_wrong_node();
    if (!last) return std::optional<Reproduction>();
    const Nodes cone = behind(*last);
    Nodes part;
    // The nodes nearest to the wrong one, as many as are needed.
    for (size_t count = 1;; count *= 2) {
      part = closed(
          {std::next(cone.rbegin(), static_cast<std::ptrdiff_t>(std::min(count, cone.size())))
               .base(),
           cone.end()});
      if (is_wrong(part, *last)) break;
      if (count >= cone.size()) return std::optional<Reproduction>();
    }
    for (const size_t node : Nodes(part)) {
      if (node == *last) continue;
      Nodes without = part;
      without.erase(node);
      without = closed(needed(without, *last));
      if (without.size() < part.size() && is_wrong(without, *last)) part = std::move(without);
    }
    return write(part, *last);
  }

 private:
  bool is_known(const std::string& name) const {
    return values_.contains(name) || onnx::is_initializer(model_, name);
  }

  std::vector<std::string> results_of(size_t node) const {
    std::vector<std::string> names;
    for (const std::string& name : nodes_[node].writes) {
      if (values_.contains(name)) names.push_back(name);
    }
    return names;
  }

  /// All nodes that `last` depends on, and itself.
  Nodes behind(size_t last) const {
    Nodes all;
    for (size_t i = 0; i <= last; ++i) all.insert(i);
    return needed(all, last);
  }

  /// Those of `part` that `last` depends on within it.
  Nodes needed(const Nodes& part, size_t last) const {
    Nodes found, open{last};
    while (!open.empty()) {
      const size_t node = *open.begin();
      open.erase(open.begin());
      if (!found.insert(node).second) continue;
      for (const std::string& name : nodes_[node].reads) {
        const auto writer = writer_.find(name);
        if (writer != writer_.end() && part.contains(writer->second)) open.insert(writer->second);
      }
    }
    return found;
  }

  /// With the nodes whose results are not known apart from them.
  Nodes closed(Nodes part) const {
    Nodes open = part;
    while (!open.empty()) {
      const size_t node = *open.begin();
      open.erase(open.begin());
      for (const std::string& name : nodes_[node].reads) {
        const auto writer = writer_.find(name);
        if (is_known(name) || writer == writer_.end()) continue;
        if (part.insert(writer->second).second) open.insert(writer->second);
      }
    }
    return part;
  }

  /// The inputs of the part's model, in its order.
  std::vector<Tensor> inputs_of(const onnx::Model& part) const {
    std::vector<Tensor> inputs;
    for (const onnx::ModelTensor& input : part.inputs()) {
      inputs.push_back(values_.at(input.name).tensor);
    }
    return inputs;
  }

  /// A part that cannot be compiled shows nothing.
  bool is_wrong(const Nodes& nodes, size_t last) const {
    auto bytes = onnx::extract(model_, nodes, values_, results_of(last));
    if (!bytes.ok()) return false;
    auto part = onnx::parse_model(bytes->data(), bytes->size());
    if (!part.ok()) return false;
    auto comparison = compare(**part, inputs_of(**part), options_);
    return comparison.ok() &&
           std::any_of(comparison->outputs.begin(), comparison->outputs.end(),
                       [](const ComparedValue& value) { return !value.within_bounds; });
  }

  /// By bisection: a node whose result is off in a model that ends with it, while that of one
  /// before is not.
  std::optional<size_t> first_wrong_node() const {
    std::optional<size_t> wrong;
    for (const onnx::ModelTensor& output : model_.outputs()) {
      const auto writer = writer_.find(output.name);
      if (writer == writer_.end() || (wrong && *wrong <= writer->second)) continue;
      if (is_wrong(behind(writer->second), writer->second)) wrong = writer->second;
    }
    if (!wrong) return wrong;
    const Nodes cone = behind(*wrong);
    const std::vector<size_t> order(cone.begin(), cone.end());
    size_t right = 0, off = order.size();  // of the first nodes, so many are right, or off
    while (off - right > 1) {
      const size_t middle = (right + off) / 2;
      const size_t node = order[middle - 1];
      const bool shows = !results_of(node).empty() && is_wrong(behind(node), node);
      (shows ? off : right) = middle;
    }
    return order[off - 1];
  }

  Result<std::optional<Reproduction>> write(const Nodes& nodes, size_t last) const {
    Reproduction found;
    found.num_nodes = nodes.size();
    CORF_ASSIGN(found.model, onnx::extract(model_, nodes, values_, results_of(last)));
    CORF_ASSIGN(const auto part, onnx::parse_model(found.model.data(), found.model.size()));
    for (const onnx::ModelTensor& input : part->inputs()) {
      found.inputs.emplace_back(input.name, values_.at(input.name).tensor);
    }
    CompileOptions of_part;
    of_part.random_seed = options_.random_seed;
    CORF_ASSIGN(const graph::Graph graph, import_model(*part, of_part));
    CORF_ASSIGN(const std::vector<Tensor> outputs, graph::evaluate(graph, inputs_of(*part)));
    for (size_t i = 0; i < outputs.size(); ++i) {
      found.outputs.emplace_back(graph.output_names[i],
                                 in_type(outputs[i], graph.values[graph.outputs[i]].dtype));
    }
    return std::optional<Reproduction>(std::move(found));
  }

  const onnx::Model& model_;
  const std::vector<onnx::NodeNames> nodes_;
  const onnx::KnownValues values_;
  CompileOptions options_;
  std::map<std::string, size_t> writer_;
};

}  // namespace

Result<std::optional<Reproduction>> reduce(const onnx::Model& model,
                                           const std::vector<Tensor>& inputs,
                                           const CompileOptions& given) {
  CompileOptions options = given;
  options.random_seed = given.random_seed.value_or(0);
  return within_budget({}, options.cancellation, [&]() -> Result<std::optional<Reproduction>> {
    CORF_ASSIGN(const graph::Graph graph, import_model(model, options));
    CORF_ASSIGN(onnx::KnownValues values, evaluate_values(graph, inputs, options));
    return Reduction(model, std::move(values), options).run();
  });
}

}  // namespace corf::driver
