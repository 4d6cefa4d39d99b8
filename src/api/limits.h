#pragma once
#include <cstdint>

#include "support/result.h"

namespace corf::api {

/// The least time for that much arithmetic and memory traffic on this machine: the larger of
/// FLOPs over the measured FMA peak of `threads` cores and bytes over the measured bandwidth.
/// The machine is measured on the first call of a process that finds no stored measurement.
/// Source: design section 6.
Result<double> limit_ms(int64_t flops, int64_t bytes, int threads, const std::string& isa);

}  // namespace corf::api
