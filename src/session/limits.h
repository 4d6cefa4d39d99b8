#pragma once
#include <cstdint>
#include <string>

#include "target/machine.h"

namespace corf::session {

/// The least time for that much arithmetic and memory traffic on this machine: the larger of FLOPs
/// over the measured peak of `threads` cores and bytes over the measured bandwidth of the innermost
/// memory that holds them all. The machine is measured on the first call of a process that finds no
/// stored measurement; what could not be measured sets no limit.
/// `isa`: of the image, as to_string(Isa) names it.
double limit_ms(int64_t flops, int64_t bytes, int threads, const std::string& isa);

/// Time of so many predicted cycles, in which a core does two vector operations each: as the
/// measured peak has it. 0 if that was not measured.
double cycles_ms(double cycles, int threads, Isa isa);

}  // namespace corf::session
