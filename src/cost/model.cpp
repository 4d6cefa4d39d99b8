#include "cost/model.h"

#include <algorithm>

namespace corf::cost {
namespace {

Rates rates_of(const Machine& machine, const Coefficients& k) {
  if (machine.fma_gflops_core <= 0 || machine.l2_gbps_core <= 0 || machine.l3_gbps_all <= 0) {
    return {24, 48, 16, 12, 6, 8, 6, 3, 14, 5, 800, 6000};
  }
  const double cycle_ns = machine.cycle_ns();
  // Workers do not come to a barrier together: it takes much longer than one that they only cross,
  // the longer the further their caches are apart.
  const double barrier_ns = machine.barrier_ns > 0
                                ? std::clamp(k.barrier_apart * machine.barrier_ns,
                                             k.barrier_shortest_ns, k.barrier_longest_ns)
                                : k.barrier_longest_ns;
  Rates rates;
  rates.l2 = k.l2 * machine.l2_gbps_core * cycle_ns;
  rates.l3 = std::min(rates.l2, k.l3 * machine.l3_gbps_all / machine.threads * cycle_ns);
  rates.dram = rates.l3;  // where there was no memory to measure it with
  if (machine.dram_gbps_all > 0) {
    rates.dram = std::min(rates.l3, k.dram * machine.dram_gbps_all / machine.threads * cycle_ns);
  }
  // Where writing was not measured: what is written is read first.
  auto written = [&](double gbps, double cores, double share, double read) {
    return gbps > 0 ? std::min(read, share * gbps / cores * cycle_ns) : read / 2;
  };
  const auto cores = double(machine.threads);
  rates.l2_written = written(machine.l2_write_gbps_core, 1, k.l2, rates.l2);
  rates.l3_written = written(machine.l3_write_gbps_all, cores, k.l3, rates.l3);
  rates.dram_written = written(machine.dram_write_gbps_all, cores, k.dram, rates.dram);
  rates.panel = k.panel * rates.l2;
  rates.l1 = k.l1 * rates.l2;
  // Workers read parts of what others have written.
  rates.passed = std::max(rates.l3, k.passed * rates.l2);
  rates.remote =
      machine.remote_gbps_core > 0 ? k.remote * machine.remote_gbps_core * cycle_ns : rates.l3;
  rates.visit = k.visit_ns / cycle_ns;
  rates.barrier = barrier_ns / cycle_ns;
  return rates;
}

double stalls_of(const Machine& machine) {
  if (machine.fma_gflops_core <= 0 || machine.tile_gflops_core <= 0) return 1;
  return std::max(1.0, machine.fma_gflops_core / machine.tile_gflops_core);
}

}  // namespace

Model::Model(const Machine& machine, const Coefficients& coefficients)
    : machine(machine),
      k(coefficients),
      stalls(stalls_of(machine)),
      rates(rates_of(machine, coefficients)) {}

double Model::weights_rate(int64_t all_bytes) const {
  constexpr double kUnmeasured = 4;
  const double gbps = machine.constants_gbps(all_bytes) / machine.threads;
  if (machine.fma_gflops_core <= 0 || gbps <= 0) return kUnmeasured;
  return gbps * machine.cycle_ns();
}

double Model::weights_wait(int64_t all_bytes) const {
  return machine.keeps_near(all_bytes) ? 0 : 1 / weights_rate(all_bytes);
}

}  // namespace corf::cost
