#pragma once
#include <cstdint>

/// Loops over arrays of floats for routines, in the widest vectors that the CPU has. All give the
/// same bits: none contracts a product and a sum.
namespace corf::runtime {

/// Columns of a panel of a matrix.
constexpr int64_t kPanel = 16;

/// acc[n][j] += sum over k of x[n][k] * weights[j / kPanel][k][j % kPanel], for n < rows,
/// k < depth and the columns of so many panels. The bits do not depend on the number of rows.
void add_products(int64_t rows, float* const* acc, const float* const* x, int64_t depth,
                  const float* weights, int64_t panels);

/// x[j] = 1 / (1 + e^-x[j]), within 4 units in the last place.
void apply_sigmoid(float* x, int64_t count);

/// x[j] = tanh(x[j]), within 4 units in the last place.
void apply_tanh(float* x, int64_t count);

}  // namespace corf::runtime
