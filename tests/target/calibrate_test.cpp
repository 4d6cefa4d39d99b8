#include "target/calibrate.h"

#include <ctime>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>
#include <vector>

#include "target/calibration_cache.h"
#include "target/calibration_kernels.h"

namespace corf {
namespace {

class Calibration : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::temp_directory_path() /
           ("corf_calibration_" + std::to_string(::getpid()) + "_" +
            testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  static Machine measured_machine() {
    Machine machine = detect_machine(2);
    machine.fma_gflops_core = 100.5;
    machine.fma_gflops_all = 201;
    machine.l1_gbps_core = 400;
    machine.l2_gbps_core = 200;
    machine.l3_gbps_core = 86;
    machine.dram_gbps_all = 25;
    machine.barrier_ns = 333;
    return machine;
  }

  std::string text_of(const std::string& file) {
    std::ifstream stream(file);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  std::filesystem::path dir_;
};

TEST(CalibrationKernels, SumReadsEveryElementOnce) {
  std::vector<float> storage(2048 + 16);
  auto address = reinterpret_cast<uintptr_t>(storage.data());
  float* data = reinterpret_cast<float*>((address + 63) / 64 * 64);
  for (int i = 0; i < 2048; ++i) data[i] = static_cast<float>(i % 7);
  float expected = 0;
  for (int i = 0; i < 2048; ++i) expected += data[i];
  for (const Isa isa : kIsas) {
    if (!has_isa(isa)) continue;
    EXPECT_EQ(calibration_kernels(isa).sum(data, 2048), expected) << to_string(isa);
  }
}

TEST(CalibrationKernels, MultiplyAddsAreCounted) {
  for (const Isa isa : kIsas) {
    if (!has_isa(isa)) continue;
    const CalibrationKernels kernels = calibration_kernels(isa);
    // x -> 0.999 x + 0.001 from 0, 1, 2 ...: every accumulator goes to 1.
    const int64_t accumulators =
        kernels.flops_per_iteration / 2 / detect_machine(1, isa).f32_lanes();
    EXPECT_NEAR(kernels.multiply_add(200'000), static_cast<float>(accumulators), 0.05f)
        << to_string(isa);
  }
}

TEST_F(Calibration, MeasuresKeepsAndReadsBack) {
  CalibrateOptions options{.cache_dir = dir_.string()};
  const std::clock_t start = std::clock();
  const Machine first = calibrate(detect_machine(2), options);
  // Processor time of both threads: others may be using the machine.
  EXPECT_LT(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC, 2 * 5.0);
  EXPECT_GT(first.fma_gflops_core, 0.1);
  EXPECT_GT(first.fma_gflops_all, 0.1);
  EXPECT_GT(first.l1_gbps_core, 0.1);
  EXPECT_GT(first.l2_gbps_core, 0.1);
  EXPECT_GT(first.l3_gbps_core, 0.1);
  EXPECT_GT(first.dram_gbps_all, 0.1);
  EXPECT_GT(first.barrier_ns, 0);
  RecordProperty("calibration", text_of(calibration_file(first, dir_.string())));

  const Machine second = calibrate(detect_machine(2), options);
  EXPECT_EQ(second.fma_gflops_core, first.fma_gflops_core) << "read, not measured again";
  EXPECT_EQ(second.barrier_ns, first.barrier_ns);
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir_)) {
    EXPECT_EQ(entry.path().extension(), ".json") << "nothing unfinished is left";
    ++files;
  }
  EXPECT_EQ(files, 1);
}

TEST_F(Calibration, FileRoundTrips) {
  const Machine machine = measured_machine();
  const std::string file = calibration_file(machine, dir_.string());
  EXPECT_NE(file.find("-2.json"), std::string::npos);
  EXPECT_EQ(file.find(' '), std::string::npos);
  Machine read = detect_machine(2);
  EXPECT_FALSE(read_calibration(file, read));
  ASSERT_TRUE(write_calibration(file, machine));
  ASSERT_TRUE(read_calibration(file, read));
  EXPECT_EQ(read.fma_gflops_core, 100.5);
  EXPECT_EQ(read.fma_gflops_all, 201);
  EXPECT_EQ(read.l1_gbps_core, 400);
  EXPECT_EQ(read.l2_gbps_core, 200);
  EXPECT_EQ(read.l3_gbps_core, 86);
  EXPECT_EQ(read.dram_gbps_all, 25);
  EXPECT_EQ(read.barrier_ns, 333);
}

TEST_F(Calibration, ForeignOrDamagedFilesAreMisses) {
  const Machine machine = measured_machine();
  const std::string file = calibration_file(machine, dir_.string());
  ASSERT_TRUE(write_calibration(file, machine));
  const std::string good = text_of(file);

  Machine other = detect_machine(3);
  EXPECT_FALSE(read_calibration(file, other)) << "other thread count";
  other = detect_machine(2);
  other.l2_bytes *= 2;
  EXPECT_FALSE(read_calibration(file, other)) << "other caches";

  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  std::vector<std::string> damaged = {"",
                                      "null",
                                      "[1, 2]",
                                      "{\"machine\": 3, \"measured\": []}",
                                      replaced("100.5", "\"fast\""),
                                      replaced("100.5", "-1"),
                                      replaced("100.5", "1e999"),
                                      replaced("fma_gflops_core", "renamed"),
                                      replaced("\"measured\"", "\"guessed\""),
                                      std::string("\xff\xfe\x00{", 4)};
  for (size_t length = 0; length + 2 < good.size(); length += 13) {
    damaged.push_back(good.substr(0, length));
  }
  for (const std::string& text : damaged) {
    std::ofstream(file, std::ios::trunc) << text;
    Machine read = detect_machine(2);
    EXPECT_FALSE(read_calibration(file, read)) << text;
    EXPECT_EQ(read.fma_gflops_core, 0) << "left unchanged";
  }
}

TEST_F(Calibration, UnwritableFolderIsNoError) {
  EXPECT_FALSE(write_calibration("/proc/corf/calibration.json", measured_machine()));
}

TEST(CalibrateOptions, CacheDirFollowsTheEnvironment) {
  ASSERT_EQ(setenv("XDG_CACHE_HOME", "/somewhere", 1), 0);
  EXPECT_EQ(CalibrateOptions::default_cache_dir(), "/somewhere/corf");
  ASSERT_EQ(unsetenv("XDG_CACHE_HOME"), 0);
  ASSERT_EQ(setenv("HOME", "/home/me", 1), 0);
  EXPECT_EQ(CalibrateOptions::default_cache_dir(), "/home/me/.cache/corf");
}

}  // namespace
}  // namespace corf
