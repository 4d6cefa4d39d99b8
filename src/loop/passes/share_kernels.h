#pragma once
#include "loop/program.h"

namespace corf::loop {

/// Merges kernels that are equal but for names (and for how large their buffers are at least) into
/// the first of them. Kernels that no step calls are dropped.
/// Test: tests/loop/share_kernels_test.cpp
Program share_kernels(Program program);

}  // namespace corf::loop
