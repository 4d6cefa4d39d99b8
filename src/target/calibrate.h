#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "target/machine.h"
#include "target/measurements.h"

namespace corf {

/// Where calibration's figures come from: this machine, or what a test makes up in its place.
struct Measuring {
  std::function<CpuSpeed(const Machine&)> speed = measure_speed;
  std::function<void(Machine&, double seconds)> figures = measure_figures;
  std::function<int64_t()> now_s;  // of the calendar

  Measuring();
};

struct CalibrateOptions {
  /// Where results are kept: nothing is read or written if empty.
  std::string cache_dir = default_cache_dir();
  /// Measures anew even if there is a result, and replaces it.
  bool measure_anew = false;
  Measuring measuring;

  /// $XDG_CACHE_HOME/corf, or $HOME/.cache/corf; empty if neither is set.
  static std::string default_cache_dir();
};

/// `machine` with its measured fields filled: peaks of its ISA on one core and on `threads` cores,
/// read bandwidth of each cache level and of memory, latency of a barrier. Takes about two seconds
/// the first time, or a quarter of a second where the result cannot be kept; it is kept in
/// cache_dir/calibration-<cpu>-<isa>-<threads>.json, where a damaged file or one of another machine
/// is a miss. What cannot be measured stays 0.
///
/// A host may let a virtual machine's CPUs share one core for a while, or another machine share
/// theirs. A result is kept for good only if the machine was as fast before as after, each CPU like
/// one alone, and that about as fast as it says it is; or if a second one, a minute later at the
/// least, comes to the same. Until then it serves for a minute, and is measured again by the first
/// process that asks later.
Machine calibrate(Machine machine, const CalibrateOptions& options = {});

/// This machine with its measured fields filled, from the cache or measured once in this process.
/// For as many threads as there are CPUs: what more of them do is wait for each other.
Machine calibrated_machine(int threads, Isa isa);

/// The file that holds the result for `machine`.
std::string calibration_file(const Machine& machine, const std::string& cache_dir);

}  // namespace corf
