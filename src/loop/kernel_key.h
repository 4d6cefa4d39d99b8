#pragma once
#include <string>

#include "loop/program.h"

namespace corf::loop {

/// What a key leaves out.
struct KeyOptions {
  bool scratch_sizes = false;
  bool unrolling = false;     // of the loops inside of tiles
  bool tile_extents = false;  // and the constants of guards, which may follow from them
};

/// Bytes that are equal for kernels that do the same: that differ at most in names, in how
/// variables and registers are numbered, and in the sizes that their buffers must have at least.
/// It says what renumber.h's anonymous_text says, in a tenth of the time and for nobody to read.
/// Test: tests/driver/known_shapes_test.cpp
std::string kernel_key(const Kernel& kernel, const KeyOptions& without = {});

}  // namespace corf::loop
