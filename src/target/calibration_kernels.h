#pragma once
#include <cstdint>

#include "target/machine.h"

namespace corf {

/// The loops that calibration times, for one ISA. Only to be called where has_isa holds.
struct CalibrationKernels {
  /// Independent multiply-adds, all in registers; returns a value that depends on them.
  float (*multiply_add)(int64_t iterations);
  int64_t flops_per_iteration;
  /// Sum of `elems` floats, a multiple of 256, at an address aligned to 64: reads each once.
  float (*sum)(const float* data, int64_t elems);
  /// Products of 16 x 32 by 32 x 16 bfloat16 numbers on the matrix unit, as many loads of factors
  /// as half the products; null where there is none.
  void (*multiply_matrices)(int64_t iterations) = nullptr;
  int64_t products_per_iteration = 0;
};

CalibrationKernels calibration_kernels(Isa isa);

}  // namespace corf
