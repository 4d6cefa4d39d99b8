#include "loop/statistics.h"

#include <gtest/gtest.h>

#include "loop/registers.h"
#include "tests/loop/programs.h"

namespace corf::loop {
namespace {

Kernel kernel_of(const std::string& text) {
  Result<Kernel> kernel = parse_kernel(text);
  EXPECT_TRUE(kernel.ok()) << kernel.error().message;
  return kernel.ok() ? kernel.take() : Kernel{};
}

TEST(Statistics, ConvolutionCountsItsWork) {
  Result<Program> program = parse_program(read_golden("conv.corf"));
  ASSERT_TRUE(program.ok());
  const Statistics s = statistics(program->kernels[0], {}, 2, 8);
  const int64_t tiles = 4 * 2;
  EXPECT_EQ(s.tiles, tiles);
  EXPECT_EQ(s.flops, tiles * (8 * 4 * 16 * 2 + 4 * 16));
  EXPECT_EQ(s.broadcasts, tiles * 8 * 4);
  EXPECT_EQ(s.vector_loads, tiles * (2 + 8 * 2));  // 16 channels are 2 registers of 8
  EXPECT_EQ(s.vector_stores, tiles * 4 * 2);
  EXPECT_EQ(s.gathers, 0);
  EXPECT_EQ(s.store_bytes, tiles * 64 * 4);
}

TEST(Statistics, BoundsThatVaryAreFollowed) {
  const Kernel kernel = kernel_of(
      "kernel k(y: f32[100] mut) partition part params(n) {\n"
      " for i in [part, n) step 1 { for j in [0, i) step 2 { tile (a: 3 vector) {\n"
      "  %0 = const f32 1\n loop t in [0, j) step 1 unroll 1 { %1 = add f32 %0, %0 }\n"
      "  store y[a*2] = %0 } } } }");
  int64_t flops = 0, tiles = 0;
  for (int64_t part = 0; part < 3; ++part) {
    for (int64_t i = part; i < 7; ++i) {
      for (int64_t j = 0; j < i; j += 2) {
        ++tiles;
        flops += j;
      }
    }
  }
  const int64_t params[] = {7};
  const Statistics s = statistics(kernel, params, 3, 16);
  EXPECT_EQ(s.tiles, tiles);
  EXPECT_EQ(s.flops, flops);
  EXPECT_EQ(s.scalar_stores, 3 * tiles);
}

int pressure(const std::string& text, int lanes) {
  return register_pressure(std::get<Tile>(kernel_of(text).body[0]), lanes);
}

TEST(RegisterPressure, MatrixTileIsAccumulatorsOneRowAndABroadcast) {
  const std::string text = R"(kernel k(x: f32[999], w: f32[999], y: f32[999] mut) partition part {
    tile (p: 8, c: 48 vector) {
      %z = const f32 0
      acc %s f32 (p, c) = %z
      loop k in [0, 64) step 1 unroll 1 {
        %x = load f32 x[p*64 + k]
        %w = load f32 w[k*48 + c]
        %s += %x * %w
      }
      store y[p*48 + c] = %s
    }
  })";
  EXPECT_EQ(pressure(text, 16), 24 + 3 + 1);
  EXPECT_EQ(pressure(text, 8), 48 + 6 + 1);
}

TEST(RegisterPressure, DepthwiseTileHoldsTapsOfOnePiece) {
  const std::string text = R"(kernel k(x: f32[999], w: f32[999], y: f32[999] mut) partition part {
    tile (p: 4, c: 16 vector, kh: 3, kw: 3) {
      %z = const f32 0
      acc %s f32 (p, c) = %z
      %x = load f32 x[kh*64 + (p + kw)*16 + c]
      %w = load f32 w[(kh*3 + kw)*16 + c]
      %s += %x * %w over (kh, kw)
      store y[p*16 + c] = %s
    }
  })";
  EXPECT_EQ(pressure(text, 16), 4 + 9 + 1);
}

TEST(RegisterPressure, ValuesFromOutsideOfALoopAreHeld) {
  const std::string inside = R"(kernel k(x: f32[999], w: f32[999], y: f32[999] mut) partition part {
    tile (c: 64 vector) {
      %z = const f32 0
      acc %s f32 (c) = %z
      loop k in [0, 64) step 1 unroll 1 {
        %w = load f32 w[c]
        %x = load f32 x[k]
        %s += %x * %w
      }
      store y[c] = %s
    }
  })";
  std::string outside = inside;
  const std::string load = "%w = load f32 w[c]\n";
  outside.erase(outside.find(load), load.size());
  outside.insert(outside.find("loop"), load);
  EXPECT_EQ(pressure(inside, 16), 4 + 4 + 1);
  EXPECT_EQ(pressure(outside, 16), 4 + 4 + 1);
}

}  // namespace
}  // namespace corf::loop
