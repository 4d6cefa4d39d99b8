#include "rewrite/multiply_by_inverse_roots.h"

#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Compute;
using graph::Graph;
using graph::ScalarOp;

TEST(MultiplyByInverseRoots, OfFewerElements) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {4, 6});
  const auto v = graph.add_input("v", DType::kF32, {4, 1});
  const auto root = unary(graph, ScalarOp::kSqrt, unary(graph, ScalarOp::kAbs, v));
  set_output(graph, binary(graph, ScalarOp::kDiv, x, root));
  const Graph after = apply(multiply_by_inverse_roots, graph);
  const auto& product = std::get<Compute>(after.producer(after.outputs[0]).op);
  EXPECT_EQ(product.body.nodes.back().op, ScalarOp::kMul);
  EXPECT_EQ(count_nodes<Compute>(after), 3);
  expect_same_results(graph, after);
}

TEST(MultiplyByInverseRoots, NotOfAsManyElements) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {4, 6});
  const auto root = unary(graph, ScalarOp::kSqrt, unary(graph, ScalarOp::kAbs, x));
  set_output(graph, binary(graph, ScalarOp::kDiv, x, root));
  const Graph after = apply(multiply_by_inverse_roots, graph);
  const auto& quotient = std::get<Compute>(after.producer(after.outputs[0]).op);
  EXPECT_EQ(quotient.body.nodes.back().op, ScalarOp::kDiv);
}

TEST(MultiplyByInverseRoots, NotBeforeSteps) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {4, 6});
  const auto root = unary(graph, ScalarOp::kSqrt, graph.add_input("v", DType::kF32, {4, 1}));
  const auto quotient = binary(graph, ScalarOp::kDiv, x, root);
  set_output(graph, unary(graph, ScalarOp::kRoundEven, quotient));
  EXPECT_EQ(structure_text(apply(multiply_by_inverse_roots, graph)), structure_text(graph));
}

}  // namespace
}  // namespace corf::rewrite
