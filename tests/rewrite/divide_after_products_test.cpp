#include "rewrite/divide_after_products.h"

#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Combiner;
using graph::Compute;
using graph::Graph;
using graph::ScalarOp;
using graph::ValueId;

/// The producer of the last output.
const Compute& last_compute(const Graph& graph) {
  return std::get<Compute>(graph.producer(graph.outputs.back()).op);
}

/// A softmax along the last dimension; without `shift` the powers may be of any size.
ValueId normalised(Graph& graph, ValueId x, bool shift = true) {
  const auto last = static_cast<int>(graph.values[x].shape.size()) - 1;
  const ValueId most = graph::reduce(graph, "max", x, Combiner::kMax, {last}, true);
  const ValueId power =
      unary(graph, ScalarOp::kExp, shift ? binary(graph, ScalarOp::kSub, x, most) : x);
  const ValueId sums = graph::reduce(graph, "sum", power, Combiner::kSum, {last}, true);
  return binary(graph, ScalarOp::kDiv, power, sums);
}

TEST(DivideAfterProducts, OfASoftmaxAndFewerColumns) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {2, 5, 16});
  const ValueId v = graph.add_input("v", DType::kF32, {2, 16, 3});
  set_output(graph, graph::matmul(graph, "product", normalised(graph, x), v));
  const Graph after = apply(divide_after_products, graph);
  EXPECT_EQ(last_compute(after).body.nodes.back().op, ScalarOp::kDiv);
  EXPECT_EQ(last_compute(after).combiner, Combiner::kNone);
  EXPECT_EQ(count_nodes<Compute>(after), 6);
  expect_same_results(graph, after);
}

TEST(DivideAfterProducts, MultipliesManyColumnsByTheInverse) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {2, 5, 16});
  const ValueId v = graph.add_input("v", DType::kF32, {2, 16, 8});
  set_output(graph, graph::matmul(graph, "product", normalised(graph, x), v));
  const Graph after = apply(divide_after_products, graph);
  EXPECT_EQ(last_compute(after).body.nodes.back().op, ScalarOp::kMul);
  EXPECT_EQ(last_compute(after).combiner, Combiner::kNone);
  EXPECT_EQ(count_nodes<Compute>(after), 7);
  expect_same_results(graph, after);
}

TEST(DivideAfterProducts, OtherSoftmaxesMultiplyByTheInverse) {
  for (int64_t columns : {4, 16}) {
    Graph graph;
    set_output(graph, normalised(graph, graph.add_input("x", DType::kF32, {5, columns})));
    const Graph after = apply(divide_after_products, graph);
    const ScalarOp op = columns == 16 ? ScalarOp::kMul : ScalarOp::kDiv;
    EXPECT_EQ(last_compute(after).body.nodes.back().op, op);
    expect_same_results(graph, after);
  }
}

TEST(DivideAfterProducts, NotOfMoreColumns) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {5, 4});
  const ValueId v = graph.add_input("v", DType::kF32, {4, 7});
  set_output(graph, graph::matmul(graph, "product", normalised(graph, x), v));
  EXPECT_EQ(last_compute(apply(divide_after_products, graph)).combiner, Combiner::kSum);
}

TEST(DivideAfterProducts, NotOfPowersOfAnySize) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {5, 16});
  const ValueId v = graph.add_input("v", DType::kF32, {16, 3});
  set_output(graph, graph::matmul(graph, "product", normalised(graph, x, false), v));
  EXPECT_EQ(last_compute(apply(divide_after_products, graph)).combiner, Combiner::kSum);
  Graph alone;
  set_output(alone, normalised(alone, alone.add_input("x", DType::kF32, {5, 16}), false));
  const Graph after = apply(divide_after_products, alone);
  EXPECT_EQ(last_compute(after).body.nodes.back().op, ScalarOp::kDiv);
}

TEST(DivideAfterProducts, NotWhereTheQuotientIsReadElsewhere) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {5, 16});
  const ValueId v = graph.add_input("v", DType::kF32, {16, 3});
  const ValueId quotient = normalised(graph, x);
  set_output(graph, quotient);
  set_output(graph, graph::matmul(graph, "product", quotient, v));
  EXPECT_EQ(last_compute(apply(divide_after_products, graph)).combiner, Combiner::kSum);
}

TEST(DivideAfterProducts, NotByOtherDivisorsOrAlongOtherAxes) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {16, 16});
  const ValueId v = graph.add_input("v", DType::kF32, {16, 3});
  const ValueId power = unary(graph, ScalarOp::kExp, x);
  const ValueId columns = graph::reduce(graph, "sum", power, Combiner::kSum, {0}, true);
  const ValueId of_columns = binary(graph, ScalarOp::kDiv, power, columns);
  set_output(graph, graph::matmul(graph, "product", of_columns, v));
  EXPECT_EQ(last_compute(apply(divide_after_products, graph)).combiner, Combiner::kSum);

  Graph other;
  const ValueId a = other.add_input("a", DType::kF32, {5, 16});
  const ValueId s = other.add_input("s", DType::kF32, {5, 1});
  const ValueId b = other.add_input("b", DType::kF32, {16, 3});
  set_output(other, graph::matmul(other, "product", binary(other, ScalarOp::kDiv, a, s), b));
  EXPECT_EQ(last_compute(apply(divide_after_products, other)).combiner, Combiner::kSum);
}

}  // namespace
}  // namespace corf::rewrite
