#include "rewrite/weights_in_words.h"

#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Compute;
using graph::Graph;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;
using index::Expr;

struct Case {
  int64_t lowest = 0, highest = 15;  // numbers
  int64_t k = 48, block = 16;
  double zero_point = 8;
};

/// x [2][k] times w [3][k] in u8, with scales by blocks.
Graph product(const Case& c) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {2, c.k});
  Tensor numbers(DType::kU8, {3, c.k});
  for (int64_t i = 0; i < numbers.num_elems(); ++i) {
    numbers.set_i64(i, c.lowest + i * 7 % (c.highest - c.lowest + 1));
  }
  const int64_t blocks = (c.k + c.block - 1) / c.block;
  Compute compute;
  compute.space.axes = {{"n", 3, index::AxisKind::kParallel},
                        {"k", c.k, index::AxisKind::kParallel}};
  const Expr n = Expr::variable(0), k = Expr::variable(1);
  compute.operands = {{{{n, k}}}, {{{n, floor_div(k, Expr(c.block))}}}};
  ScalarBody& body = compute.body;
  const int centred =
      body.apply(ScalarOp::kSub, body.cast(body.operand(0, DType::kU8), DType::kF32),
                 body.constant(c.zero_point, DType::kF32));
  body.apply(ScalarOp::kMul, centred, body.operand(1, DType::kF32));
  const ValueId w =
      graph.add_compute("w", compute,
                        {graph.add_constant("numbers", numbers),
                         graph.add_constant("scales", random_tensor({3, blocks}, 5))});
  set_output(graph, graph::matmul(graph, "product", x, w, false, true));
  return graph;
}

/// The words that the product reads; null if it reads none.
const Tensor* words(const Graph& graph) {
  for (const graph::Node& node : graph.nodes) {
    const auto* constant = std::get_if<graph::Constant>(&node.op);
    if (constant && constant->tensor.dtype() == DType::kI32) return &constant->tensor;
  }
  return nullptr;
}

TEST(WeightsInWords, HoldEightNumbersOfFourBits) {
  const Graph graph = product({});
  const Graph after = apply(weights_in_words, graph);
  const Tensor* held = words(after);
  ASSERT_TRUE(held);
  EXPECT_EQ(held->shape(), (Shape{3, 6}));
  // 0, 7, 14, 5, 12, 3, 10, 1, the first in the lowest bits.
  EXPECT_EQ(static_cast<uint32_t>(held->at_i64(0)), 0x1a3c5e70U);
  expect_same_results(graph, after);
}

TEST(WeightsInWords, HoldSixteenNumbersOfTwoBits) {
  const Graph graph = product({.lowest = 100, .highest = 103, .zero_point = 101});
  const Graph after = apply(weights_in_words, graph);
  const Tensor* held = words(after);
  ASSERT_TRUE(held);
  EXPECT_EQ(held->shape(), (Shape{3, 3}));
  expect_same_results(graph, after);
}

TEST(WeightsInWords, HoldFourNumbersOfMoreBitsWhereScalesAreByBlocks) {
  const Graph graph = product({.highest = 200, .zero_point = 90});
  const Graph after = apply(weights_in_words, graph);
  const Tensor* held = words(after);
  ASSERT_TRUE(held);
  EXPECT_EQ(held->shape(), (Shape{3, 12}));
  EXPECT_EQ(static_cast<uint32_t>(held->at_i64(0)), 0x150e0700U);  // 0, 7, 14, 21
  expect_same_results(graph, after);
}

TEST(WeightsInWords, ShorterBlocksThanTheModelsWhereTheLastOneIsCut) {
  const Graph graph = product({.k = 40});
  const Graph after = apply(weights_in_words, graph);
  ASSERT_TRUE(words(after));
  expect_same_results(graph, after);
}

TEST(WeightsInWords, LeaveAloneWhatWordsDoNotHold) {
  // Products of bytes may want them.
  EXPECT_FALSE(words(apply(weights_in_words, product({.highest = 16, .block = 48}))));
  EXPECT_FALSE(words(apply(weights_in_words, product({.k = 36}))));  // half a word
  EXPECT_FALSE(words(apply(weights_in_words, product({.k = 48, .block = 12}))));
  EXPECT_FALSE(words(apply(weights_in_words, product({.zero_point = 7.5}))));  // no integer
}

}  // namespace
}  // namespace corf::rewrite
