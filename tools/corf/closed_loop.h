#pragma once
#include <functional>
#include <vector>

namespace corf::command {

/// What callers measured that run something again and again, each as soon as its last run has
/// ended.
struct Timings {
  std::vector<double> sorted_ms;  // of single runs
  double seconds = 0;             // from the first run's start to the last one's end

  double mean_ms() const;
  double median_ms() const;
  /// The time below which `fraction` of the runs lie (nearest rank).
  double quantile_ms(double fraction) const;
  double runs_per_second() const { return static_cast<double>(sorted_ms.size()) / seconds; }
};

/// Calls run(caller) from `callers` threads at once, of which this one is the first, for so many
/// seconds and a few times at least; before that, for `warmup_s`, once at least. `progress`
/// receives the share that is done, on this thread. What `run` throws ends all, and is thrown here.
Timings measure_closed_loop(int callers, double seconds, double warmup_s,
                            const std::function<void(int caller)>& run,
                            const std::function<void(double share)>& progress);

double median(std::vector<double> values);

}  // namespace corf::command
