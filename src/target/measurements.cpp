#include "target/measurements.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <immintrin.h>
#include <limits>
#include <memory>
#include <sched.h>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "target/calibration_kernels.h"

namespace corf {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMinElems = 256;  // sums take multiples of this
constexpr int kFigures = 14;        // that measure() shares its time out to

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
double best_rate(double work, double seconds, const std::function<void()>& call) {
  call();
  double fastest_s = 0;
  const Clock::time_point start = Clock::now();
  do {
    const Clock::time_point before = Clock::now();
    call();
    const double elapsed_s = seconds_since(before);
    if (fastest_s == 0 || elapsed_s < fastest_s) fastest_s = elapsed_s;
  } while (seconds_since(start) < seconds);
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

/// Work done in a second by all workers, each of which repeats `work`: in the best round, which
/// begins with all and ends with the slowest. The sum of each one's best would be too much: a
/// worker is the fastest while another waits. make_call(worker) prepares what is repeated; a null
/// function means that it could not.
double best_rate_of_all(int threads, double work, double seconds,
                        const std::function<std::function<void()>(int)>& make_call) {
  std::vector<double> elapsed_s(threads);
  std::atomic<bool> ready{true}, goes_on{true};
  double fastest_s = 0;
  const bool ran = run_on_all(threads, [&](int worker, SpinBarrier& barrier) {
    const std::function<void()> call = make_call(worker);
    if (!call) ready = false;
    barrier.wait();
    if (!ready) return;
    call();
    const Clock::time_point begin = Clock::now();
    while (goes_on) {
      barrier.wait();
      const Clock::time_point start = Clock::now();
      call();
      elapsed_s[worker] = seconds_since(start);
      barrier.wait();
      if (worker == 0) {
        const double slowest_s = *std::max_element(elapsed_s.begin(), elapsed_s.end());
        if (fastest_s == 0 || slowest_s < fastest_s) fastest_s = slowest_s;
        if (seconds_since(begin) > seconds) goes_on = false;
      }
      barrier.wait();
    }
  });
  return ran && ready && fastest_s > 0 ? threads * work / fastest_s : 0;
}

double measure_peak(const CalibrationKernels& kernels, int threads, double seconds) {
  constexpr int64_t kIterations = 20'000;
  const double flops = static_cast<double>(kIterations * kernels.flops_per_iteration);
  return 1e-9 * best_rate_of_all(threads, flops, seconds, [&](int) {
           return [&] { sink = kernels.multiply_add(kIterations); };
         });
}

double measure_matrix_product_ns(const CalibrationKernels& kernels, int threads, double seconds) {
  if (kernels.multiply_matrices == nullptr) return 0;
  constexpr int64_t kIterations = 2'000;
  const auto products = static_cast<double>(kIterations * kernels.products_per_iteration);
  const double rate = best_rate_of_all(threads, products, seconds, [&](int) {
    return [&] { kernels.multiply_matrices(kIterations); };
  });
  return rate > 0 ? 1e9 * threads / rate : 0;
}

double measure_tile(const CalibrationKernels& kernels, double seconds) {
  constexpr int64_t kSteps = 128, kTiles = 256;
  if (kernels.multiply_tile == nullptr) return 0;
  const int64_t left = kernels.tile_rows * kSteps, panel = kernels.tile_columns * kSteps;
  const int64_t results = kernels.tile_rows * kernels.tile_columns;
  const Buffer buffer(4 * (left + panel + results) + 4 * kMinElems);
  if (buffer.elems == 0) return 0;
  float* const data = buffer.data;
  const auto flops = static_cast<double>(2 * results * kSteps * kTiles);
  return 1e-9 * best_rate(flops, seconds, [&] {
           for (int64_t tile = 0; tile < kTiles; ++tile) {
             kernels.multiply_tile(data, data + left, data + left + panel, kSteps);
           }
         });
}

/// Every thread goes over its own `bytes` again and again.
double measure_bandwidth(int threads, int64_t bytes, double seconds,
                         const std::function<void(const Buffer&)>& pass) {
  // Several passes between two looks at the clock where one takes only nanoseconds.
  const int64_t passes = std::max<int64_t>(1, (int64_t{1} << 20) / std::max<int64_t>(bytes, 1));
  const int64_t elems = bytes / 4 / kMinElems * kMinElems;
  const double work = static_cast<double>(passes * elems * 4);
  return 1e-9 * best_rate_of_all(threads, work, seconds, [&](int) -> std::function<void()> {
           auto buffer = std::make_shared<Buffer>(bytes);
           if (buffer->elems == 0) return nullptr;
           return [&, buffer] {
             for (int64_t i = 0; i < passes; ++i) pass(*buffer);
           };
         });
}

/// Each thread reads what its neighbour has just written, `bytes` that fit its own caches.
double measure_remote(const CalibrationKernels& kernels, int threads, int64_t bytes,
                      double seconds) {
  constexpr int kMostRounds = 4096;
  if (threads == 1) return 0;
  std::vector<std::unique_ptr<Buffer>> buffers;
  for (int worker = 0; worker < threads; ++worker) {
    buffers.push_back(std::make_unique<Buffer>(bytes));
    if (buffers.back()->elems == 0) return 0;
  }
  std::vector<double> fastest_s(threads, 0);
  std::atomic<bool> goes_on{true};
  const Clock::time_point begin = Clock::now();
  const bool ran = run_on_all(threads, [&](int worker, SpinBarrier& barrier) {
    const Buffer &own = *buffers[worker], &other = *buffers[(worker + 1) % threads];
    for (int round = 0; round < kMostRounds; ++round) {
      std::fill_n(own.data, own.elems, static_cast<float>(round));
      if (worker == 0 && round > 1 && seconds_since(begin) > seconds) goes_on = false;
      barrier.wait();
      const Clock::time_point start = Clock::now();
      sink = kernels.sum(other.data, other.elems);
      const double elapsed_s = seconds_since(start);
      if (round == 0 || elapsed_s < fastest_s[worker]) fastest_s[worker] = elapsed_s;
      const bool last = !goes_on;
      barrier.wait();  // nobody writes while another reads
      if (last) break;
    }
  });
  const double slowest_s = *std::max_element(fastest_s.begin(), fastest_s.end());
  return ran && slowest_s > 0 ? 1e-9 * static_cast<double>(buffers[0]->elems * 4) / slowest_s : 0;
}

double measure_barrier_ns(int threads, double seconds) {
  if (threads == 1) return 0;
  constexpr int kBarriers = 8, kBatches = 256;
  double best_ns = 0;
  std::atomic<bool> goes_on{true};
  const Clock::time_point begin = Clock::now();
  const bool ran = run_on_all(threads, [&](int worker, SpinBarrier& barrier) {
    for (int batch = 0; batch < kBatches; ++batch) {
      if (worker == 0 && batch > 0 && seconds_since(begin) > seconds) goes_on = false;
      barrier.wait();
      if (!goes_on) break;
      const Clock::time_point start = Clock::now();
      for (int i = 0; i < kBarriers; ++i) barrier.wait();
      const double ns = 1e9 * seconds_since(start) / kBarriers;
      if (worker == 0) best_ns = batch == 0 ? ns : std::min(best_ns, ns);
    }
  });
  return ran ? best_ns : 0;
}

/// Memory that can be had: what is free, and what the system keeps of files and would give up. With
/// the first alone, a machine that has read much seems to have none.
int64_t available_bytes() {
  std::ifstream meminfo("/proc/meminfo");
  std::string line;
  while (std::getline(meminfo, line)) {
    constexpr std::string_view kName = "MemAvailable:";
    if (line.starts_with(kName)) return int64_t{1024} * std::atoll(line.c_str() + kName.size());
  }
  struct sysinfo info;
  if (sysinfo(&info) != 0) return std::numeric_limits<int64_t>::max();
  return static_cast<int64_t>(info.freeram * info.mem_unit);
}

/// Bytes for each thread so that all together are far larger than the last cache; the fewer, the
/// less time there is.
int64_t dram_bytes(const Machine& machine, double seconds) {
  constexpr double kShort_s = 0.05;
  int64_t total = seconds < kShort_s ? std::max(int64_t{32} << 20, 3 * machine.l3_bytes)
                                     : std::max(int64_t{128} << 20, 8 * machine.l3_bytes);
  return std::min(total, available_bytes() / 4) / machine.threads;
}

/// Gflop/s of each of so many loops of multiply-adds that run at the same time, each on a CPU of
/// its own as far as there are any; empty if they could not be started.
std::vector<double> pinned_rates(const CalibrationKernels& kernels, int threads, double seconds) {
  constexpr int64_t kIterations = 20'000;
  const double flops = static_cast<double>(kIterations * kernels.flops_per_iteration);
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &allowed)) cpus.push_back(cpu);
    }
  }
  std::vector<double> rates(threads);
  // One thread more, which is not pinned: the caller's, whose CPUs stay as they are.
  const bool ran = run_on_all(threads + 1, [&](int worker, SpinBarrier& barrier) {
    if (worker > 0 && !cpus.empty()) {
      cpu_set_t own;
      CPU_ZERO(&own);
      CPU_SET(cpus[static_cast<size_t>(worker - 1) % cpus.size()], &own);
      sched_setaffinity(0, sizeof own, &own);
    }
    barrier.wait();
    if (worker == 0) return;
    rates[worker - 1] =
        1e-9 * best_rate(flops, seconds, [&] { sink = kernels.multiply_add(kIterations); });
  });
  if (!ran) rates.clear();
  return rates;
}

/// GHz of the counter that runs at the CPU's nominal frequency.
double nominal_ghz() {
  constexpr double kSeconds = 0.002;
  const Clock::time_point start = Clock::now();
  const uint64_t before = __rdtsc();
  double elapsed_s = 0;
  while (elapsed_s < kSeconds) elapsed_s = seconds_since(start);
  return 1e-9 * static_cast<double>(__rdtsc() - before) / elapsed_s;
}

}  // namespace

CpuSpeed measure_speed(const Machine& machine) {
  constexpr double kSeconds = 0.01;
  const CalibrationKernels kernels = calibration_kernels(machine.isa);
  CpuSpeed speed;
  for (const double rate : pinned_rates(kernels, 1, kSeconds)) speed.alone_gflops = rate;
  speed.together_gflops = speed.alone_gflops;
  if (machine.threads > 1) {
    speed.together_gflops = 0;
    for (const double rate : pinned_rates(kernels, machine.threads, kSeconds)) {
      speed.together_gflops += rate;
    }
  }
  // Two vectors in a cycle, of multiply-adds or of either.
  const double flops_per_cycle = (machine.isa == Isa::kSse2 ? 2.0 : 4.0) * machine.f32_lanes();
  speed.nominal_gflops = flops_per_cycle * nominal_ghz();
  return speed;
}

void measure_figures(Machine& machine, double seconds) {
  const CalibrationKernels kernels = calibration_kernels(machine.isa);
  const double each = seconds / kFigures;
  const int threads = machine.threads;
  auto at_least = [](double& known, double measured) { known = std::max(known, measured); };
  auto at_most = [](double& known, double measured) {
    if (known == 0 || measured < known) known = measured;
  };
  auto reading = [&](int workers, int64_t bytes) {
    return measure_bandwidth(workers, bytes, each, [&](const Buffer& buffer) {
      sink = kernels.sum(buffer.data, buffer.elems);
    });
  };
  auto writing = [&](int workers, int64_t bytes) {
    return measure_bandwidth(workers, bytes, each, [&](const Buffer& buffer) {
      kernels.fill(buffer.data, buffer.elems);
    });
  };
  // All workers' parts together do not fit the third level but for a half.
  const int64_t shared_bytes = std::max(machine.l3_bytes / (2 * threads), 2 * machine.l2_bytes);
  at_least(machine.fma_gflops_core, measure_peak(kernels, 1, each));
  at_least(machine.fma_gflops_all, measure_peak(kernels, threads, each));
  at_least(machine.tile_gflops_core, measure_tile(kernels, each));
  at_most(machine.matrix_product_ns, measure_matrix_product_ns(kernels, threads, each));
  at_least(machine.l1_gbps_core, reading(1, machine.l1_bytes / 2));
  at_least(machine.l2_gbps_core, reading(1, machine.l2_bytes / 2));
  at_least(machine.l2_write_gbps_core, writing(1, machine.l2_bytes / 2));
  at_least(machine.l3_gbps_core, reading(1, std::max(machine.l3_bytes / 2, 2 * machine.l2_bytes)));
  at_least(machine.l3_gbps_all, reading(threads, shared_bytes));
  at_least(machine.l3_write_gbps_all, writing(threads, shared_bytes));
  at_least(machine.remote_gbps_core, measure_remote(kernels, threads, machine.l2_bytes / 4, each));
  at_least(machine.dram_gbps_all, reading(threads, dram_bytes(machine, each)));
  at_least(machine.dram_write_gbps_all, writing(threads, dram_bytes(machine, each)));
  at_most(machine.barrier_ns, measure_barrier_ns(threads, each));
}

}  // namespace corf
