#include "rewrite/fold_empty_values.h"

#include <cmath>

#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Combiner;
using graph::Graph;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

/// No node but inputs and constants makes or reads a value without elements.
void expect_no_empty_work(const Graph& graph) {
  for (const graph::Node& node : graph.nodes) {
    if (std::holds_alternative<graph::Input>(node.op)) continue;
    if (std::holds_alternative<graph::Constant>(node.op)) continue;
    for (const auto* values : {&node.inputs, &node.outputs}) {
      for (ValueId value : *values) {
        EXPECT_GT(num_elems(graph.values[value].shape), 0) << graph::to_string(graph);
      }
    }
  }
}

double only_element(const Graph& graph) {
  std::vector<Tensor> inputs;
  for (ValueId input : graph.inputs) {
    inputs.emplace_back(graph.values[input].dtype, graph.values[input].shape);
  }
  auto results = graph::evaluate(graph, inputs);
  EXPECT_TRUE(results.ok());
  return results.ok() ? (*results)[0].at_f64(0) : std::nan("");
}

TEST(FoldEmptyValues, ResultsWithoutElementsAreConstants) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {0, 3});
  set_output(graph, unary(graph, ScalarOp::kExp, x));
  const Graph after = apply(fold_empty_values, graph);
  expect_no_empty_work(after);
  expect_same_results(graph, after, 0);
  EXPECT_EQ(after.values[after.outputs[0]].shape, (Shape{0, 3}));
}

TEST(FoldEmptyValues, ReductionsOverNothing) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const std::vector<std::pair<Combiner, double>> expected = {{Combiner::kSum, 0},
                                                             {Combiner::kProduct, 1},
                                                             {Combiner::kMin, kInfinity},
                                                             {Combiner::kMax, -kInfinity}};
  for (const auto& [combiner, value] : expected) {
    for (const DType dtype : {DType::kF32, DType::kI8, DType::kU8, DType::kBool}) {
      if (dtype == DType::kBool && (combiner == Combiner::kSum || combiner == Combiner::kProduct)) {
        continue;
      }
      Graph graph;
      const auto x = graph.add_input("x", dtype, {2, 0, 3});
      set_output(graph, graph::reduce(graph, "r", x, combiner, {1}, false));
      const Graph after = apply(fold_empty_values, graph);
      expect_no_empty_work(after);
      double wanted = value;
      if (std::isinf(value) && dtype == DType::kI8) wanted = value > 0 ? 127 : -128;
      if (std::isinf(value) && dtype == DType::kU8) wanted = value > 0 ? 255 : 0;
      if (std::isinf(value) && dtype == DType::kBool) wanted = value > 0;
      EXPECT_EQ(only_element(after), wanted) << to_string(dtype);
      EXPECT_EQ(only_element(graph), wanted) << to_string(dtype);
    }
  }
}

TEST(FoldEmptyValues, AProductOverNoChannelsIsZero) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {2, 0});
  const auto w = graph.add_constant("w", Tensor(DType::kF32, {0, 4}));
  set_output(graph, graph::matmul(graph, "m", x, w));
  const Graph after = apply(fold_empty_values, graph);
  expect_no_empty_work(after);
  expect_same_results(graph, after, 0);
}

TEST(FoldEmptyValues, ConcatenationsDoWithoutEmptyParts) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {2, 3});
  const auto none = graph.add_input("none", DType::kF32, {2, 0});
  const auto two = graph.add_view("two", graph::Concat{1}, {none, x}, {2, 3});
  const auto three = graph.add_view("three", graph::Concat{1}, {x, none, two}, {2, 6});
  set_output(graph, two);
  set_output(graph, three);
  const Graph after = apply(fold_empty_values, graph);
  expect_no_empty_work(after);
  expect_same_results(graph, after, 0);
  EXPECT_EQ(count_nodes<graph::View>(after), 1);
}

TEST(FoldEmptyValues, WhatIsReadAroundAnEmptyImageIsItsPadding) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {1, 2, 0, 4});
  const auto padded = graph.add_view("p", graph::Pad{{0, 0, 1, 0}, 2.5}, {x}, {1, 2, 2, 4});
  const auto w = graph.add_constant("w", random_tensor({3, 2, 3, 3}, 5));
  graph::Window around = window(3, 1, 1);
  around.pads_begin[0] = 2;
  const auto y = graph::conv(graph, "conv", x, w, around, 1);
  set_output(graph, padded);
  set_output(graph, y);
  const Graph after = apply(fold_empty_values, graph);
  expect_no_empty_work(after);
  expect_same_results(graph, after, 0);
}

/// Hardmax: 1 where the greatest element is, of a value without elements.
TEST(FoldEmptyValues, PlacesThatNothingNeedsAreNoError) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {2, 0});
  const auto place = graph::reduce(graph, "place", x, Combiner::kArgMax, {1}, false);
  graph::Compute hardmax;
  hardmax.space.axes = {{"i", 2, index::AxisKind::kParallel}, {"j", 0, index::AxisKind::kParallel}};
  hardmax.operands.push_back({{{index::Expr::variable(0)}}});
  const int at = hardmax.body.operand(0, DType::kI64);
  hardmax.body.apply(ScalarOp::kEqual, at, hardmax.body.axis_index(1));
  set_output(graph, graph.add_compute("hardmax", std::move(hardmax), {place}));
  const Graph after = apply(fold_empty_values, graph);
  EXPECT_EQ(after.values[after.outputs[0]].shape, (Shape{2, 0}));
}

TEST(FoldEmptyValues, AnElementOfNothingIsAnError) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {0, 3});
  const auto i = graph.add_input("i", DType::kI64, {2});
  set_output(graph, graph::gather(graph, "pick", x, i, 0));
  const auto gathered = fold_empty_values(graph);
  ASSERT_FALSE(gathered.ok());
  EXPECT_NE(gathered.error().message.find("node 'pick'"), std::string::npos);

  Graph positions;
  const auto none = positions.add_input("none", DType::kF32, {2, 0});
  set_output(positions, graph::reduce(positions, "best", none, Combiner::kArgMax, {1}, false));
  const auto greatest = fold_empty_values(positions);
  ASSERT_FALSE(greatest.ok());
  EXPECT_NE(greatest.error().message.find("node 'best'"), std::string::npos);
}

}  // namespace
}  // namespace corf::rewrite
