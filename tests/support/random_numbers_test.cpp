#include "support/random_numbers.h"

#include <cmath>
#include <gtest/gtest.h>
#include <numeric>
#include <vector>

namespace corf {
namespace {

/// The known answers that the authors' library (Random123) comes with.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox({0, 0, 0, 0}, 0), (RandomWords{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0U, ~0U, ~0U, ~0U}, ~uint64_t{0}),
            (RandomWords{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822),
            (RandomWords{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

template <typename T>
std::vector<T> numbers(const RandomDistribution& distribution, const RandomStream& stream,
                       int64_t count) {
  std::vector<T> result(static_cast<size_t>(count));
  fill_random(distribution, stream, 0, std::span(result));
  return result;
}

/// Mean of (x - center)^power.
template <typename T>
double moment(const std::vector<T>& x, double center, int power) {
  return std::accumulate(x.begin(), x.end(), 0.0,
                         [&](double sum, T v) { return sum + std::pow(v - center, power); }) /
         static_cast<double>(x.size());
}

template <typename T>
class RandomNumbers : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(RandomNumbers, Types);

constexpr int64_t kMany = 1 << 18;

/// Moments within five deviations of what so many numbers' moments scatter by.
TYPED_TEST(RandomNumbers, Uniform) {
  const auto x = numbers<TypeParam>({false, 4, -1}, {.key = 7}, kMany);
  for (const TypeParam v : x) {
    ASSERT_GE(v, -1);
    ASSERT_LT(v, 3);
  }
  EXPECT_NEAR(moment(x, 0, 1), 1, 0.012);
  EXPECT_NEAR(moment(x, 1, 2), 16.0 / 12, 0.012);
}

TYPED_TEST(RandomNumbers, Normal) {
  const auto x = numbers<TypeParam>({true, 2, 3}, {.key = 7}, kMany);
  EXPECT_NEAR(moment(x, 0, 1), 3, 0.02);
  EXPECT_NEAR(moment(x, 3, 2), 4, 0.06);
  EXPECT_NEAR(moment(x, 3, 3), 0, 0.4);
  EXPECT_NEAR(moment(x, 3, 4), 48, 1.6);
  // Neighbours, halves of one pair among them, have nothing in common.
  double product = 0;
  for (size_t i = 0; i + 1 < x.size(); ++i) product += (x[i] - 3) * (x[i + 1] - 3);
  EXPECT_NEAR(product / kMany, 0, 0.04);
}

/// Whatever parts it is computed in.
TYPED_TEST(RandomNumbers, PartsAreThoseOfTheWhole) {
  const RandomStream stream = {.key = 5, .stream = 1, .run = 2};
  for (const bool normal : {false, true}) {
    const auto whole = numbers<TypeParam>({normal}, stream, 103);
    std::vector<TypeParam> parts(103);
    for (size_t first = 0; first < parts.size(); first += 8 * kRandomBlock) {
      const size_t count = std::min<size_t>(8 * kRandomBlock, parts.size() - first);
      fill_random({normal}, stream, static_cast<int64_t>(first),
                  std::span(parts.data() + first, count));
    }
    EXPECT_EQ(parts, whole);
  }
}

TYPED_TEST(RandomNumbers, StreamsDiffer) {
  const auto x = numbers<TypeParam>({}, {.key = 5}, 8);
  EXPECT_NE(numbers<TypeParam>({}, {.key = 6}, 8), x);
  EXPECT_NE(numbers<TypeParam>({}, {.key = uint64_t{5} << 32}, 8), x);
  EXPECT_NE(numbers<TypeParam>({}, {.key = 5, .stream = 1}, 8), x);
  EXPECT_NE(numbers<TypeParam>({}, {.key = 5, .run = 1}, 8), x);
}

}  // namespace
}  // namespace corf
