#include "runtime/routines/byte_math.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>
#include <vector>

#include "runtime/routines/wide_math.h"

namespace corf::runtime {
namespace {

TEST(ByteMath, ProductsAreExactOnEveryInstructionSet) {
  std::mt19937 random(3);
  for (const Isa isa : kIsas) {
    if (!has_isa(isa)) continue;
    for (const int64_t rows : {1, 2, 3, 5, 8}) {
      constexpr int64_t kPanels = 11, kDepth = 20;
      constexpr int64_t kPanelBytes = kPanel * (kDepth + 4);  // longer than what is summed up
      std::vector<int8_t> weights(kPanels * kPanelBytes);
      std::vector<uint8_t> x(rows * kDepth);
      std::vector<int32_t> acc(rows * kPanels * kPanel);
      // Pairs of the largest ones leave 16 bits.
      for (auto& w : weights) w = random() % 3 ? static_cast<int8_t>(random()) : int8_t{-128};
      for (auto& value : x) value = random() % 3 ? static_cast<uint8_t>(random()) : uint8_t{255};
      for (auto& sum : acc) sum = static_cast<int32_t>(random() % 1000);
      std::vector<int32_t> expected = acc;
      std::vector<int32_t*> to;
      std::vector<const uint8_t*> from;
      for (int64_t n = 0; n < rows; ++n) {
        to.push_back(acc.data() + n * kPanels * kPanel);
        from.push_back(x.data() + n * kDepth);
        for (int64_t j = 0; j < kPanels * kPanel; ++j) {
          for (int64_t k = 0; k < kDepth; ++k) {
            const int64_t at = (k / kByteSteps * kPanel + j % kPanel) * kByteSteps + k % kByteSteps;
            expected[n * kPanels * kPanel + j] +=
                int32_t{x[n * kDepth + k]} * weights[j / kPanel * kPanelBytes + at];
          }
        }
      }
      add_byte_products_on(isa)(rows, to.data(), from.data(), kDepth, weights.data(), kPanelBytes,
                                kPanels);
      EXPECT_EQ(acc, expected) << to_string(isa) << ", " << rows << " rows";
    }
  }
}

TEST(ByteMath, RoundsToEvenOnTheScaleOfTheRange) {
  const float x[] = {-1, 0, 1.55F, 0.005F, 0.015F, 0.025F};
  const ByteScale scale = byte_scale_of(x, 3);
  EXPECT_EQ(scale.scale, 2.55F / 255);
  EXPECT_EQ(scale.zero_point, 100);
  uint8_t bytes[6];
  EXPECT_EQ(quantize(x, 3, scale, bytes), 0 + 100 + 255);
  EXPECT_EQ(bytes[0], 0);
  EXPECT_EQ(bytes[1], 100);
  EXPECT_EQ(bytes[2], 255);
  const ByteScale halves{0.5F, 3};
  const float ties[] = {0.25F, 0.75F, 1.25F, -0.25F, -7, NAN};
  quantize(ties, 6, halves, bytes);
  EXPECT_EQ(std::vector<int>(bytes, bytes + 6), (std::vector<int>{3, 5, 5, 3, 0, 0}));
  const float zeros[] = {0, 0};
  EXPECT_EQ(byte_scale_of(zeros, 2).scale, 1);
}

}  // namespace
}  // namespace corf::runtime
