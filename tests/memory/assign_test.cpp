#include "memory/assign.h"

#include <gtest/gtest.h>
#include <random>

#include "loop/text.h"

namespace corf::memory {
namespace {

loop::Program parse(const std::string& text) {
  Result<loop::Program> program = loop::parse_program(text);
  EXPECT_TRUE(program.ok()) << program.error().message;
  return program.ok() ? program.take() : loop::Program{};
}

TEST(Assign, ChainReusesTwoPlaces) {
  const loop::Program program = parse(
      "buffer x: f32[100] input 0\nbuffer w: f32[10] constant hash 0\n"
      "buffer v: i8[3] constant hash 0\n"
      "buffer a: f32[100] arena\nbuffer b: f32[100] arena\nbuffer c: f32[100] arena\n"
      "buffer unused: f32[1000] arena\nbuffer y: f32[100] output 0\n"
      "kernel k(i: f32[1], o: f32[1] mut) partition part scratch(s: f32[20], t: i8[1]) { }\n"
      "call k(x, a) partitions 1\ncall k(a, b) partitions 1\ncall k(b, c) partitions 1\n"
      "routine \"r\"(c: 100, w: 10, v: 3) -> (y: 100)\n");
  const MemoryPlan plan = assign(program);
  EXPECT_EQ(plan.arena_bytes, 2 * 448);
  EXPECT_EQ(plan.peak_live_bytes, 2 * 448);
  EXPECT_EQ(plan.offset_bytes[3], plan.offset_bytes[5]);
  EXPECT_NE(plan.offset_bytes[3], plan.offset_bytes[4]);
  EXPECT_EQ(plan.offset_bytes[1], 0);
  EXPECT_EQ(plan.offset_bytes[2], 64);
  EXPECT_EQ(plan.constants_bytes, 128);
  EXPECT_EQ(plan.scratch_bytes, 128 + 64);
}

TEST(Assign, ResidualStaysAlive) {
  const loop::Program program = parse(
      "buffer x: f32[16] input 0\nbuffer a: f32[16] arena\nbuffer b: f32[16] arena\n"
      "buffer c: f32[16] arena\nbuffer y: f32[16] output 0\n"
      "kernel k(i: f32[1], o: f32[1] mut) partition part { }\n"
      "kernel add(i: f32[1], j: f32[1], o: f32[1] mut) partition part { }\n"
      "call k(x, a) partitions 1\ncall k(a, b) partitions 1\ncall k(b, c) partitions 1\n"
      "call add(a, c, y) partitions 1\n");
  const std::vector<LiveRange> ranges = live_ranges(program);
  EXPECT_EQ(ranges[1].first, 0);
  EXPECT_EQ(ranges[1].last, 3);
  EXPECT_EQ(assign(program).arena_bytes, 3 * 64);
}

/// A network whose steps each read a few recent buffers and write a new one.
loop::Program random_program(uint32_t seed) {
  std::mt19937 random(seed);
  loop::Program program;
  program.kernels.resize(1);
  const int num_steps = 1 + static_cast<int>(random() % 60);
  for (int step = 0; step < num_steps; ++step) {
    loop::Buffer buffer;
    buffer.name = "b" + std::to_string(step);
    const uint32_t largest = random() % 3 == 0 ? 100000 : 5000;
    buffer.size_elems = 1 + static_cast<int64_t>(random() % largest);
    program.buffers.push_back(buffer);
    loop::KernelCall call;
    call.buffers = {step};
    for (uint32_t reads = 1 + random() % 2; reads > 0 && step > 0; --reads) {
      const uint32_t furthest = random() % 5 == 0 ? step : 2;
      const int back = 1 + static_cast<int>(random() % furthest);
      call.buffers.push_back(std::max(0, step - back));
    }
    program.steps.push_back(call);
  }
  return program;
}

TEST(Assign, LiveBuffersNeverShareBytesAndTheArenaIsSmall) {
  double worst = 0, sum = 0;
  for (uint32_t seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE(seed);
    const loop::Program program = random_program(seed);
    const MemoryPlan plan = assign(program);
    const std::vector<LiveRange> ranges = live_ranges(program);
    for (size_t a = 0; a < program.buffers.size(); ++a) {
      const int64_t end_a = plan.offset_bytes[a] + 4 * program.buffers[a].size_elems;
      ASSERT_EQ(plan.offset_bytes[a] % 64, 0);
      ASSERT_LE(end_a, plan.arena_bytes);
      for (size_t b = a + 1; b < program.buffers.size(); ++b) {
        const bool both_live =
            ranges[a].first <= ranges[b].last && ranges[b].first <= ranges[a].last;
        const int64_t end_b = plan.offset_bytes[b] + 4 * program.buffers[b].size_elems;
        const bool apart = end_a <= plan.offset_bytes[b] || end_b <= plan.offset_bytes[a];
        ASSERT_TRUE(!both_live || apart) << a << " " << b;
      }
    }
    ASSERT_GE(plan.arena_bytes, plan.peak_live_bytes);
    worst = std::max(
        worst, static_cast<double>(plan.arena_bytes) / static_cast<double>(plan.peak_live_bytes));
  }
  EXPECT_LE(worst, 1.3);
  EXPECT_LE(sum / 1000, 1.02);
}

TEST(Assign, EmptyProgramNeedsNothing) {
  const MemoryPlan plan = assign({});
  EXPECT_EQ(plan.arena_bytes, 0);
  EXPECT_EQ(plan.scratch_bytes, 0);
}

}  // namespace
}  // namespace corf::memory
