#pragma once
#include <string>

#include "target/machine.h"

namespace corf {

struct CalibrateOptions {
  /// Where results are kept: nothing is read or written if empty.
  std::string cache_dir = default_cache_dir();
  /// Measures anew even if there is a result, and replaces it.
  bool measure_anew = false;

  /// $XDG_CACHE_HOME/corf, or $HOME/.cache/corf; empty if neither is set.
  static std::string default_cache_dir();
};

/// `machine` with its measured fields filled: peaks of its ISA on one core and on `threads` cores,
/// read bandwidth of each cache level and of memory, latency of a barrier. Takes about a second the
/// first time; the result is kept in cache_dir/calibration-<cpu>-<isa>-<threads>.json, where a
/// damaged file or one of another machine is a miss. What cannot be measured stays 0.
Machine calibrate(Machine machine, const CalibrateOptions& options = {});

/// This machine with its measured fields filled, from the cache or measured once in this process.
Machine calibrated_machine(int threads, Isa isa);

/// The file that holds the result for `machine`.
std::string calibration_file(const Machine& machine, const std::string& cache_dir);

}  // namespace corf
