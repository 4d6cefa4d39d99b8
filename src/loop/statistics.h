#pragma once
#include <cstdint>
#include <span>

#include "loop/program.h"

namespace corf::loop {

/// What a call of a kernel executes; guarded points count as if their guards held.
struct Statistics {
  int64_t flops = 0;         // of float types: a fused update is 2, an operation or function 1
  int64_t tiles = 0;         // entered
  int64_t vector_loads = 0;  // contiguous along the tile's vector axis, by register
  int64_t broadcasts = 0;    // single elements
  int64_t gathers = 0;       // elements that lie apart along the vector axis
  int64_t vector_stores = 0;
  int64_t scalar_stores = 0;
  int64_t load_bytes = 0;
  int64_t store_bytes = 0;
};

/// `params`: the kernel's parameters; `lanes`: elements of 4 bytes in a vector register.
Statistics statistics(const Kernel& kernel, std::span<const int64_t> params, int64_t partitions,
                      int lanes);

}  // namespace corf::loop
