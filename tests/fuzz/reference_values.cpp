#include "tests/fuzz/reference_values.h"

#include <cmath>
#include <fmt/format.h>

#include "graph/evaluate.h"

namespace corf::fuzz {
namespace {

/// What a model computes is a matter of a millisecond.
constexpr int64_t kMostPoints = 100000, kMostNodes = 48;

/// How far apart the compiled model and the reference may be. Roundings grow with the largest
/// intermediate; where one is infinite or no number, anything may follow.
std::optional<double> tolerance(const std::vector<Tensor>& values, const graph::Graph& graph) {
  double largest = 1, unit = 1e-4;
  for (size_t i = 0; i < values.size(); ++i) {
    const DType dtype = graph.values[i].dtype;
    if (dtype == DType::kF16) unit = std::max(unit, 1e-2);
    if (dtype == DType::kBF16) unit = std::max(unit, 5e-2);
    if (!is_float(dtype)) continue;
    for (int64_t k = 0; k < values[i].num_elems(); ++k) {
      const double value = std::fabs(values[i].at_f64(k));
      if (!(value < (dtype == DType::kF16 ? 1e4 : 1e15))) return std::nullopt;
      largest = std::max(largest, value);
    }
  }
  return unit * largest;
}

bool has_floats(const graph::Graph& graph) {
  return std::any_of(graph.values.begin(), graph.values.end(),
                     [](const graph::Value& value) { return is_float(value.dtype); });
}

/// `values`: operator by operator in their types; `exact`: in float64. What is no more than twice
/// as far off as the former is right too: some functions (a tangent near its pole) make any
/// rounding a large error. Where the former is off by a tenth of the largest value, roundings
/// decide (the logarithm of a sum that is 0 but for them), and anything is right. Discrete results
/// of inexact numbers are not compared: a rounding decides them.
Finding differing_element(const graph::Graph& graph, const std::vector<Tensor>& values,
                          const std::vector<Tensor>& exact, double bound,
                          const std::vector<Tensor>& actual) {
  constexpr double kDetermined = 1e3;
  const bool integers = !has_floats(graph);
  for (size_t i = 0; i < actual.size(); ++i) {
    const Tensor &want = values[graph.outputs[i]], &true_value = exact[graph.outputs[i]];
    const bool floats = is_float(actual[i].dtype());
    if (!floats && !integers) continue;
    auto is_near = [&](int64_t k) {
      const double stepwise = want.at_f64(k), got = actual[i].at_f64(k);
      if (std::fabs(stepwise - got) <= bound) return true;
      const double error = std::fabs(stepwise - true_value.at_f64(k));
      if (!(error <= kDetermined * bound)) return true;
      return std::fabs(got - true_value.at_f64(k)) <= 2 * error + bound;
    };
    for (int64_t k = 0; k < want.num_elems(); ++k) {
      if (floats ? is_near(k) : want.at_i64(k) == actual[i].at_i64(k)) continue;
      return fmt::format("output {}, element {} is {} instead of {}", graph.output_names[i], k,
                         actual[i].at_f64(k), want.at_f64(k));
    }
  }
  return "";
}

}  // namespace

ModelChoices choices_of_runs() {
  ModelChoices how;
  how.most_nodes = 3;
  how.most_elems = 128;
  how.odd_of_256 = 8;
  how.any_opset = false;
  return how;
}

bool is_small(const graph::Graph& graph) {
  int64_t points = 0;
  for (const graph::Node& node : graph.nodes) {
    const auto* compute = std::get_if<graph::Compute>(&node.op);
    if (!compute) continue;
    int64_t own = 1;
    for (const index::Axis& axis : compute->space.axes) own *= std::max<int64_t>(axis.extent, 1);
    points += own;
  }
  return points <= kMostPoints && static_cast<int64_t>(graph.nodes.size()) <= kMostNodes;
}

std::vector<Tensor> inputs_of(const graph::Graph& graph, Choices& choices) {
  std::vector<Tensor> inputs;
  uint64_t state = choices.below(256);
  for (graph::ValueId id : graph.inputs) {
    const graph::Value& value = graph.values[id];
    Tensor tensor(value.dtype, value.shape);
    const bool no_sign = value.dtype == DType::kBool || is_unsigned_integer(value.dtype);
    for (int64_t i = 0; i < tensor.num_elems(); ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      const auto small = static_cast<int64_t>(state >> 60) % 5 - (no_sign ? 0 : 2);
      if (is_float(value.dtype)) {
        tensor.set_f64(i, double(small));
      } else {
        tensor.set_i64(i, value.dtype == DType::kBool ? small & 1 : small);
      }
    }
    inputs.push_back(std::move(tensor));
  }
  return inputs;
}

Finding difference(const graph::Graph& graph, const std::vector<Tensor>& inputs,
                   const std::vector<Tensor>& outputs) {
  // Operator by operator in its own types: which of two neighbours a tie is rounded to, and whether
  // a small number's square is something, depends on them.
  const auto expected =
      graph::evaluate_all(graph, inputs, {.round_to_dtype = true, .round_operations = true});
  if (!expected) return "";
  const auto exact = graph::evaluate_all(graph, inputs, {});
  if (!exact) return "";
  const std::optional<double> bound = tolerance(*expected, graph);
  return bound ? differing_element(graph, *expected, *exact, *bound, outputs) : "";
}

}  // namespace corf::fuzz
