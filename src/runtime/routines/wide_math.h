#pragma once
#include <cstdint>

/// Loops over arrays of floats for routines, in the widest vectors that the CPU has. All give the
/// same bits: none contracts a product and a sum.
namespace corf::runtime {

/// acc[j] += sum over k of x[k] * weights[k * stride + j], for j < count and k < depth.
void add_product(float* acc, int64_t count, const float* x, int64_t depth, const float* weights,
                 int64_t stride);

/// x[j] = 1 / (1 + e^-x[j]), within 4 units in the last place.
void apply_sigmoid(float* x, int64_t count);

/// x[j] = tanh(x[j]), within 4 units in the last place.
void apply_tanh(float* x, int64_t count);

}  // namespace corf::runtime
