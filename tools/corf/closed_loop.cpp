#include "closed_loop.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

namespace corf::command {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kFewestRuns = 3;  // of each caller

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

/// body(caller) from that many threads at once, of which this one is the first. What one of them
/// throws is thrown here when all have ended.
void run_on_threads(int callers, const std::function<void(int caller)>& body) {
  std::mutex mutex;
  std::exception_ptr failure;
  const auto guarded = [&](int caller) {
    try {
      body(caller);
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  for (int caller = 1; caller < callers; ++caller) threads.emplace_back(guarded, caller);
  guarded(0);
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

double Timings::mean_ms() const {
  const double sum = std::accumulate(sorted_ms.begin(), sorted_ms.end(), 0.0);
  return sum / static_cast<double>(sorted_ms.size());
}

double Timings::median_ms() const { return median(sorted_ms); }

double Timings::quantile_ms(double fraction) const {
  const double rank = std::ceil(fraction * static_cast<double>(sorted_ms.size()));
  return sorted_ms[static_cast<size_t>(std::max(rank, 1.0)) - 1];
}

Timings measure_closed_loop(int callers, double seconds, double warmup_s,
                            const std::function<void(int caller)>& run,
                            const std::function<void(double share)>& progress) {
  std::atomic<bool> failed = false;
  std::vector<std::vector<double>> times_ms(static_cast<size_t>(callers));
  /// Every caller's runs for so long.
  const auto loop = [&](double duration, size_t fewest_runs) {
    const Clock::time_point begin = Clock::now();
    run_on_threads(callers, [&](int caller) {
      std::vector<double>& times = times_ms[static_cast<size_t>(caller)];
      Clock::time_point now = Clock::now();
      while (!failed && (seconds_between(begin, now) < duration || times.size() < fewest_runs)) {
        try {
          run(caller);
        } catch (...) {
          failed = true;
          throw;
        }
        const Clock::time_point end = Clock::now();
        times.push_back(seconds_between(now, end) * 1e3);
        now = end;
        if (caller == 0 && duration > 0) progress(seconds_between(begin, now) / duration);
      }
    });
    return seconds_between(begin, Clock::now());
  };
  loop(warmup_s, 1);
  for (std::vector<double>& times : times_ms) times.clear();
  Timings timings;
  timings.seconds = loop(seconds, kFewestRuns);
  for (const std::vector<double>& times : times_ms) {
    timings.sorted_ms.insert(timings.sorted_ms.end(), times.begin(), times.end());
  }
  std::sort(timings.sorted_ms.begin(), timings.sorted_ms.end());
  return timings;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace corf::command
