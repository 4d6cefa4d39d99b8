#include "target/calibrate.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <immintrin.h>
#include <map>
#include <memory>
#include <mutex>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "target/calibration_cache.h"
#include "target/calibration_kernels.h"

namespace corf {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 3;           // of all measurements, the best of each counts
constexpr double kMeasure_s = 0.07;  // of one measurement in a round
constexpr int64_t kMinElems = 256;   // sums take multiples of this

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

thread_local volatile float sink;  // keeps the compiler from dropping what is timed

/// Zero-filled floats on huge pages where there are any; empty if there is no memory.
struct Buffer {
  explicit Buffer(int64_t bytes) : elems(bytes / 4 / kMinElems * kMinElems) {
    size = static_cast<size_t>(elems * 4);
    void* base = elems == 0 ? MAP_FAILED
                            : mmap(nullptr, size, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
      elems = 0;
      return;
    }
    madvise(base, size, MADV_HUGEPAGE);
    data = static_cast<float*>(base);
    constexpr int64_t kElemsPerPage = 1024;
    for (int64_t i = 0; i < elems; i += kElemsPerPage) data[i] = 1.0f;  // its own memory
  }
  ~Buffer() {
    if (data != nullptr) munmap(data, size);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  int64_t elems;
  size_t size = 0;
  float* data = nullptr;
};

/// Work done in a second when `call`, which does `work`, is repeated: by the fastest call, as
/// others may be using the machine.
double best_rate(double work, const std::function<void()>& call) {
  call();
  double fastest_s = 0;
  const Clock::time_point start = Clock::now();
  do {
    const Clock::time_point before = Clock::now();
    call();
    const double elapsed_s = seconds_since(before);
    if (fastest_s == 0 || elapsed_s < fastest_s) fastest_s = elapsed_s;
  } while (seconds_since(start) < kMeasure_s);
  return fastest_s > 0 ? work / fastest_s : 0;
}

/// Waits for all; the counter only grows, so that it serves any number of times.
class SpinBarrier {
 public:
  explicit SpinBarrier(int size) : size_(size) {}
  void wait() {
    const int64_t round = arrived_.fetch_add(1) / size_;
    // Yields in between: there may be fewer CPUs than threads.
    for (int spins = 1; arrived_.load() < (round + 1) * size_; ++spins) {
      if (spins % 4096 == 0) std::this_thread::yield();
      _mm_pause();
    }
  }

 private:
  const int64_t size_;
  std::atomic<int64_t> arrived_{0};
};

/// Runs body(worker, barrier) side by side. False if the threads could not be started.
bool run_on_all(int threads, const std::function<void(int, SpinBarrier&)>& body) {
  SpinBarrier barrier(threads);
  std::atomic<int> go{0};  // 1: run; -1: not all could be started
  std::vector<std::thread> others;
  try {
    for (int worker = 1; worker < threads; ++worker) {
      others.emplace_back([&, worker] {
        while (go.load() == 0) std::this_thread::yield();
        if (go.load() == 1) body(worker, barrier);
      });
    }
    go = 1;
    body(0, barrier);
  } catch (const std::system_error&) {
    go = -1;
  }
  for (std::thread& other : others) other.join();
  return go == 1;
}

/// Sum of the workers' rates, all at work at the same time. make_call(worker) prepares what is
/// repeated; a null function means that it could not.
double best_rate_of_all(int threads, double work,
                        const std::function<std::function<void()>(int)>& make_call) {
  std::vector<double> rates(threads);
  std::atomic<bool> ready{true};
  const bool ran = run_on_all(threads, [&](int worker, SpinBarrier& barrier) {
    const std::function<void()> call = make_call(worker);
    if (!call) ready = false;
    barrier.wait();
    if (ready) rates[worker] = best_rate(work, call);
  });
  double total = 0;
  for (const double rate : rates) total += rate;
  return ran && ready ? total : 0;
}

double measure_peak(const CalibrationKernels& kernels, int threads) {
  constexpr int64_t kIterations = 20'000;
  const double flops = static_cast<double>(kIterations * kernels.flops_per_iteration);
  return 1e-9 * best_rate_of_all(threads, flops, [&](int) {
           return [&] { sink = kernels.multiply_add(kIterations); };
         });
}

double measure_matrix_product_ns(const CalibrationKernels& kernels, int threads) {
  if (kernels.multiply_matrices == nullptr) return 0;
  constexpr int64_t kIterations = 2'000;
  const auto products = static_cast<double>(kIterations * kernels.products_per_iteration);
  const double rate = best_rate_of_all(
      threads, products, [&](int) { return [&] { kernels.multiply_matrices(kIterations); }; });
  return rate > 0 ? 1e9 * threads / rate : 0;
}

/// Every thread reads its own `bytes` again and again.
double measure_bandwidth(const CalibrationKernels& kernels, int threads, int64_t bytes) {
  // Several passes between two looks at the clock where one takes only nanoseconds.
  const int64_t passes = std::max<int64_t>(1, (int64_t{1} << 20) / std::max<int64_t>(bytes, 1));
  const int64_t elems = bytes / 4 / kMinElems * kMinElems;
  const double work = static_cast<double>(passes * elems * 4);
  return 1e-9 * best_rate_of_all(threads, work, [&](int) -> std::function<void()> {
           auto buffer = std::make_shared<Buffer>(bytes);
           if (buffer->elems == 0) return nullptr;
           return [&, buffer] {
             for (int64_t pass = 0; pass < passes; ++pass) {
               sink = kernels.sum(buffer->data, buffer->elems);
             }
           };
         });
}

double measure_barrier_ns(int threads) {
  if (threads == 1) return 0;
  constexpr int kBarriers = 8, kBatches = 256;
  double best_ns = 0;
  const bool ran = run_on_all(threads, [&](int worker, SpinBarrier& barrier) {
    for (int batch = 0; batch < kBatches; ++batch) {
      barrier.wait();
      const Clock::time_point start = Clock::now();
      for (int i = 0; i < kBarriers; ++i) barrier.wait();
      const double ns = 1e9 * seconds_since(start) / kBarriers;
      if (worker == 0) best_ns = batch == 0 ? ns : std::min(best_ns, ns);
    }
  });
  return ran ? best_ns : 0;
}

/// Bytes for each thread so that all together are far larger than the last cache.
int64_t dram_bytes(const Machine& machine) {
  int64_t total = std::max(int64_t{128} << 20, 8 * machine.l3_bytes);
  struct sysinfo info;
  if (sysinfo(&info) == 0) {
    total = std::min(total, static_cast<int64_t>(info.freeram * info.mem_unit / 4));
  }
  return total / machine.threads;
}

/// All figures once; those that are better than what is known replace it.
void measure(const CalibrationKernels& kernels, Machine& machine) {
  auto at_least = [](double& known, double measured) { known = std::max(known, measured); };
  auto at_most = [](double& known, double measured) {
    if (known == 0 || measured < known) known = measured;
  };
  at_least(machine.fma_gflops_core, measure_peak(kernels, 1));
  at_least(machine.fma_gflops_all, measure_peak(kernels, machine.threads));
  at_most(machine.matrix_product_ns, measure_matrix_product_ns(kernels, machine.threads));
  at_least(machine.l1_gbps_core, measure_bandwidth(kernels, 1, machine.l1_bytes / 2));
  at_least(machine.l2_gbps_core, measure_bandwidth(kernels, 1, machine.l2_bytes / 2));
  at_least(machine.l3_gbps_core,
           measure_bandwidth(kernels, 1, std::max(machine.l3_bytes / 2, 2 * machine.l2_bytes)));
  at_least(machine.dram_gbps_all, measure_bandwidth(kernels, machine.threads, dram_bytes(machine)));
  at_most(machine.barrier_ns, measure_barrier_ns(machine.threads));
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
  return cache_dir + "/calibration-" + cpu + "-" + std::string(to_string(machine.isa)) + "-" +
         std::to_string(machine.threads) + ".json";
}

Machine calibrate(Machine machine, const CalibrateOptions& options) {
  machine.threads = std::max(machine.threads, 1);
  const std::string file =
      options.cache_dir.empty() ? "" : calibration_file(machine, options.cache_dir);
  if (!file.empty() && !options.measure_anew && read_calibration(file, machine)) return machine;
  if (!has_isa(machine.isa)) return machine;

  const CalibrationKernels kernels = calibration_kernels(machine.isa);
  for (int round = 0; round < kRounds; ++round) measure(kernels, machine);
  machine.matrix_product_ns = std::min(machine.matrix_product_ns, undisturbed_product_ns(machine));
  if (!file.empty()) write_calibration(file, machine);
  return machine;
}

Machine calibrated_machine(int threads, Isa isa) {
  static std::mutex mutex;
  static std::map<std::pair<int, Isa>, Machine> machines;
  std::scoped_lock lock(mutex);
  auto it = machines.find({threads, isa});
  if (it == machines.end()) {
    it = machines.emplace(std::pair(threads, isa), calibrate(detect_machine(threads, isa))).first;
  }
  return it->second;
}

}  // namespace corf
