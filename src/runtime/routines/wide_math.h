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

/// The rest of a step of an LSTM with sigmoids and hyperbolic tangents, in which `sums` has what
/// is given to the gates i o f c without `bias`, each `gate_elems` behind the last one: updates c
/// and gives h. `peepholes`: of i o f, as far apart as the gates; null if there are none. `count`:
/// a multiple of kPanel.
void apply_lstm(const float* sums, const float* bias, const float* peepholes, int64_t gate_elems,
                float* c, float* h, int64_t count);

/// The gates z and r of a GRU, as in apply_lstm: sigmoids of sums + recurrent, left in `sums`.
void apply_gru_gates(float* sums, const float* recurrent, int64_t gate_elems, int64_t count);

/// The rest of a GRU's step: next_h = (1 - z) tanh(candidate + recurrent) + z h.
void apply_gru(const float* z, const float* candidate, const float* recurrent, const float* h,
               float* next_h, int64_t count);

}  // namespace corf::runtime
