#pragma once
#include <gtest/gtest.h>
#include <random>

#include "graph/evaluate.h"
#include "graph/operators.h"
#include "graph/text.h"

namespace corf::graph {

/// Small integers as floats, so that sums are exact in any order.
inline Tensor random_tensor(DType dtype, const Shape& shape, std::mt19937& random) {
  Tensor tensor(dtype, shape);
  for (int64_t i = 0; i < tensor.num_elems(); ++i) {
    tensor.set_f64(i, static_cast<double>(static_cast<int>(random() % 11) - 5));
  }
  return tensor;
}

/// The graph's only output for the inputs, having checked the graph.
inline Tensor evaluated(Graph graph, ValueId output, const std::vector<Tensor>& inputs,
                        const EvaluateOptions& options = {}) {
  graph.outputs = {output};
  graph.output_names = {"y"};
  Status status = verify(graph);
  EXPECT_TRUE(status.ok()) << status.error().message << "\n" << to_string(graph);
  auto result = evaluate(graph, inputs, options);
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return result.ok() ? (*result)[0] : Tensor(DType::kF64, graph.values[output].shape);
}

inline void expect_elems(const Tensor& tensor, const std::vector<double>& expected) {
  ASSERT_EQ(tensor.num_elems(), static_cast<int64_t>(expected.size()));
  for (int64_t i = 0; i < tensor.num_elems(); ++i) {
    EXPECT_EQ(tensor.at_f64(i), expected[i]) << "element " << i;
  }
}

}  // namespace corf::graph
