#pragma once
#include <cstdint>

#include "tensor/dtype.h"

namespace corf::graph {

/// Truncated and held in the range of an integer type; NaN is 0.
int64_t saturated(double value, DType dtype);

}  // namespace corf::graph
