#include <gtest/gtest.h>

#include "fusion/plan.h"

namespace corf::fusion {
namespace {

/// m=32 oh=6 ow=10 | c=16 kh=3 kw=3
Nest nest() {
  Nest result;
  result.axes = {{"m", 32, false}, {"oh", 6, false}, {"ow", 10, false},
                 {"c", 16, true},  {"kh", 3, true},  {"kw", 3, true}};
  return result;
}

NestSchedule legal() {
  NestSchedule schedule;
  schedule.vector_axis = 0;
  schedule.vector_tile = 16;
  schedule.register_tile = {{2, 5}};
  schedule.unrolled_reductions = {5};
  schedule.reduction_order = {3, 4};
  schedule.parallel_order = {1, 0, 2};
  schedule.block_axis = 2;
  schedule.block_tiles = 1;
  schedule.partition_axis = 1;
  schedule.partitions = 2;
  schedule.reduction_unroll = 4;
  return schedule;
}

TEST(CheckSchedule, AcceptsWhatFits) {
  EXPECT_TRUE(check_schedule(nest(), legal()).ok());
  NestSchedule scalar;
  scalar.parallel_order = {0, 1, 2};
  scalar.reduction_order = {3, 4, 5};
  EXPECT_TRUE(check_schedule(nest(), scalar).ok());
}

/// `change` makes the legal schedule an illegal one, for a reason that holds `words`.
void expect_fault(const std::string& words, void (*change)(NestSchedule&),
                  const Nest& of = nest()) {
  NestSchedule schedule = legal();
  change(schedule);
  const Status status = check_schedule(of, schedule);
  ASSERT_FALSE(status.ok()) << words;
  EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(status.error().message.find(words), std::string::npos)
      << words << " in: " << status.error().message;
}

TEST(CheckSchedule, WantsEachAxisOnce) {
  const std::string words = "each parallel axis must stand once";
  expect_fault(words, [](NestSchedule& s) { s.parallel_order = {1, 0}; });
  expect_fault(words, [](NestSchedule& s) { s.parallel_order = {1, 0, 2, 2}; });
  expect_fault(words, [](NestSchedule& s) { s.parallel_order = {1, 0, 2, 3}; });
  expect_fault(words, [](NestSchedule& s) { s.reduction_order = {3}; });
  expect_fault(words, [](NestSchedule& s) { s.reduction_order = {3, 4, 5}; });  // 5 is unrolled
  expect_fault(words, [](NestSchedule& s) { s.reduction_order = {3, 4, 0}; });
  expect_fault(words, [](NestSchedule& s) { s.unrolled_reductions = {5, 1}; });
}

TEST(CheckSchedule, RefusesCountsBelowOne) {
  const std::string words = "must be positive";
  expect_fault(words, [](NestSchedule& s) { s.vector_tile = 0; });
  expect_fault(words, [](NestSchedule& s) { s.vector_tile = -16; });
  expect_fault(words, [](NestSchedule& s) { s.partitions = 0; });
  expect_fault(words, [](NestSchedule& s) { s.reduction_unroll = 0; });
}

TEST(CheckSchedule, TilesParallelAxesOnly) {
  const std::string words = "`tile` takes parallel axes";
  expect_fault(words, [](NestSchedule& s) { s.register_tile = {{3, 2}}; });
  expect_fault(words, [](NestSchedule& s) { s.register_tile = {{0, 2}}; });  // the vector axis
  expect_fault(words, [](NestSchedule& s) { s.register_tile = {{2, 0}}; });
}

TEST(CheckSchedule, LimitsTheTile) {
  expect_fault("too large", [](NestSchedule& s) { s.register_tile = {{2, 5000}}; });
  expect_fault("65536 points", [](NestSchedule& s) { s.register_tile = {{2, 4000}, {1, 4000}}; });
  Nest long_reduction = nest();
  long_reduction.axes[5].extent = 5000;
  expect_fault("too long", [](NestSchedule&) {}, long_reduction);
  Nest empty_reduction = nest();
  empty_reduction.axes[5].extent = 0;
  expect_fault("empty reduction", [](NestSchedule&) {}, empty_reduction);
}

TEST(CheckSchedule, KeepsVectorsWithinTheirAxis) {
  expect_fault("longer than its axis", [](NestSchedule& s) { s.vector_tile = 48; });
  expect_fault("cannot be unrolled", [](NestSchedule& s) {
    s.vector_axis = 5;
    s.vector_tile = 3;
  });
}

TEST(CheckSchedule, BlocksAndSplitsParallelAxes) {
  expect_fault("`block`", [](NestSchedule& s) { s.block_axis = 3; });
  expect_fault("`block`", [](NestSchedule& s) { s.block_tiles = 0; });
  expect_fault("`split`", [](NestSchedule& s) { s.partition_axis = 4; });
  expect_fault("`split`", [](NestSchedule& s) { s.partition_axis = -1; });
}

}  // namespace
}  // namespace corf::fusion
