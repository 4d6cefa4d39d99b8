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
};

CalibrationKernels calibration_kernels(Isa isa);

}  // namespace corf
