#pragma once
#include <string>

#include "target/machine.h"

namespace corf {

/// Measured fields that are better the larger, and the smaller, they are.
constexpr double Machine::* kRates[] = {
    &Machine::fma_gflops_core,   &Machine::fma_gflops_all,      &Machine::tile_gflops_core,
    &Machine::l1_gbps_core,      &Machine::l2_gbps_core,        &Machine::l3_gbps_core,
    &Machine::l3_gbps_all,       &Machine::dram_gbps_all,       &Machine::l2_write_gbps_core,
    &Machine::l3_write_gbps_all, &Machine::dram_write_gbps_all, &Machine::remote_gbps_core};
constexpr double Machine::* kTimes[] = {&Machine::matrix_product_ns, &Machine::barrier_ns};

/// `machine` with each figure the better of the two.
Machine take_better(Machine machine, const Machine& other);

/// A machine with its measured fields, and how far they are to be believed.
struct Calibration {
  Machine machine;
  bool is_settled = false;  // kept for good
  int64_t taken_s = 0;      // when, of the calendar
  int results = 1;          // that it is the best of
};

/// Fills the measured fields, and all others, from `file`. False, and nothing changed, if there is
/// no such file, it is damaged, or it describes another machine.
bool read_calibration(const std::string& file, Calibration& calibration);

/// Writes the file whole or not at all (another name, then renamed). Makes the folder. False if
/// that fails: the next process measures again.
bool write_calibration(const std::string& file, const Calibration& calibration);

}  // namespace corf
