#include "runtime/measure.h"

#include <chrono>
#include <gtest/gtest.h>
#include <thread>

namespace corf::runtime {
namespace {

TEST(Measure, TimesSingleRunsInOrder) {
  int calls = 0;
  const Measurement m = measure(
      [&] {
        ++calls;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      },
      {.min_time_s = 0.05, .min_runs = 3, .warmup_s = 0});
  EXPECT_GE(m.runs, 3);
  EXPECT_EQ(calls, m.runs + 1) << "one warm-up run is not counted";
  EXPECT_GE(m.min_ms, 2.0);
  EXPECT_LE(m.min_ms, m.median_ms);
  EXPECT_LE(m.median_ms, m.p95_ms);
}

TEST(Measure, StopsAtTheMostRuns) {
  int calls = 0;
  const Measurement m =
      measure([&] { ++calls; }, {.min_time_s = 100, .max_runs = 7, .warmup_s = 0});
  EXPECT_EQ(m.runs, 7);
  EXPECT_EQ(calls, 8);
}

TEST(Measure, RunsAtLeastAsOftenAsAsked) {
  const Measurement m = measure([] {}, {.min_time_s = 0, .min_runs = 11, .warmup_s = 0});
  EXPECT_GE(m.runs, 11);
}

/// Run i takes about i ms, so that the quantiles are known.
TEST(Measure, QuantilesAreThoseOfTheRuns) {
  int call = -1;
  const Measurement m = measure(
      [&] {
        ++call;
        const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(call);
        while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
      },
      {.min_time_s = 0, .min_runs = 20, .max_runs = 20, .warmup_s = 0});
  EXPECT_EQ(m.runs, 20);
  EXPECT_GE(m.min_ms, 1.0);
  EXPECT_GE(m.median_ms, 10.5);
  EXPECT_GE(m.p95_ms, 19.0);
}

}  // namespace
}  // namespace corf::runtime
