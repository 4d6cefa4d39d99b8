#include "rewrite/fold_constants.h"

#include "rewrite/structure.h"
#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Graph;
using graph::ScalarOp;

TEST(FoldConstants, EvaluatesChainsOfConstantsInTheirType) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {2, 3});
  const auto w = graph.add_constant("w", random_tensor({3, 2}, 1));
  const auto moved = graph.add_view("moved", graph::Transpose{{1, 0}}, {w}, {2, 3});
  const auto scaled = with_constant(graph, ScalarOp::kMul, moved, 3);
  set_output(graph, binary(graph, ScalarOp::kAdd, x, scaled));

  const Graph after = apply(fold_constants, graph);
  EXPECT_EQ(count_nodes<graph::View>(after), 0);
  EXPECT_EQ(count_nodes<graph::Compute>(after), 1);
  EXPECT_EQ(count_nodes<graph::Constant>(after), 1);
  const Tensor* folded = constant_tensor(after, after.producer(after.outputs[0]).inputs[1]);
  ASSERT_NE(folded, nullptr);
  EXPECT_EQ(folded->dtype(), DType::kF32);
  EXPECT_EQ(folded->shape(), (Shape{2, 3}));
  expect_same_results(graph, after);
}

TEST(FoldConstants, LeavesBroadcastsThatWouldGrow) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {64, 64});
  const auto zero = graph.add_constant("zero", scalar(0));
  const auto zeros = graph.add_view("zeros", graph::Broadcast{}, {zero}, {64, 64});
  set_output(graph, binary(graph, ScalarOp::kAdd, x, zeros));
  const Graph after = apply(fold_constants, graph);
  EXPECT_EQ(count_nodes<graph::View>(after), 1);
  expect_same_results(graph, after, 0);
}

/// Weights in a compact type, cast or dequantised for the products that read them.
TEST(FoldConstants, ConvertsWeightsOnce) {
  constexpr int64_t kRows = 64, kColumns = 48;
  for (const DType stored : {DType::kI8, DType::kU8, DType::kF16}) {
    for (const bool by_channel : {false, true}) {
      Graph graph;
      Tensor weights(stored, {kRows, kColumns});
      for (int64_t i = 0; i < weights.num_elems(); ++i) weights.set_f64(i, double(i % 100));
      const auto w = graph.add_constant("w", weights);
      const auto scale = graph.add_constant(
          "scale", random_tensor(by_channel ? Shape{kColumns} : Shape{}, 5, 0.01, 0.02));
      const auto scaled = graph::elementwise(
          graph, "dequantised", {w, scale},
          [](graph::ScalarBody& body, const std::vector<int>& args) {
            return body.apply(ScalarOp::kMul, body.cast(args[0], DType::kF32), args[1]);
          });
      const auto x = graph.add_input("x", DType::kF32, {5, kRows});
      set_output(graph, graph::matmul(graph, "product", x, scaled));
      const Graph after = apply(fold_constants, graph);
      EXPECT_EQ(count_nodes<graph::Compute>(after), 1);
      const Tensor* folded = constant_tensor(after, after.producer(after.outputs[0]).inputs[1]);
      ASSERT_NE(folded, nullptr);
      EXPECT_EQ(folded->dtype(), DType::kF32);
      EXPECT_EQ(folded->shape(), (Shape{kRows, kColumns}));
      expect_same_results(graph, after);
    }
  }
}

TEST(FoldConstants, LeavesSumsOfSmallConstantsThatGrow) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {256, 256});
  const auto rows = graph.add_constant("rows", random_tensor({256, 1}, 1));
  const auto columns = graph.add_constant("columns", random_tensor({256}, 2));
  set_output(graph, binary(graph, ScalarOp::kAdd, x, binary(graph, ScalarOp::kMul, rows, columns)));
  EXPECT_EQ(count_nodes<graph::Compute>(apply(fold_constants, graph)), 2);
}

/// The bias of attention by relative position: a small table, picked from for each pair of tokens.
TEST(FoldConstants, PicksFromConstantTablesOnce) {
  constexpr int64_t kTokens = 64, kHeads = 8;
  Graph graph;
  Tensor index(DType::kI64, {kTokens, kTokens});
  for (int64_t i = 0; i < kTokens * kTokens; ++i) {
    index.set_i64(i, i / kTokens - i % kTokens + kTokens - 1);
  }
  const auto table = graph.add_constant("table", random_tensor({kHeads, 2 * kTokens - 1}, 1));
  const auto bias =
      graph::gather(graph, "bias", table, graph.add_constant("index", std::move(index)), 1);
  const auto x = graph.add_input("x", DType::kF32, {kHeads, kTokens, kTokens});
  set_output(graph, binary(graph, ScalarOp::kAdd, x, bias));
  const Graph after = apply(fold_constants, graph);
  EXPECT_EQ(count_nodes<graph::Compute>(after), 1);
  expect_same_results(graph, after, 0);
}

TEST(FoldConstants, SharesTheBytesOfReshapedConstants) {
  Graph graph;
  const Tensor large = random_tensor({1 << 10, 1 << 10}, 3);
  const auto w = graph.add_constant("w", large);
  set_output(graph, graph.add_view("flat", graph::Reshape{}, {w}, {1 << 20}));
  const Graph after = apply(fold_constants, graph);
  ASSERT_EQ(after.nodes.size(), 1u);
  EXPECT_EQ(constant_tensor(after, after.outputs[0])->bytes(), large.bytes());
}

TEST(FoldConstants, LargeViewsFoldWhereARoutineReadsThem) {
  const auto num_views = [](bool for_routine) {
    Graph graph;
    const auto w = graph.add_constant("w", random_tensor({1 << 10, 1 << 10}, 3));
    const auto turned = graph.add_view("turned", graph::Transpose{{1, 0}}, {w}, {1 << 10, 1 << 10});
    if (for_routine) {
      set_output(graph, graph.add_opaque("top", {"CumSum", {}}, {turned},
                                         {{DType::kF32, {1 << 10, 1 << 10}}})[0]);
    } else {
      const auto x = graph.add_input("x", DType::kF32, {1 << 10, 1 << 10});
      set_output(graph, binary(graph, ScalarOp::kAdd, x, turned));
    }
    return count_nodes<graph::View>(apply(fold_constants, graph));
  };
  EXPECT_EQ(num_views(true), 0);
  EXPECT_EQ(num_views(false), 1);
}

TEST(FoldConstants, IntegersStayIntegers) {
  Graph graph;
  const std::vector<int64_t> values = {INT64_MAX, -7};
  const auto c = graph.add_constant("c", make_tensor<int64_t>({2}, values));
  const auto minus_one =
      graph.add_constant("one", make_tensor<int64_t>({1}, std::vector<int64_t>{-1}));
  set_output(graph, binary(graph, ScalarOp::kAdd, c, minus_one));
  const Graph after = apply(fold_constants, graph);
  const Tensor* folded = constant_tensor(after, after.outputs[0]);
  ASSERT_NE(folded, nullptr);
  EXPECT_EQ(folded->at_i64(0), INT64_MAX - 1);
  EXPECT_EQ(folded->at_i64(1), -8);
}

}  // namespace
}  // namespace corf::rewrite
