#include "graph/evaluate.h"

#include <cmath>
#include <new>

#include "graph/evaluate_compute.h"
#include "graph/evaluate_view.h"
#include "graph/opaque.h"

namespace corf::graph {
namespace {

// Sums below this are exact in float32 in any order, if their terms are integers.
constexpr double kExactLimit = 0x1p24;

/// The type in which a computed value is kept.
DType storage_dtype(DType dtype, const EvaluateOptions& options) {
  return is_float(dtype) && !options.round_to_dtype ? DType::kF64 : dtype;
}

Error not_exact(const Node& node, double magnitude) {
  return make_error(ErrorCode::kInternal,
                    "node '{}' ({}): a sum of absolute values reaches {}, beyond 2^24: not every "
                    "order of summation is exact in float32",
                    node.name, node.origin, magnitude);
}

double largest_magnitude(const Tensor& tensor) {
  double largest = 0;
  for (int64_t i = 0; i < tensor.num_elems(); ++i) {
    largest = std::fmax(largest, std::fabs(tensor.at_f64(i)));
  }
  return largest;
}

Status check_exact(const Node& node, const Compute& compute, const std::vector<Tensor>& inputs,
                   const EvaluateOptions& options, const Tensor& output) {
  if (!is_float(compute.body.result_dtype())) return {};
  double largest = 0;
  if (compute.combiner == Combiner::kSum) {
    Tensor sums(DType::kF64, output.shape());
    evaluate_compute(compute, inputs, true, options, sums);
    largest = largest_magnitude(sums);
  }
  for (const ScalarNode& scalar : compute.body.nodes) {
    if (scalar.op == ScalarOp::kAdd || scalar.op == ScalarOp::kSub) {
      largest = std::fmax(largest, largest_magnitude(output));
    }
  }
  if (largest >= kExactLimit) return not_exact(node, largest);
  return {};
}

/// Inputs are of the values' shapes and types (or f64 for floats).
Result<std::vector<Tensor>> run_node(const Graph& graph, const Node& node,
                                     const std::vector<Tensor>& inputs,
                                     const EvaluateOptions& options) {
  if (const auto* constant = std::get_if<Constant>(&node.op)) {
    return std::vector<Tensor>{constant->tensor};
  }
  if (const auto* view = std::get_if<View>(&node.op)) {
    Tensor result = evaluate_view(*view, inputs, graph.values[node.outputs[0]].shape);
    return std::vector<Tensor>{std::move(result)};
  }
  if (const auto* compute = std::get_if<Compute>(&node.op)) {
    const Value& value = graph.values[node.outputs[0]];
    Tensor output(storage_dtype(value.dtype, options), value.shape);
    evaluate_compute(*compute, inputs, false, options, output);
    if (options.assert_exact_f32) {
      CORF_RETURN_IF_ERROR(check_exact(node, *compute, inputs, options, output));
    }
    return std::vector<Tensor>{std::move(output)};
  }
  if (std::holds_alternative<Opaque>(node.op)) return evaluate_opaque(graph, node, inputs, options);
  return make_error(ErrorCode::kInvalidArgument, "input '{}' cannot be evaluated: hand in a tensor",
                    node.name);
}

Status check_tensor(const Value& value, const Tensor& tensor) {
  bool wide = is_float(value.dtype) && tensor.dtype() == DType::kF64;
  if (tensor.empty() || (tensor.dtype() != value.dtype && !wide) || tensor.shape() != value.shape) {
    return make_error(ErrorCode::kInvalidArgument, "'{}' takes {} {}, but was given {} {}",
                      value.name, to_string(value.dtype), corf::to_string(value.shape),
                      to_string(tensor.dtype()), corf::to_string(tensor.shape()));
  }
  return {};
}

Result<std::vector<Tensor>> run_graph(const Graph& graph, const std::vector<Tensor>& inputs,
                                      const EvaluateOptions& options, bool keep_all) {
  if (inputs.size() != graph.inputs.size()) {
    return make_error(ErrorCode::kInvalidArgument, "the graph has {} inputs, but {} were given",
                      graph.inputs.size(), inputs.size());
  }
  std::vector<Tensor> values(graph.values.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    CORF_RETURN_IF_ERROR(check_tensor(graph.values[graph.inputs[i]], inputs[i]));
    values[graph.inputs[i]] = inputs[i];
  }
  // Values are dropped after their last reader: whole networks in float64 must fit the memory.
  std::vector<size_t> last_reader(graph.values.size());
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (ValueId input : graph.nodes[n].inputs) last_reader[input] = n;
    for (ValueId output : graph.nodes[n].outputs) last_reader[output] = n;
  }
  for (ValueId output : graph.outputs) last_reader[output] = graph.nodes.size();
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (!std::holds_alternative<Input>(node.op)) {
      std::vector<Tensor> arguments;
      for (ValueId input : node.inputs) arguments.push_back(values[input]);
      CORF_ASSIGN(auto results, run_node(graph, node, arguments, options));
      for (size_t i = 0; i < results.size(); ++i) values[node.outputs[i]] = std::move(results[i]);
    }
    if (keep_all) continue;
    for (const auto* ids : {&node.inputs, &node.outputs}) {
      for (ValueId id : *ids) {
        if (last_reader[id] <= n) values[id] = Tensor();
      }
    }
  }
  return values;
}

/// Runs out of memory as an error, not as an exception: sizes come from the model.
template <typename Function>
Result<std::vector<Tensor>> without_exceptions(const Function& function) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return make_error(ErrorCode::kOutOfMemory, "the model's values do not fit into the memory");
  }
}

}  // namespace

Result<std::vector<Tensor>> evaluate(const Graph& graph, const std::vector<Tensor>& inputs,
                                     const EvaluateOptions& options) {
  return without_exceptions([&]() -> Result<std::vector<Tensor>> {
    CORF_ASSIGN(auto values, run_graph(graph, inputs, options, false));
    std::vector<Tensor> outputs;
    for (ValueId id : graph.outputs) {
      DType dtype = storage_dtype(graph.values[id].dtype, options);
      outputs.push_back(is_float(dtype) ? converted(values[id], dtype) : values[id]);
    }
    return outputs;
  });
}

Result<std::vector<Tensor>> evaluate_all(const Graph& graph, const std::vector<Tensor>& inputs,
                                         const EvaluateOptions& options) {
  return without_exceptions([&] { return run_graph(graph, inputs, options, true); });
}

Result<std::vector<Tensor>> evaluate_node(const Graph& graph, const Node& node,
                                          const std::vector<Tensor>& inputs,
                                          const EvaluateOptions& options) {
  if (inputs.size() != node.inputs.size()) {
    return make_error(ErrorCode::kInvalidArgument, "node '{}' has {} inputs, but {} were given",
                      node.name, node.inputs.size(), inputs.size());
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    CORF_RETURN_IF_ERROR(check_tensor(graph.values[node.inputs[i]], inputs[i]));
  }
  return without_exceptions([&]() -> Result<std::vector<Tensor>> {
    CORF_ASSIGN(auto outputs, run_node(graph, node, inputs, options));
    for (size_t i = 0; i < outputs.size(); ++i) {
      DType dtype = storage_dtype(graph.values[node.outputs[i]].dtype, options);
      if (is_float(dtype)) outputs[i] = converted(outputs[i], dtype);
    }
    return outputs;
  });
}

}  // namespace corf::graph
