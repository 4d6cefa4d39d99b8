#include "target/calibrate.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <map>
#include <mutex>
#include <unistd.h>
#include <utility>

#include "support/at_fork.h"
#include "target/calibration_cache.h"

namespace corf {
namespace {

constexpr int kRounds = 3;         // of all measurements, the best of each counts
constexpr double kRound_s = 0.56;  // of one of them
constexpr double kBrief_s = 0.16;  // of the only one, where the result cannot be kept
constexpr int kAttempts = 2;       // at rounds between which the machine's speed stays the same
constexpr int64_t kRecent_s = 60;  // for which a doubtful result serves
constexpr int kMostResults = 5;    // after which a machine on which all are doubtful is believed

bool about_equal(double a, double b) {
  constexpr double kWithin = 0.15;
  return std::fabs(a - b) <= kWithin * std::max(a, b);
}

bool is_steady(const CpuSpeed& before, const CpuSpeed& after) {
  return about_equal(before.alone_gflops, after.alone_gflops) &&
         about_equal(before.together_gflops, after.together_gflops);
}

/// Whether the CPUs are cores of their own, about as fast as they say that they are.
bool is_undisturbed(const CpuSpeed& speed, int threads) {
  constexpr double kOfAllAlone = 0.75, kOfNominal = 0.75;
  return speed.together_gflops >= kOfAllAlone * threads * speed.alone_gflops &&
         speed.alone_gflops >= kOfNominal * speed.nominal_gflops;
}

/// Whether workers met at barriers without waiting for a CPU. That takes a scheduler's time slice;
/// what it took is no figure of the machine.
bool take_barrier(Machine& machine) {
  constexpr double kWaitsForCpu_ns = 20'000;
  if (machine.barrier_ns < kWaitsForCpu_ns) return true;
  machine.barrier_ns = 0;
  return false;
}

/// What a product on the matrix unit takes where nothing outside of this process uses the unit: on
/// shared hosts another machine's threads on the same cores may halve its rate for minutes. The
/// unit takes a product every 16 cycles, a little slower ones than vectors have; if several of our
/// own workers share a core, they share it as they share the multipliers.
/// Source: Intel, "64 and IA-32 Architectures Optimization Reference Manual", chapter on AMX.
double undisturbed_product_ns(const Machine& machine) {
  constexpr double kCycles = 16, kSlowerClock = 1.15;
  const double workers_of_a_core = std::max(
      1.0, machine.threads * machine.fma_gflops_core / std::max(machine.fma_gflops_all, 1e-3));
  return kCycles * kSlowerClock * machine.cycle_ns() * workers_of_a_core;
}

/// Whether files can be written there.
bool is_writable(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  return access(folder.c_str(), W_OK | X_OK) == 0;
}

/// All figures; whether the machine was as fast after as before, and no CPU in another's way.
bool measure(Machine& machine, const Measuring& measuring) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const CpuSpeed before = measuring.speed(machine);
    for (int round = 0; round < kRounds; ++round) measuring.figures(machine, kRound_s);
    if (is_steady(before, measuring.speed(machine))) {
      const bool knows_memory = machine.dram_gbps_all > 0;
      return take_barrier(machine) && is_undisturbed(before, machine.threads) && knows_memory;
    }
  }
  take_barrier(machine);
  return false;
}

}  // namespace

std::string CalibrateOptions::default_cache_dir() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache != '\0') return std::string(cache) + "/corf";
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home != '\0') return std::string(home) + "/.cache/corf";
  return "";
}

std::string calibration_file(const Machine& machine, const std::string& cache_dir) {
  std::string cpu;
  for (const char c : machine.cpu_name) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (plain) {
      cpu += c;
    } else if (!cpu.empty() && cpu.back() != '_') {
      cpu += '_';
    }
  }
  return cache_dir + "/calibration-" + cpu + "-" +
         std::string(to_string(without_byte_products(machine.isa))) + "-" +
         std::to_string(machine.threads) + ".json";
}

Measuring::Measuring() : now_s([] { return static_cast<int64_t>(std::time(nullptr)); }) {}

Machine calibrate(Machine machine, const CalibrateOptions& options) {
  machine.threads = std::max(machine.threads, 1);
  const Measuring& measuring = options.measuring;
  const std::string file =
      options.cache_dir.empty() ? "" : calibration_file(machine, options.cache_dir);
  Calibration kept{machine};
  const bool is_kept = !file.empty() && !options.measure_anew && read_calibration(file, kept);
  const int64_t now_s = measuring.now_s();
  // A clock that was set back has no say.
  const bool is_recent = now_s >= kept.taken_s && now_s - kept.taken_s < kRecent_s &&
                         kept.machine.dram_gbps_all > 0;  // else another process may have memory
  if (is_kept && (kept.is_settled || is_recent)) return kept.machine;
  if (!has_isa(machine.isa)) return machine;

  const bool can_keep = !file.empty() && is_writable(options.cache_dir);
  Calibration result{machine};
  if (can_keep) {
    result.is_settled = measure(result.machine, measuring);
  } else {
    measuring.figures(result.machine, kBrief_s);
    take_barrier(result.machine);
  }
  if (is_kept) {
    result.results = kept.results + 1;
    const bool agrees = about_equal(kept.machine.fma_gflops_core, result.machine.fma_gflops_core) &&
                        about_equal(kept.machine.fma_gflops_all, result.machine.fma_gflops_all);
    result.machine = take_better(result.machine, kept.machine);
    const bool knows_barrier = result.machine.threads == 1 || result.machine.barrier_ns > 0;
    const bool is_believed = (agrees && knows_barrier) || result.results >= kMostResults;
    result.is_settled = result.is_settled || is_believed;
  }
  double& product_ns = result.machine.matrix_product_ns;
  product_ns = std::min(product_ns, undisturbed_product_ns(result.machine));
  result.taken_s = now_s;
  if (can_keep) write_calibration(file, result);
  return result.machine;
}

Machine calibrated_machine(int threads, Isa isa) {
  static LongMutex mutex;
  static std::map<std::pair<int, Isa>, Machine> machines;
  std::scoped_lock lock(mutex);
  auto it = machines.find({threads, isa});
  if (it == machines.end()) {
    it = machines.emplace(std::pair(threads, isa), calibrate(detect_machine(threads, isa))).first;
  }
  return it->second;
}

}  // namespace corf
