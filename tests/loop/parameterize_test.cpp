#include "loop/passes/parameterize.h"

#include <gtest/gtest.h>

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
  // The first and the last pixel, the strides of both rows, the start: before they differ.
  const Later second = become({10, 30, 64, 5, 4}, known);
  EXPECT_EQ(second.kernel.num_params, 5) << to_string(second.kernel);
  EXPECT_EQ(anonymous_text(become({13, 30, 60, 9, 4}, known).kernel),
            anonymous_text(second.kernel));
  // The loop inside of the tile differs: one more parameter, with which the next ones are the same.
  const Later third = become({10, 25, 64, 5, 4}, known);
  EXPECT_EQ(third.kernel.num_params, 6) << to_string(third.kernel);
  EXPECT_EQ(anonymous_text(become({7, 40, 61, 2, 4}, known).kernel), anonymous_text(third.kernel));
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
