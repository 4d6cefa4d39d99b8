#pragma once
#include <string>
#include <vector>

#include "loop/program.h"

namespace corf::loop {

/// The kernel with variable `id` renamed to `new_ids[id]` (-1: unused); names move along.
Kernel renumber_variables(const Kernel& kernel, const std::vector<int>& new_ids);

/// Variables numbered in the order in which they are bound, those never bound dropped; registers
/// in the order of their definition within each tile. Names stay.
Kernel canonicalize(const Kernel& kernel);

/// Text by which kernels that do the same are equal: of the canonical kernel without names and
/// without the sizes that its buffers must have at least.
std::string anonymous_text(const Kernel& kernel);

}  // namespace corf::loop
