#pragma once
#include "target/machine.h"

namespace corf::fuzz {

/// Figures of no machine in particular: nothing is measured where these are given.
inline void set_some_figures(Machine& machine) {
  machine.fma_gflops_core = 100;
  machine.fma_gflops_all = 100 * machine.threads;
  machine.tile_gflops_core = 90;
  machine.matrix_product_ns = 10;
  machine.l1_gbps_core = 200;
  machine.l2_gbps_core = 80;
  machine.l2_write_gbps_core = 60;
  machine.l3_gbps_core = 30;
  machine.l3_write_gbps_all = 25;
  machine.dram_gbps_all = 20;
  machine.dram_write_gbps_all = 15;
  machine.barrier_ns = 300;
}

}  // namespace corf::fuzz
