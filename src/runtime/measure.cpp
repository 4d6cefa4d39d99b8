#include "runtime/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

namespace corf::runtime {
namespace {

using Clock = std::chrono::steady_clock;

double ms_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

/// The smallest value that at least `fraction` of the sorted values do not exceed.
double quantile(const std::vector<double>& sorted, double fraction) {
  const auto rank = static_cast<size_t>(std::ceil(fraction * static_cast<double>(sorted.size())));
  return sorted[std::max<size_t>(rank, 1) - 1];
}

}  // namespace

Measurement measure(const std::function<void()>& run, const MeasureOptions& options) {
  const Clock::time_point warmup_start = Clock::now();
  do {
    run();
  } while (ms_between(warmup_start, Clock::now()) < options.warmup_s * 1e3);

  std::vector<double> times_ms;
  const Clock::time_point start = Clock::now();
  Clock::time_point before = start;
  const auto max_runs = static_cast<size_t>(std::max(options.max_runs, 1));
  const auto min_runs = std::min(static_cast<size_t>(std::max(options.min_runs, 1)), max_runs);
  do {
    before = Clock::now();
    run();
    times_ms.push_back(ms_between(before, Clock::now()));
  } while (
      times_ms.size() < max_runs &&
      (times_ms.size() < min_runs || ms_between(start, Clock::now()) < options.min_time_s * 1e3));

  std::sort(times_ms.begin(), times_ms.end());
  const size_t middle = times_ms.size() / 2;
  Measurement result;
  result.runs = static_cast<int>(times_ms.size());
  result.min_ms = times_ms.front();
  result.median_ms =
      times_ms.size() % 2 == 1 ? times_ms[middle] : (times_ms[middle - 1] + times_ms[middle]) / 2;
  result.p95_ms = quantile(times_ms, 0.95);
  return result;
}

}  // namespace corf::runtime
