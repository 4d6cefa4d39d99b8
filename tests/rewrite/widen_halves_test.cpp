#include "rewrite/widen_halves.h"

#include <cmath>

#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Combiner;
using graph::Graph;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

bool is_half(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16; }

constexpr DType kHalves[] = {DType::kF16, DType::kBF16};

ValueId cast(Graph& graph, ValueId x, DType dtype) {
  return graph::elementwise(graph, "cast", {x}, [&](ScalarBody& body, const std::vector<int>& in) {
    return body.cast(in[0], dtype);
  });
}

ValueId times(Graph& graph, ValueId x, double factor) {
  return graph::elementwise(graph, "times", {x}, [&](ScalarBody& body, const std::vector<int>& in) {
    return body.apply(ScalarOp::kMul, in[0], body.constant(factor, body.nodes[in[0]].dtype));
  });
}

Tensor tensor_of(DType dtype, Shape shape, const std::vector<double>& values) {
  Tensor tensor(dtype, std::move(shape));
  for (size_t i = 0; i < values.size(); ++i) tensor.set_f64(static_cast<int64_t>(i), values[i]);
  return tensor;
}

/// Outputs of the widened graph as f32 arithmetic gives them.
std::vector<Tensor> run(const Graph& graph, const std::vector<Tensor>& inputs) {
  const Graph after = apply(widen_halves, graph);
  const Status sound = graph::verify(after);
  EXPECT_TRUE(sound.ok()) << sound.error().message << "\n" << graph::to_string(after);
  auto outputs = graph::evaluate(after, inputs, {.round_to_dtype = true});
  EXPECT_TRUE(outputs.ok());
  return outputs.ok() ? outputs.take() : std::vector<Tensor>();
}

int count_halves(const Graph& graph) {
  return static_cast<int>(
      std::count_if(graph.values.begin(), graph.values.end(),
                    [](const graph::Value& value) { return is_half(value.dtype); }));
}

TEST(WidenHalves, LeavesThemAtTheBorderOnly) {
  for (const DType half : kHalves) {
    Graph graph;
    const ValueId x = graph.add_input("x", half, {4, 8});
    const ValueId w = graph.add_constant("w", Tensor(half, {8, 8}));
    const ValueId y = graph::matmul(graph, "y", x, w);
    set_output(graph, unary(graph, ScalarOp::kTanh, y));
    set_output(graph, graph::reduce(graph, "sum", y, Combiner::kSum, {1}, false));
    const Graph after = apply(widen_halves, graph);
    EXPECT_TRUE(graph::verify(after).ok());
    EXPECT_EQ(count_halves(after), 3) << graph::to_string(after);
    EXPECT_EQ(after.values[after.inputs[0]].dtype, half);
    EXPECT_EQ(after.values[after.outputs[0]].dtype, half);
    EXPECT_EQ(after.values[after.outputs[1]].dtype, half);
  }
}

TEST(WidenHalves, GraphsWithoutThemStay) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {4});
  set_output(graph, unary(graph, ScalarOp::kTanh, x));
  EXPECT_EQ(graph::to_string(apply(widen_halves, graph)), graph::to_string(graph));
}

TEST(WidenHalves, NothingOverflowsBetweenOperators) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF16, {64});
  const ValueId sum = graph::reduce(graph, "sum", x, Combiner::kSum, {0}, true);
  set_output(graph, times(graph, sum, 1.0 / 64));
  set_output(graph, unary(graph, ScalarOp::kSqrt, binary(graph, ScalarOp::kMul, x, x)));
  const std::vector<Tensor> outputs =
      run(graph, {tensor_of(DType::kF16, {64}, std::vector<double>(64, 60000))});
  EXPECT_EQ(outputs[0].at_f64(0), 60000);
  EXPECT_EQ(outputs[1].at_f64(63), 60000);
}

TEST(WidenHalves, WhatOnlyMovesStaysAHalf) {
  Graph graph;
  const ValueId table = graph.add_constant("table", Tensor(DType::kF16, {100, 8}));
  const ValueId index = graph.add_input("index", DType::kI64, {5});
  const ValueId x = graph.add_input("x", DType::kF16, {8, 5});
  const ValueId rows = graph::gather(graph, "rows", table, index, 0);
  const ValueId turned = graph.add_view("turned", graph::Transpose{{1, 0}}, {x}, {5, 8});
  set_output(graph, turned);
  set_output(graph, binary(graph, ScalarOp::kAdd, rows, turned));
  const Graph after = apply(widen_halves, graph);
  EXPECT_TRUE(graph::verify(after).ok());
  EXPECT_EQ(after.outputs[0], after.producer(after.outputs[0]).outputs[0]);
  EXPECT_TRUE(std::holds_alternative<graph::View>(after.producer(after.outputs[0]).op));
  // x, the table, its rows, x turned, the sum.
  EXPECT_EQ(count_halves(after), 5) << graph::to_string(after);
}

TEST(WidenHalves, CastsOfTheModelRound) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {3});
  const ValueId high = cast(graph, cast(graph, x, DType::kF16), DType::kF32);
  set_output(graph, high);
  set_output(graph, binary(graph, ScalarOp::kSub, x, high));
  const Tensor input = tensor_of(DType::kF32, {3}, {1.0001220703125, 2049, 70000});
  const std::vector<Tensor> outputs = run(graph, {input});
  EXPECT_EQ(outputs[0].at_f64(0), 1);
  EXPECT_EQ(outputs[0].at_f64(1), 2048);
  EXPECT_TRUE(std::isinf(outputs[0].at_f64(2)));
  EXPECT_EQ(outputs[1].at_f64(0), 0.0001220703125);
}

TEST(WidenHalves, IntegersBecomeTheHalvesThatTheModelHas) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kI64, {1});
  set_output(graph, cast(graph, times(graph, cast(graph, x, DType::kF16), 2), DType::kF32));
  Tensor input(DType::kI64, {1});
  input.set_i64(0, 2049);
  EXPECT_EQ(run(graph, {input})[0].at_f64(0), 4096);
}

TEST(WidenHalves, StepsSeeWhatTheModelRounded) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF16, {2});
  const ValueId y = times(graph, x, 0.099975586);  // 2.99927 and 3.0 in f16, for 30
  const ValueId clipped = unary(graph, ScalarOp::kAbs, y);
  const ValueId whole = unary(graph, ScalarOp::kFloor, clipped);
  set_output(graph, whole);
  set_output(graph, binary(graph, ScalarOp::kSub, y, whole));
  set_output(graph, cast(graph, y, DType::kI32));
  set_output(graph, binary(graph, ScalarOp::kEqual, y,
                           graph.add_constant("three", tensor_of(DType::kF16, {}, {3}))));
  set_output(graph,
             graph::reduce(graph, "first", graph.add_view("row", graph::Reshape{}, {y}, {1, 2}),
                           Combiner::kArgMax, {1}, false));
  const std::vector<Tensor> outputs = run(graph, {tensor_of(DType::kF16, {2}, {30, 30})});
  EXPECT_EQ(outputs[0].at_f64(0), 3);
  EXPECT_EQ(outputs[1].at_f64(0), 0) << "the same value for all readers";
  EXPECT_EQ(outputs[2].at_i64(0), 3);
  EXPECT_EQ(outputs[3].at_i64(0), 1);
  EXPECT_EQ(outputs[4].at_i64(0), 0);
}

TEST(WidenHalves, SumsBeforeStepsRoundToo) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kBF16, {2});
  const ValueId sum = graph::reduce(graph, "sum", x, Combiner::kSum, {0}, true);
  set_output(graph, unary(graph, ScalarOp::kCeil, sum));
  EXPECT_EQ(run(graph, {tensor_of(DType::kBF16, {2}, {256, 0.5})})[0].at_f64(0), 256);
}

TEST(WidenHalves, RoutinesTakeFloats) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF16, {8});
  const auto best = graph.add_opaque(
      "best", {"TopK", {{"axis", int64_t{0}}, {"largest", int64_t{1}}, {"sorted", int64_t{1}}}},
      {unary(graph, ScalarOp::kTanh, x)}, {{DType::kF16, {2}}, {DType::kI64, {2}}});
  set_output(graph, best[0]);
  set_output(graph, best[1]);
  const Graph after = apply(widen_halves, graph);
  EXPECT_TRUE(graph::verify(after).ok());
  for (const graph::Node& node : after.nodes) {
    if (!std::holds_alternative<graph::Opaque>(node.op)) continue;
    EXPECT_EQ(after.values[node.inputs[0]].dtype, DType::kF32);
    EXPECT_EQ(after.values[node.outputs[0]].dtype, DType::kF32);
  }
  const std::vector<Tensor> outputs =
      run(graph, {tensor_of(DType::kF16, {8}, {1, 2, 9, 3, 8, 0, 0, 0})});
  EXPECT_EQ(outputs[1].at_i64(0), 2) << "tanh of both rounds to 1: the first comes first";
  EXPECT_EQ(outputs[1].at_i64(1), 4);
}

TEST(WidenHalves, BitsAreThoseOfTheHalf) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF16, {8});
  const ValueId bits =
      graph.add_opaque("bits", {"BitCast", {}}, {times(graph, x, 3)}, {{DType::kI16, {8}}})[0];
  set_output(
      graph,
      times(graph, graph.add_opaque("back", {"BitCast", {}}, {bits}, {{DType::kF16, {8}}})[0], 2));
  const Graph after = apply(widen_halves, graph);
  EXPECT_TRUE(graph::verify(after).ok()) << graph::to_string(after);
  for (const graph::Node& node : after.nodes) {
    if (!std::holds_alternative<graph::Opaque>(node.op)) continue;
    const DType from = after.values[node.inputs[0]].dtype, to = after.values[node.outputs[0]].dtype;
    EXPECT_TRUE(from == DType::kF16 || to == DType::kF16);
  }
}

}  // namespace
}  // namespace corf::rewrite
