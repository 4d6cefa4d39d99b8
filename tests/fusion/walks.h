#pragma once
#include <gtest/gtest.h>

#include "fusion/resolve.h"
#include "fusion/walk_rows.h"
#include "graph/operators.h"

/// What the tests of walks ask of rows, and the convolutions of their graphs.
namespace corf::fusion {

using graph::Combiner;
using graph::Graph;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

inline Tensor ones(const Shape& shape) {
  Tensor tensor(DType::kF32, shape);
  for (int64_t i = 0; i < tensor.num_elems(); ++i) tensor.set_f64(i, 1);
  return tensor;
}

inline StripSchedule stream(int dim, int64_t strip, int64_t partitions = 1) {
  StripSchedule strips;
  strips.stream_dim = dim;
  strips.strip = strip;
  strips.partitions = partitions;
  return strips;
}

/// What the expression is in each strip of a partition.
inline std::vector<int64_t> in_strips(const Walk& walk, const Expr& expr, int64_t part) {
  std::vector<int64_t> values;
  int64_t at[] = {part, 0};
  const int64_t count = index::evaluate(row_expressions(walk).num_strips, at);
  EXPECT_EQ(count, num_strips(walk, part));
  for (; at[1] < count; ++at[1]) values.push_back(index::evaluate(expr, at));
  return values;
}

inline std::vector<int64_t> prev_rows(const Walk& walk, size_t stage, int64_t part = 0) {
  const auto rows = in_strips(walk, row_expressions(walk).stages[stage].prev, part);
  for (size_t t = 0; t < rows.size(); ++t) {
    EXPECT_EQ(rows[t], rows_at(walk, part, static_cast<int64_t>(t))[stage].prev);
  }
  return rows;
}

inline std::vector<int64_t> done_rows(const Walk& walk, size_t stage, int64_t part = 0) {
  const auto rows = in_strips(walk, row_expressions(walk).stages[stage].done, part);
  for (size_t t = 0; t < rows.size(); ++t) {
    EXPECT_EQ(rows[t], rows_at(walk, part, static_cast<int64_t>(t))[stage].done);
  }
  return rows;
}

using Values = std::vector<int64_t>;

inline ValueId conv(Graph& graph, const std::string& name, ValueId x, int64_t outputs,
                    int64_t kernel, int64_t stride, int64_t pad, int64_t groups = 1) {
  const Shape in = graph.values[x].shape;
  const ValueId w =
      graph.add_constant(name + "_w", ones({outputs, in[1] / groups, kernel, kernel}));
  const graph::Window window{{kernel, kernel}, {stride, stride}, {1, 1}, {pad, pad}, {pad, pad}};
  return graph::conv(graph, name, x, w, window, groups);
}

constexpr int kRows = 2;  // dimension of an image's height

}  // namespace corf::fusion
