#pragma once
#include <cstdint>

#include "target/machine.h"

namespace corf {

/// The loops that calibration times, for one ISA. Only to be called where has_isa holds.
struct CalibrationKernels {
  /// Independent multiply-adds, all in registers; returns a value that depends on them.
  float (*multiply_add)(int64_t iterations) = nullptr;
  int64_t flops_per_iteration = 0;
  /// Multiply-adds of a register tile: `steps` rows of the packed `panel`, `tile_columns` wide,
  /// each with one element of each of `tile_rows` rows of `left`, `steps` apart; the sums go to
  /// `result`. All aligned to 64. Null for SSE2, where more instructions shuffle than
  /// multiply, and compilers differ in how.
  void (*multiply_tile)(const float* left, const float* panel, float* result,
                        int64_t steps) = nullptr;
  int64_t tile_rows = 0, tile_columns = 0;
  /// Sum of `elems` floats, a multiple of 256, at an address aligned to 64: reads each once.
  float (*sum)(const float* data, int64_t elems) = nullptr;
  /// Writes as many, each once.
  void (*fill)(float* data, int64_t elems) = nullptr;
  /// Products of 16 x 32 by 32 x 16 bfloat16 numbers on the matrix unit, as many loads of factors
  /// as half the products; null where there is none.
  void (*multiply_matrices)(int64_t iterations) = nullptr;
  int64_t products_per_iteration = 0;
};

CalibrationKernels calibration_kernels(Isa isa);

}  // namespace corf
