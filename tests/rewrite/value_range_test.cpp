#include "rewrite/value_range.h"

#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Graph;
using graph::ScalarBody;
using graph::ScalarOp;

ValueRange last_range(const ScalarBody& body) { return ranges_of(body, {}).back(); }

TEST(ValueRange, OfBodies) {
  ScalarBody body;
  const int x = body.operand(0, DType::kF32);
  EXPECT_EQ(last_range(body).most(), std::numeric_limits<float>::max());
  EXPECT_EQ(last_range(body).least, 0x1p-149);
  EXPECT_FALSE(last_range(body).is_rounded);
  const int square = body.apply(ScalarOp::kMul, x, x);
  EXPECT_EQ(last_range(body).low, 0);
  EXPECT_EQ(last_range(body).high, std::numeric_limits<float>::max());
  EXPECT_TRUE(last_range(body).is_rounded);
  EXPECT_GT(unrounded_range(body.nodes, ranges_of(body, {}), {}).high,
            std::numeric_limits<float>::max());
  body.apply(ScalarOp::kAdd, square, body.constant(2, DType::kF32));
  EXPECT_EQ(last_range(body).low, 2);
  EXPECT_EQ(last_range(body).least, 2);
  const int erf = body.apply(ScalarOp::kErf, x);
  // Not zero unless below half of a last digit.
  body.apply(ScalarOp::kAdd, erf, body.constant(1, DType::kF32));
  EXPECT_EQ(last_range(body).low, 0);
  EXPECT_EQ(last_range(body).high, 2);
  EXPECT_EQ(last_range(body).least, 0x1p-25);
  const int scaled = body.apply(ScalarOp::kMul, x, body.constant(3, DType::kF32));
  EXPECT_FALSE(last_range(body).is_rounded);
  body.apply(ScalarOp::kMul, scaled, x);
  EXPECT_EQ(last_range(body).low, 0);
}

TEST(ValueRange, OfGraphs) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {2, 8});
  const auto squares =
      graph::elementwise(graph, "squares", {x}, [](ScalarBody& body, const std::vector<int>& args) {
        return body.apply(ScalarOp::kMul, args[0], args[0]);
      });
  const auto sum = graph::reduce(graph, "sum", squares, graph::Combiner::kSum, {1}, true);
  const auto scaled = with_constant(graph, ScalarOp::kMul, sum, 0.125f);
  const auto shifted = with_constant(graph, ScalarOp::kAdd, scaled, 0.5f);
  const auto joined = graph.add_view("joined", graph::Concat{1}, {shifted, x}, {2, 9});
  ValueRanges ranges;
  EXPECT_EQ(ranges.of(graph, shifted).low, 0.5);
  EXPECT_TRUE(ranges.of(graph, shifted).is_rounded);
  EXPECT_EQ(ranges.of(graph, sum).low, 0);
  EXPECT_FALSE(ranges.of(graph, x).is_rounded);
  EXPECT_FALSE(ranges.of(graph, joined).is_rounded);
  EXPECT_LT(ranges.of(graph, joined).low, 0);
}

TEST(ValueRange, NumbersOfTheTypes) {
  EXPECT_EQ(float_format(DType::kF16).unit(), 0x1p-24);
  EXPECT_EQ(rounded(0.1, DType::kF32), 0.1f);
  EXPECT_EQ(rounded(1e39, DType::kF32), HUGE_VAL);
  EXPECT_EQ(rounded(65520, DType::kF16), HUGE_VAL);
  EXPECT_TRUE(is_power_of_two(-0.25));
  EXPECT_FALSE(is_power_of_two(3));
  EXPECT_FALSE(is_power_of_two(0));
  EXPECT_FALSE(is_power_of_two(HUGE_VAL));
}

}  // namespace
}  // namespace corf::rewrite
