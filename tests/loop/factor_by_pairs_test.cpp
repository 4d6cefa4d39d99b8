#include "loop/passes/factor_by_pairs.h"

#include <cmath>
#include <gtest/gtest.h>

#include "rewrite/winograd.h"

namespace corf::loop {
namespace {

/// results * sums, row-major.
std::vector<double> product(const PairFactors& pairs, int64_t columns) {
  const int64_t rows = static_cast<int64_t>(pairs.results.size()) / pairs.terms;
  std::vector<double> result(static_cast<size_t>(rows * columns), 0);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < pairs.terms; ++k) {
      for (int64_t c = 0; c < columns; ++c) {
        result[r * columns + c] += pairs.results[r * pairs.terms + k] * pairs.sums[k * columns + c];
      }
    }
  }
  return result;
}

/// Multiply-adds, additions and multiplications; the first term of a sum takes one if it is scaled.
int64_t operations(const std::vector<double>& matrix, int64_t columns) {
  int64_t count = 0;
  for (size_t row = 0; row < matrix.size(); row += static_cast<size_t>(columns)) {
    int64_t terms = 0;
    bool scaled = false;
    for (int64_t c = 0; c < columns; ++c) {
      const double entry = matrix[row + static_cast<size_t>(c)];
      if (entry != 0 && terms++ == 0) scaled = std::abs(entry) != 1;
    }
    count += std::max<int64_t>(terms - 1, 0) + scaled;
  }
  return count;
}

int64_t operations(const PairFactors& pairs, int64_t columns) {
  return operations(pairs.sums, columns) + operations(pairs.results, pairs.terms);
}

TEST(FactorByPairs, TakeWinogradsTransformsApart) {
  // m, operations of the input's transform, of the output's.
  constexpr int64_t kExpected[][3] = {{4, 12, 10}, {6, 24, 20}};
  for (const auto& [m, of_input, of_output] : kExpected) {
    const rewrite::WinogradMatrices matrices = rewrite::winograd_matrices(static_cast<int>(m));
    const auto input = factor_by_pairs(matrices.b, matrices.t),
               output = factor_by_pairs(matrices.a, matrices.t);
    ASSERT_TRUE(input && output) << m;
    EXPECT_EQ(product(*input, matrices.t), matrices.b);
    EXPECT_EQ(product(*output, matrices.t), matrices.a);
    EXPECT_EQ(operations(*input, matrices.t), of_input);
    EXPECT_EQ(operations(*output, matrices.t), of_output);
  }
}

TEST(FactorByPairs, LeaveWhatTheyWouldNotShorten) {
  EXPECT_FALSE(factor_by_pairs({1, 1, 1, -1}, 2));       // two additions as it is
  EXPECT_FALSE(factor_by_pairs({1, 2, 3, 4, 5, 6}, 3));  // no pair
  EXPECT_FALSE(factor_by_pairs({1, 2, 3, 1, 2, 3}, 3));  // equal, nothing to subtract
  EXPECT_FALSE(factor_by_pairs({0, 0, 0, 0}, 2));
}

TEST(FactorByPairs, KeepFactorsThatWouldNotBeExact) {
  // 3 / 7 is no number of f32: the sums stay as they are scaled.
  const std::vector<double> matrix{7, 3, 2, 7, 3, -2};
  const auto pairs = factor_by_pairs(matrix, 3);
  ASSERT_TRUE(pairs);
  EXPECT_EQ(product(*pairs, 3), matrix);
}

}  // namespace
}  // namespace corf::loop
