#pragma once
#include "loop/program.h"

namespace corf::loop {

/// Merges kernels that differ only in integers that need not be known when code is generated, by
/// making those that differ parameters, bound by the calls: constants in the bounds of serial loops
/// (divisors apart), and in offsets the constant term and the coefficients of variables other than
/// tile axes. Extents and coefficients of tile axes, steps, guards' limits and the bounds of short
/// loops inside of tiles (which are better unrolled) stay constants. Scratch takes the largest
/// size. Equal kernels are merged on the way. Test: tests/loop/parameterize_test.cpp
Program parameterize(Program program);

}  // namespace corf::loop
