#pragma once
#include "runtime/kernel_abi.h"

namespace corf::runtime {

/// The context that every kernel is called with: the C library's functions in float64.
const KernelContext& kernel_context();

}  // namespace corf::runtime
