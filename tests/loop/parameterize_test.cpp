#include "loop/passes/parameterize.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>

#include "loop/interpret.h"
#include "loop/passes/share_kernels.h"
#include "loop/renumber.h"
#include "tests/loop/programs.h"

namespace corf::loop {
namespace {

/// A 1x1 convolution over `pixels` x `channels`, 16 outputs, beginning at channel `start` of rows
/// of `stride` elements.
std::string convolution(const std::string& name, int pixels, int channels, int stride, int start,
                        int scratch) {
  return fmt::format(R"(
kernel {0}(x: f32[{1}], w: f32[{2}], y: f32[{3}] mut) partition part scratch(row: f32[{6}]) {{
  for p in [(part*{4} floordiv 2), ((part*{4} + {4}) floordiv 2)) step 1 {{
    tile (i: {6}) {{
      %z = const f32 0
      store row[i] = %z
    }}
    tile (c: 16 vector) {{
      %zero = load f32 row[0]
      acc %sum f32 (c) = %zero
      loop k in [0, {5}) step 1 unroll 2 {{
        %x = load f32 x[p*{7} + k + {8}]
        %w = load f32 w[k*16 + c]
        %sum += %x * %w
      }}
      loop t in [0, {9}) step 1 unroll 1 {{
        %sum += %zero
      }}
      store y[p*16 + c] = %sum
    }}
  }}
}}
)",
                     name, pixels * stride, channels * 16, pixels * 16, pixels, channels, scratch,
                     stride, start, 3);
}

struct Layer {
  int pixels, channels, stride, start, scratch;
};

Program dense_block(const std::vector<Layer>& layers) {
  std::string text, calls;
  for (size_t i = 0; i < layers.size(); ++i) {
    const Layer& l = layers[i];
    text += fmt::format(
        "buffer x{0}: f32[{1}] input {2}\nbuffer w{0}: f32[{3}] input {4}\n"
        "buffer y{0}: f32[{5}] output {0}\n",
        i, l.pixels * l.stride, 2 * i, l.channels * 16, 2 * i + 1, l.pixels * 16);
    calls += fmt::format("call k{0}(x{0}, w{0}, y{0}) partitions 2 label \"{0}\"\n", i);
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    const Layer& l = layers[i];
    text += convolution(fmt::format("k{}", i), l.pixels, l.channels, l.stride, l.start, l.scratch);
  }
  return parse(text + calls);
}

std::vector<Tensor> inputs_of(const std::vector<Layer>& layers) {
  std::vector<Tensor> inputs;
  for (const Layer& l : layers) {
    inputs.push_back(small_integers(l.pixels * l.stride, 2 * inputs.size()));
    inputs.push_back(small_integers(l.channels * 16, 2 * inputs.size() + 1));
  }
  return inputs;
}

TEST(Parameterize, KernelsThatDifferInExtentsAreMerged) {
  const std::vector<Layer> layers = {
      {10, 20, 64, 0, 4}, {10, 30, 64, 0, 4}, {14, 25, 32, 3, 4}, {10, 30, 64, 34, 4}};
  const Program program = dense_block(layers);
  const Program merged = parameterize(program);
  ASSERT_EQ(merged.kernels.size(), 1u) << to_string(merged);
  // Pixels, channels, stride and start.
  EXPECT_EQ(merged.kernels[0].num_params, 4) << to_string(merged.kernels[0]);
  EXPECT_EQ(std::get<KernelCall>(merged.steps[3]).params.size(), 4u);
  expect_same(program, merged, inputs_of(layers));
  Result<Program> again = parse_program(to_string(merged));
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(to_string(*again), to_string(merged));
}

TEST(Parameterize, OnlyWhatDiffersBecomesAParameter) {
  const std::vector<Layer> layers = {{10, 20, 64, 5, 4}, {10, 30, 64, 5, 4}};
  const Program program = dense_block(layers);
  const Program merged = parameterize(program);
  ASSERT_EQ(merged.kernels.size(), 1u);
  EXPECT_EQ(merged.kernels[0].num_params, 1);
  EXPECT_EQ(merged.kernels[0].var_names[1], "k_end");
  EXPECT_EQ(std::get<KernelCall>(merged.steps[0]).params, std::vector<int64_t>{20});
  EXPECT_EQ(std::get<KernelCall>(merged.steps[1]).params, std::vector<int64_t>{30});
  expect_same(program, merged, inputs_of(layers));
}

/// What a later program's kernels have become.
struct Later {
  Kernel kernel;
  KernelCall call;
};

Later become(const Layer& layer, KnownKernels& known) {
  const Program program = dense_block({layer});
  const Program result = parameterize(program, &known);
  EXPECT_TRUE(verify(result)) << to_string(result);
  expect_same(program, result, inputs_of({layer}));
  EXPECT_EQ(to_string(parse(to_string(result))), to_string(result));
  return {result.kernels.at(0), std::get<KernelCall>(result.steps.at(0))};
}

TEST(Parameterize, KernelsOfLaterProgramsBecomeThoseOfEarlierOnes) {
  KnownKernels known;
  EXPECT_EQ(become({10, 20, 64, 5, 4}, known).kernel.num_params, 0);
  EXPECT_EQ(become({10, 20, 64, 5, 4}, known).kernel.num_params, 0);
  // The first and the last pixel, the strides of both rows, the start: before they differ. The end
  // of the loop inside of the tile: it has differed.
  const Later second = become({10, 30, 64, 5, 4}, known);
  EXPECT_EQ(second.kernel.num_params, 6) << to_string(second.kernel);
  EXPECT_EQ(anonymous_text(become({13, 30, 60, 9, 4}, known).kernel),
            anonymous_text(second.kernel));
  EXPECT_EQ(anonymous_text(become({7, 40, 61, 2, 4}, known).kernel), anonymous_text(second.kernel));
}

TEST(Parameterize, WhatHasDifferedUnderOtherTilesIsAParameterAtOnce) {
  KnownKernels known;
  become({10, 20, 64, 5, 4}, known);
  // Another extent of the first tile, and of the loop inside of the second.
  const Later second = become({10, 30, 64, 5, 8}, known);
  EXPECT_EQ(second.kernel.num_params, 6) << to_string(second.kernel);
  EXPECT_EQ(anonymous_text(become({10, 33, 64, 5, 8}, known).kernel),
            anonymous_text(second.kernel));
}

TEST(Parameterize, ParametersMayDifferBetweenPartitions) {
  KnownKernels known;
  become({10, 20, 64, 5, 4}, known);
  const auto [kernel, call] = become({9, 30, 64, 5, 4}, known);
  ASSERT_EQ(std::ssize(call.params), call.partitions * kernel.num_params);
  // 9 pixels for two: 4 and 5.
  const auto first = call.params_of(0, kernel.num_params);
  const auto second = call.params_of(1, kernel.num_params);
  EXPECT_EQ(first[0], 0);
  EXPECT_EQ(first[1], 4);
  EXPECT_EQ(second[0], 4);
  EXPECT_EQ(second[1], 9);
}

TEST(Parameterize, TileExtentsAndShortLoopsStayConstant) {
  // Scratch of different sizes is filled by tiles of different extents here.
  const Program tiles = dense_block({{10, 20, 64, 0, 4}, {10, 20, 64, 0, 8}});
  EXPECT_EQ(parameterize(tiles).kernels.size(), 2u);
  // 3 and 5 channels are short reductions.
  const Program loops = dense_block({{10, 3, 64, 0, 4}, {10, 5, 64, 0, 4}});
  EXPECT_EQ(parameterize(loops).kernels.size(), 2u);
}

/// The sums of `rows` rows of `columns` elements, by threes, and twice the elements in vectors that
/// the last of each row does not fill; the largest of each row, 16 at a time, the rest guarded.
Program rows_of(int rows, int columns) {
  const int whole = columns / 16 * 16;
  std::string text = fmt::format(R"(
buffer x: f32[{0}] input 0
buffer sums: f32[{1}] output 0
buffer twice: f32[{0}] output 1
buffer largest: f32[{1}] output 2
kernel k(x: f32[{0}], sums: f32[{1}] mut, twice: f32[{0}] mut, largest: f32[{1}] mut) partition part {{
  for r in [0, {1}) step 3 {{
    tile (i: 3) {{
      %z = const f32 0
      acc %sum f32 (i) = %z
      loop k in [0, {2}) step 1 unroll 1 {{
        %x = load f32 x[r*{2} + i*{2} + k]
        %sum += %x
      }}
      store sums[r + i] = %sum
    }}
    tile (j: 3, c: {2} vector) {{
      %y = load f32 x[r*{2} + j*{2} + c]
      %two = add f32 %y, %y
      store twice[r*{2} + j*{2} + c] = %two
    }}
  }}
  for q in [0, {1}) step 1 {{
    tile (l: 16 vector) {{
      %least = const f32 -1000
      acc %most f32 (l) = %least
      loop b in [0, {3}) step 16 unroll 1 {{
        %v = load f32 x[q*{2} + b + l]
        %most max= %v
      }}
      %w = load f32 x[q*{2} + l + {3}] guard(0 <= l + {3} < {2})
      %at = index i64 l + {3}
      %end = const i64 {2}
      %inside = less bool %at, %end
      %rest = select f32 %inside, %w, %least
      %most max= %rest
      %one = reduce max f32 %most over l
      store largest[q] = %one
    }}
  }}
}}
call k(x, sums, twice, largest) partitions 1 label "rows"
)",
                                 rows * columns, rows, columns, whole);
  return parse(text);
}

TEST(Parameterize, TilesOfVaryingExtentsAreMasked) {
  constexpr int64_t kLanes = 8;
  KnownKernels known;
  std::map<std::string, std::vector<int>> columns_of;  // by kernel
  for (const int columns : {50, 67, 71, 72, 69, 66, 65, 75, 77, 79, 73}) {
    SCOPED_TRACE(columns);
    const Program program = rows_of(6, columns);
    const Program result = parameterize(program, &known, kLanes);
    EXPECT_TRUE(verify(result)) << to_string(result);
    expect_same(program, result, {small_integers(6 * columns, 1)});
    EXPECT_EQ(to_string(parse(to_string(result))), to_string(result));
    columns_of[anonymous_text(result.kernels.at(0))].push_back(columns);
  }
  // The first shape's, that of the second, which shows what differs, one for each number of
  // vectors, and whole vectors, which need no mask.
  std::vector<std::vector<int>> alike;
  for (const auto& [kernel, columns] : columns_of) alike.push_back(columns);
  std::ranges::sort(alike);
  EXPECT_EQ(alike,
            (std::vector<std::vector<int>>{{50}, {67}, {71, 69, 66, 65}, {72}, {75, 77, 79, 73}}));
}

TEST(Parameterize, ChanceDoesNotMakeTwoParametersOne) {
  KnownKernels known;
  become({10, 20, 64, 5, 4}, known);
  become({12, 30, 70, 12, 4}, known);  // as many pixels as the start
  const std::string general = anonymous_text(become({10, 31, 72, 5, 8}, known).kernel);
  EXPECT_EQ(anonymous_text(become({9, 33, 74, 9, 8}, known).kernel), general);
  EXPECT_EQ(anonymous_text(become({9, 33, 74, 7, 8}, known).kernel), general);
}

TEST(Parameterize, AProgramWithNothingToMergeStays) {
  const Program program = parse(read_golden("conv.corf"));
  EXPECT_EQ(to_string(parameterize(program)), to_string(program));
  EXPECT_EQ(to_string(share_kernels(program)), to_string(program));
}

TEST(Parameterize, RandomBlocksKeepTheirResults) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    std::vector<Layer> layers(2 + random() % 4);
    for (Layer& l : layers) {
      l.pixels = 1 + static_cast<int>(random() % 12);
      l.channels = 1 + static_cast<int>(random() % 40);
      l.start = static_cast<int>(random() % 3);
      l.stride = l.channels + l.start + static_cast<int>(random() % 2);
      l.scratch = 1 + static_cast<int>(random() % 2);
    }
    const Program program = dense_block(layers);
    const Program merged = parameterize(share_kernels(program));
    EXPECT_LE(merged.kernels.size(), program.kernels.size());
    expect_same(program, merged, inputs_of(layers));
  }
}

}  // namespace
}  // namespace corf::loop
