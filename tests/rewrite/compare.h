#pragma once
#include <algorithm>
#include <gtest/gtest.h>
#include <random>
#include <string>

#include "graph/evaluate.h"
#include "graph/operators.h"
#include "graph/text.h"

/// What the tests of rewrites share: small graphs, random data, and the comparison of a graph's
/// results before and after.
namespace corf::rewrite {

inline Tensor random_tensor(Shape shape, uint32_t seed, double low = -1, double high = 1) {
  Tensor tensor(DType::kF32, std::move(shape));
  std::mt19937 generator(seed);
  std::uniform_real_distribution<double> values(low, high);
  for (int64_t i = 0; i < tensor.num_elems(); ++i) tensor.set_f64(i, values(generator));
  return tensor;
}

inline Tensor scalar(float value) {
  return make_tensor<float>({}, std::span<const float>(&value, 1));
}

inline graph::ValueId unary(graph::Graph& graph, graph::ScalarOp op, graph::ValueId x) {
  return graph::elementwise(graph, std::string(graph::to_string(op)), {x},
                            [&](graph::ScalarBody& body, const std::vector<int>& args) {
                              return body.apply(op, args[0]);
                            });
}

inline graph::ValueId binary(graph::Graph& graph, graph::ScalarOp op, graph::ValueId a,
                             graph::ValueId b) {
  return graph::elementwise(graph, std::string(graph::to_string(op)), {a, b},
                            [&](graph::ScalarBody& body, const std::vector<int>& args) {
                              return body.apply(op, args[0], args[1]);
                            });
}

inline graph::ValueId with_constant(graph::Graph& graph, graph::ScalarOp op, graph::ValueId a,
                                    float b) {
  return binary(graph, op, a, graph.add_constant("c", scalar(b)));
}

inline graph::Window window(int64_t kernel, int64_t stride = 1, int64_t pad = 0) {
  return {{kernel, kernel}, {stride, stride}, {1, 1}, {pad, pad}, {pad, pad}};
}

inline void set_output(graph::Graph& graph, graph::ValueId value) {
  graph.outputs.push_back(value);
  graph.output_names.push_back("y" + std::to_string(graph.outputs.size()));
}

inline std::vector<Tensor> random_inputs(const graph::Graph& graph) {
  std::vector<Tensor> inputs;
  for (graph::ValueId input : graph.inputs) {
    inputs.push_back(random_tensor(graph.values[input].shape, 17 + input, -4, 4));
  }
  return inputs;
}

/// Both graphs are sound and compute the same from random inputs; `tolerance` is relative to the
/// largest magnitude of each output.
inline void expect_same_results(const graph::Graph& before, const graph::Graph& after,
                                double tolerance = 1e-6) {
  const Status sound = graph::verify(after);
  ASSERT_TRUE(sound.ok()) << sound.error().message << "\n" << graph::to_string(after);
  const std::vector<Tensor> inputs = random_inputs(before);
  Result<std::vector<Tensor>> expected = graph::evaluate(before, inputs);
  Result<std::vector<Tensor>> actual = graph::evaluate(after, inputs);
  ASSERT_TRUE(expected.ok()) << expected.error().message;
  ASSERT_TRUE(actual.ok()) << actual.error().message;
  ASSERT_EQ(before.output_names, after.output_names);
  ASSERT_EQ(expected->size(), actual->size());
  for (size_t i = 0; i < expected->size(); ++i) {
    const Tensor& a = (*expected)[i];
    const Tensor& b = (*actual)[i];
    ASSERT_EQ(a.shape(), b.shape());
    double largest = 0;
    double difference = 0;
    for (int64_t e = 0; e < a.num_elems(); ++e) {
      largest = std::max(largest, std::abs(a.at_f64(e)));
      difference = std::max(difference, std::abs(a.at_f64(e) - b.at_f64(e)));
    }
    EXPECT_LE(difference, tolerance * std::max(largest, 1e-30)) << graph::to_string(after);
  }
}

/// Applies a pass that is expected to succeed.
template <typename Pass>
graph::Graph apply(Pass pass, const graph::Graph& graph) {
  Result<graph::Graph> result = pass(graph);
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return result.ok() ? *result : graph;
}

/// What a graph computes, and how: its text without names, each constant before its first reader.
inline std::string structure_text(const graph::Graph& graph) {
  graph::Graph result;
  std::vector<graph::ValueId> map(graph.values.size(), -1);
  const auto append = [&](graph::Node node) {
    for (graph::ValueId& input : node.inputs) input = map[input];
    for (graph::ValueId& output : node.outputs) {
      graph::Value value = graph.values[output];
      value.name.clear();
      value.producer = static_cast<graph::NodeId>(result.nodes.size());
      map[output] = static_cast<graph::ValueId>(result.values.size());
      result.values.push_back(std::move(value));
      output = map[output];
    }
    node.name.clear();
    node.origin.clear();
    result.nodes.push_back(std::move(node));
  };
  for (const graph::Node& node : graph.nodes) {
    if (std::holds_alternative<graph::Constant>(node.op)) continue;
    for (graph::ValueId input : node.inputs) {
      if (map[input] < 0) append(graph.producer(input));
    }
    append(node);
  }
  return graph::to_string(result);
}

template <typename Kind>
int64_t count_nodes(const graph::Graph& graph) {
  return std::count_if(graph.nodes.begin(), graph.nodes.end(), [](const graph::Node& node) {
    return std::holds_alternative<Kind>(node.op);
  });
}

}  // namespace corf::rewrite
