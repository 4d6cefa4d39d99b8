#pragma once
#include <functional>

#include "rewrite/winograd.h"
#include "target/machine.h"

namespace corf::driver {

/// Winograd's output tile for a convolution: that with which it is predicted to take the least
/// time, each of its operators alone, of those whose typical error is at most 1e-5; 0 where the
/// direct convolution is no slower. Each shape is looked at once.
std::function<int(const rewrite::WinogradShape&)> predicted_output_tile(const Machine& machine);

}  // namespace corf::driver
