#pragma once
#include <functional>

namespace corf::runtime {

struct MeasureOptions {
  double min_time_s = 0.5;  // at least so long altogether, warm-up apart
  int min_runs = 5;
  int max_runs = 1'000'000;
  double warmup_s = 0.05;  // at least one run
};

/// Times of single runs.
struct Measurement {
  double median_ms = 0, min_ms = 0, p95_ms = 0;
  int runs = 0;
};

/// Times `run` until the options' bounds are met: the one routine by which candidates, kernels and
/// models are timed.
Measurement measure(const std::function<void()>& run, const MeasureOptions& options = {});

}  // namespace corf::runtime
