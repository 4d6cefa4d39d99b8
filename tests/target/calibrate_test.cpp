#include "target/calibrate.h"

#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <unistd.h>
#include <vector>

#include "target/calibration_cache.h"
#include "target/calibration_kernels.h"

namespace corf {
namespace {

class CalibrationTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::temp_directory_path() /
           ("corf_calibration_" + std::to_string(::getpid()) + "_" +
            testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  static Calibration measured_machine() {
    Calibration calibration{detect_machine(2), true, 1'700'000'000, 3};
    Machine& machine = calibration.machine;
    machine.fma_gflops_core = 100.5;
    machine.fma_gflops_all = 201;
    machine.tile_gflops_core = 95;
    machine.l1_gbps_core = 400;
    machine.l3_write_gbps_all = 70;
    machine.l2_gbps_core = 200;
    machine.l3_gbps_core = 86;
    machine.dram_gbps_all = 25;
    machine.barrier_ns = 333;
    return calibration;
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

TEST(CalibrationKernels, FillWritesEveryElement) {
  alignas(64) float data[512 + 16];
  for (const Isa isa : kIsas) {
    if (!has_isa(isa)) continue;
    std::fill(std::begin(data), std::end(data), -1.0f);
    calibration_kernels(isa).fill(data, 512);
    EXPECT_EQ(std::count(data, data + 512, data[0]), 512) << to_string(isa);
    EXPECT_EQ(std::count(data + 512, std::end(data), -1.0f), 16) << to_string(isa);
    EXPECT_NE(data[0], -1.0f) << to_string(isa);
  }
}

TEST(CalibrationKernels, TilesAreProductsOfMatrices) {
  constexpr int64_t kSteps = 16;
  for (const Isa isa : kIsas) {
    if (!has_isa(isa)) continue;
    const CalibrationKernels kernels = calibration_kernels(isa);
    if (kernels.multiply_tile == nullptr) continue;
    const int64_t rows = kernels.tile_rows, columns = kernels.tile_columns;
    alignas(64) float left[14 * kSteps], panel[kSteps * 32], result[14 * 32];
    for (int64_t i = 0; i < rows * kSteps; ++i) left[i] = static_cast<float>(i % 5);
    for (int64_t i = 0; i < kSteps * columns; ++i) panel[i] = static_cast<float>(i % 7);
    kernels.multiply_tile(left, panel, result, kSteps);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        float sum = 0;
        for (int64_t k = 0; k < kSteps; ++k) {
          sum += left[row * kSteps + k] * panel[k * columns + column];
        }
        ASSERT_EQ(result[row * columns + column], sum) << to_string(isa) << row << ' ' << column;
      }
    }
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

TEST_F(CalibrationTest, MeasuresKeepsAndReadsBack) {
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
  EXPECT_GT(first.tile_gflops_core, 0.1);
  EXPECT_GT(first.l2_write_gbps_core, 0.1);
  EXPECT_GT(first.l3_write_gbps_all, 0.1);
  EXPECT_GT(first.dram_write_gbps_all, 0.1);
  // On a busy machine workers may never have met without waiting for a CPU: not kept for good.
  Calibration kept{detect_machine(2)};
  ASSERT_TRUE(read_calibration(calibration_file(first, dir_.string()), kept));
  EXPECT_TRUE(first.barrier_ns > 0 || !kept.is_settled);
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

TEST_F(CalibrationTest, FileRoundTrips) {
  const Calibration written = measured_machine();
  const std::string file = calibration_file(written.machine, dir_.string());
  EXPECT_NE(file.find("-2.json"), std::string::npos);
  EXPECT_EQ(file.find(' '), std::string::npos);
  Calibration calibration{detect_machine(2)};
  EXPECT_FALSE(read_calibration(file, calibration));
  ASSERT_TRUE(write_calibration(file, written));
  ASSERT_TRUE(read_calibration(file, calibration));
  EXPECT_TRUE(calibration.is_settled);
  EXPECT_EQ(calibration.taken_s, 1'700'000'000);
  EXPECT_EQ(calibration.results, 3);
  const Machine& read = calibration.machine;
  EXPECT_EQ(read.fma_gflops_core, 100.5);
  EXPECT_EQ(read.fma_gflops_all, 201);
  EXPECT_EQ(read.tile_gflops_core, 95);
  EXPECT_EQ(read.l3_write_gbps_all, 70);
  EXPECT_EQ(read.l1_gbps_core, 400);
  EXPECT_EQ(read.l2_gbps_core, 200);
  EXPECT_EQ(read.l3_gbps_core, 86);
  EXPECT_EQ(read.dram_gbps_all, 25);
  EXPECT_EQ(read.barrier_ns, 333);
}

TEST_F(CalibrationTest, ForeignOrDamagedFilesAreMisses) {
  const Calibration calibration = measured_machine();
  const std::string file = calibration_file(calibration.machine, dir_.string());
  ASSERT_TRUE(write_calibration(file, calibration));
  const std::string good = text_of(file);

  Calibration other{detect_machine(3)};
  EXPECT_FALSE(read_calibration(file, other)) << "other thread count";
  other.machine = detect_machine(2);
  other.machine.l2_bytes *= 2;
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
                                      replaced("\"settled\": true", "\"settled\": 1"),
                                      replaced("\"taken_s\"", "\"taken\""),
                                      replaced("1700000000", "\"yesterday\""),
                                      std::string("\xff\xfe\x00{", 4)};
  for (size_t length = 0; length + 2 < good.size(); length += 13) {
    damaged.push_back(good.substr(0, length));
  }
  for (const std::string& text : damaged) {
    std::ofstream(file, std::ios::trunc) << text;
    Calibration read{detect_machine(2)};
    EXPECT_FALSE(read_calibration(file, read)) << text;
    EXPECT_EQ(read.machine.fma_gflops_core, 0) << "left unchanged";
  }
}

TEST_F(CalibrationTest, UnwritableFolderIsNoError) {
  EXPECT_FALSE(write_calibration("/proc/corf/calibration.json", measured_machine()));
}

/// A machine of a test's making: what its CPUs reach at each measurement, and the time of day.
struct MadeUp {
  double alone = 100, together = 200, nominal = 90, barrier_ns = 300, dram_gbps = 50;
  int64_t now_s = 1'000'000;
  int speeds = 0;                                  // times that it was measured
  std::vector<double> seconds;                     // of each measurement of the figures
  std::function<void(MadeUp&)> before_each_speed;  // the host's other guests

  Measuring measuring() {
    Measuring measuring;
    measuring.speed = [this](const Machine&) {
      ++speeds;
      if (before_each_speed) before_each_speed(*this);
      return CpuSpeed{alone, together, nominal};
    };
    measuring.figures = [this](Machine& machine, double time_s) {
      seconds.push_back(time_s);
      machine.fma_gflops_core = std::max(machine.fma_gflops_core, alone);
      machine.fma_gflops_all = std::max(machine.fma_gflops_all, together);
      machine.barrier_ns = barrier_ns;
      machine.dram_gbps_all = dram_gbps;
    };
    measuring.now_s = [this] { return now_s; };
    return measuring;
  }
};

TEST_F(CalibrationTest, IsKeptForGoodIfNothingDisturbedIt) {
  MadeUp host;
  const CalibrateOptions options{.cache_dir = dir_.string(), .measuring = host.measuring()};
  calibrate(detect_machine(2), options);
  const size_t measured = host.seconds.size();
  host.now_s += 1'000'000;
  host.alone = 70;
  EXPECT_EQ(calibrate(detect_machine(2), options).fma_gflops_core, 100);
  EXPECT_EQ(host.seconds.size(), measured);
}

/// Code of f32 is the same with and without products of bytes, and so are its figures.
TEST_F(CalibrationTest, InstructionSetsThatDifferInBytesShareIt) {
  Calibration wide{detect_machine(2)};
  wide.machine.isa = Isa::kAvx512Bf16;
  wide.machine.fma_gflops_core = 100;
  const std::string file = calibration_file(wide.machine, dir_.string());
  std::filesystem::create_directories(dir_);
  ASSERT_TRUE(write_calibration(file, wide));
  for (const Isa isa : {Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx2}) {
    Calibration other{detect_machine(2)};
    other.machine.isa = isa;
    EXPECT_EQ(read_calibration(file, other), isa != Isa::kAvx2) << to_string(isa);
  }
}

/// No memory could be had to read: a later run may have it.
TEST_F(CalibrationTest, IsNotKeptWithoutMemorysFigure) {
  MadeUp host;
  host.dram_gbps = 0;
  const CalibrateOptions options{.cache_dir = dir_.string(), .measuring = host.measuring()};
  calibrate(detect_machine(2), options);
  host.now_s += 1;
  host.dram_gbps = 50;
  EXPECT_EQ(calibrate(detect_machine(2), options).dram_gbps_all, 50);
}

TEST_F(CalibrationTest, IsTakenAgainIfTheSpeedChangesMeanwhile) {
  MadeUp host;
  host.together = 100;  // at first the CPUs share a core
  host.before_each_speed = [](MadeUp& self) {
    if (self.speeds == 2) self.together = 200;
  };
  const CalibrateOptions options{.cache_dir = dir_.string(), .measuring = host.measuring()};
  EXPECT_EQ(calibrate(detect_machine(2), options).fma_gflops_all, 200);
  EXPECT_EQ(host.speeds, 4);
  host.now_s += 1'000'000;
  calibrate(detect_machine(2), options);
  EXPECT_EQ(host.speeds, 4) << "the second attempt was steady, and is kept";
}

TEST_F(CalibrationTest, CpusThatShareACoreForAWhileAreMeasuredAgain) {
  MadeUp host;
  host.together = 100;
  const CalibrateOptions options{.cache_dir = dir_.string(), .measuring = host.measuring()};
  EXPECT_EQ(calibrate(detect_machine(2), options).fma_gflops_all, 100);
  const size_t measured = host.seconds.size();
  host.now_s += 10;
  EXPECT_EQ(calibrate(detect_machine(2), options).fma_gflops_all, 100);
  EXPECT_EQ(host.seconds.size(), measured) << "serves for a minute";
  host.now_s += 100;
  host.together = 200;
  EXPECT_EQ(calibrate(detect_machine(2), options).fma_gflops_all, 200);
  host.now_s += 1'000'000;
  host.together = 100;
  EXPECT_EQ(calibrate(detect_machine(2), options).fma_gflops_all, 200) << "kept for good";
}

TEST_F(CalibrationTest, ASlowCpuIsMeasuredAgainAndBelievedTheSecondTime) {
  MadeUp host;
  host.nominal = 180;  // of which 100 may be all that this CPU has
  const CalibrateOptions options{.cache_dir = dir_.string(), .measuring = host.measuring()};
  calibrate(detect_machine(2), options);
  const size_t measured = host.seconds.size();
  host.now_s += 100;
  calibrate(detect_machine(2), options);
  EXPECT_EQ(host.seconds.size(), 2 * measured);
  host.now_s += 100;
  calibrate(detect_machine(2), options);
  EXPECT_EQ(host.seconds.size(), 2 * measured);
}

/// Other processes had the CPU: what workers waited for was no cache line.
TEST_F(CalibrationTest, BarriersThatWaitForACpuAreMeasuredAgain) {
  MadeUp host;
  host.barrier_ns = 97'513;
  const CalibrateOptions options{.cache_dir = dir_.string(), .measuring = host.measuring()};
  EXPECT_EQ(calibrate(detect_machine(2), options).barrier_ns, 0) << "is not known";
  host.now_s += 100;
  EXPECT_EQ(calibrate(detect_machine(2), options).barrier_ns, 0);
  host.now_s += 100;
  host.barrier_ns = 300;
  EXPECT_EQ(calibrate(detect_machine(2), options).barrier_ns, 300);
  host.now_s += 1'000'000;
  host.barrier_ns = 200;
  EXPECT_EQ(calibrate(detect_machine(2), options).barrier_ns, 300) << "kept for good";
}

TEST_F(CalibrationTest, EndsOnAHostThatIsNeverQuiet) {
  MadeUp host;
  host.before_each_speed = [](MadeUp& self) {
    self.alone = self.alone == 100 ? 60 : 100;
    self.together = 2 * self.alone;
  };
  const CalibrateOptions options{.cache_dir = dir_.string(), .measuring = host.measuring()};
  for (int process = 0; process < 20; ++process) {
    calibrate(detect_machine(2), options);
    host.now_s += 100;
    host.alone = process % 2 == 0 ? 60 : 100;
  }
  EXPECT_LE(host.speeds, 5 * 4);
}

TEST_F(CalibrationTest, IsBriefWhereItCannotBeKept) {
  for (const std::string& folder : {std::string(), std::string("/proc/corf")}) {
    MadeUp host;
    const CalibrateOptions options{.cache_dir = folder, .measuring = host.measuring()};
    EXPECT_EQ(calibrate(detect_machine(2), options).fma_gflops_core, 100);
    double all_s = 0;
    for (const double time_s : host.seconds) all_s += time_s;
    EXPECT_LE(all_s, 0.2);
    EXPECT_EQ(host.speeds, 0);
  }
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
