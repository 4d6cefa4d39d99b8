#include "session/limits.h"

#include <algorithm>

#include "runtime/team.h"
#include "target/calibrate.h"

namespace corf::session {
namespace {

/// Workers of which several share a CPU reach what one there does.
Machine machine_of(int threads, Isa isa) {
  return calibrated_machine(std::min(threads, runtime::available_cpus()), isa);
}

/// Of the innermost memory that holds `bytes`, all threads together.
double bandwidth_gbps(const Machine& machine, int64_t bytes) {
  if (bytes <= machine.l1_bytes * machine.threads) return machine.l1_gbps_core * machine.threads;
  if (bytes <= machine.l2_bytes * machine.threads) return machine.l2_gbps_core * machine.threads;
  if (bytes <= machine.l3_bytes) return machine.l3_gbps_core * machine.threads;
  return machine.dram_gbps_all;
}

/// Milliseconds for `amount` at `giga_per_second`; 0 if that was not measured.
double time_ms(int64_t amount, double giga_per_second) {
  return giga_per_second > 0 ? static_cast<double>(amount) / (giga_per_second * 1e6) : 0;
}

}  // namespace

double limit_ms(int64_t flops, int64_t bytes, int threads, const std::string& isa) {
  const Machine machine = machine_of(threads, parse_isa(isa).value_or(best_isa()));
  return std::max(time_ms(flops, machine.fma_gflops_all),
                  time_ms(bytes, bandwidth_gbps(machine, bytes)));
}

double cycles_ms(double cycles, int threads, Isa isa) {
  const Machine machine = machine_of(threads, isa);
  const double flops_per_cycle = 4.0 * machine.f32_lanes();
  const double gflops_core = machine.fma_gflops_all / machine.threads;
  return gflops_core > 0 ? cycles * flops_per_cycle / (gflops_core * 1e6) : 0;
}

}  // namespace corf::session
