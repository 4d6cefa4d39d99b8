#include "cost/rates.h"

#include <algorithm>

namespace corf::cost {

Rates rates_of(const Machine& machine) {
  constexpr double kVisit_ns = 130;
  if (machine.fma_gflops_core <= 0 || machine.l2_gbps_core <= 0 || machine.l3_gbps_core <= 0 ||
      machine.dram_gbps_all <= 0) {
    return {24, 48, 16, 12, 6, 14, 5, 800, 6000};
  }
  const double cycle_ns = machine.cycle_ns();
  // Workers do not come to a barrier together: it takes much longer than one that they only cross,
  // the longer the further their caches are apart.
  constexpr double kApart = 30, kShortest_ns = 700, kLongest_ns = 2600;
  const double barrier_ns = machine.barrier_ns > 0
                                ? std::clamp(kApart * machine.barrier_ns, kShortest_ns, kLongest_ns)
                                : kLongest_ns;
  const double l2 = 0.4 * machine.l2_gbps_core * cycle_ns;
  // The third level is everyone's: it gives less than what was measured by oneself.
  const double l3 = std::min(0.5 * l2, 1.1 * machine.l3_gbps_core * cycle_ns);
  const double dram = std::min(l3, 0.95 * machine.dram_gbps_all / machine.threads * cycle_ns);
  // Workers read parts of what others have written.
  const double passed = std::max(l3, 0.6 * l2);
  return {1.5 * l2,
          3 * l2,
          l2,
          l3,
          dram,
          passed,
          0.4 * l3,
          kVisit_ns / cycle_ns,
          barrier_ns / cycle_ns};
}

double weights_rate(const Machine& machine, int64_t all_bytes) {
  constexpr double kUnmeasured = 4;
  const double gbps = machine.constants_gbps(all_bytes) / machine.threads;
  if (machine.fma_gflops_core <= 0 || gbps <= 0) return kUnmeasured;
  return gbps * machine.cycle_ns();
}

double weights_wait(const Machine& machine, int64_t all_bytes) {
  return machine.keeps_near(all_bytes) ? 0 : 1 / weights_rate(machine, all_bytes);
}

}  // namespace corf::cost
