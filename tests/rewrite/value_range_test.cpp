#include "rewrite/value_range.h"

#include <cmath>
#include <gtest/gtest.h>

namespace corf::rewrite {
namespace {
using graph::ScalarNode;
using graph::ScalarOp;

ValueRange range(ScalarOp op, const ValueRange& a, const ValueRange& b = {},
                 bool is_square = false) {
  ScalarNode node;
  node.op = op;
  node.dtype = DType::kF32;
  return range_of(node, &a, &b, nullptr, is_square);
}

ValueRange constant(double value) {
  ScalarNode node;
  node.dtype = DType::kF32;
  node.f64 = value;
  return range_of(node, nullptr, nullptr, nullptr, false);
}

TEST(ValueRange, OfProductsAndSums) {
  const ValueRange whole = whole_range(DType::kF32);
  EXPECT_EQ(whole.most(), std::numeric_limits<float>::max());
  EXPECT_EQ(whole.least, 0x1p-149);
  const ValueRange square = range(ScalarOp::kMul, whole, whole, true);
  EXPECT_EQ(square.low, 0);
  EXPECT_GT(square.high, whole.high);
  EXPECT_EQ(within_type(square, DType::kF32).high, whole.high);
  const ValueRange sigmoid = range(ScalarOp::kSigmoid, whole);
  EXPECT_EQ(range(ScalarOp::kMul, sigmoid, constant(-4)).low, -4);
  // Not zero unless below half of a last digit.
  const ValueRange sum = range(ScalarOp::kAdd, range(ScalarOp::kErf, whole), constant(1));
  EXPECT_EQ(sum.low, 0);
  EXPECT_EQ(sum.high, 2);
  EXPECT_EQ(sum.least, 0x1p-25);
  const ValueRange shifted = within_type(range(ScalarOp::kAdd, square, constant(2)), DType::kF32);
  EXPECT_EQ(shifted.low, 2);
  EXPECT_EQ(shifted.least, 2);
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
