#include "runtime/team.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <immintrin.h>
#include <linux/futex.h>
#include <mutex>
#include <new>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string>
#include <sys/syscall.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "runtime/cpu_limit.h"
#include "support/assert.h"
#include "support/at_fork.h"

namespace corf::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxWorkers = 1024;
constexpr auto kSpinTime = std::chrono::microseconds(50);
constexpr int kPausesPerClockRead = 32;

/// A number that workers wait on: they spin for a bounded time, then sleep in the kernel.
class alignas(64) Epoch {
 public:
  uint32_t value() const { return value_.load(std::memory_order_acquire); }

  /// Sets a new value and wakes all who wait; what was written before is visible to them.
  void set(uint32_t value) {
    // Sequentially consistent with wait_while: either we see the sleeper, or it sees the value.
    value_.store(value, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) != 0) {
      syscall(SYS_futex, &value_, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
    }
  }

  /// As new, where nobody waits.
  void reset() {
    value_.store(0, std::memory_order_relaxed);
    sleepers_.store(0, std::memory_order_relaxed);
  }

  /// Returns once the value differs from `old`.
  void wait_while(uint32_t old, bool spin) {
    if (spin && spin_while(old)) return;
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    while (value_.load(std::memory_order_seq_cst) == old) {
      syscall(SYS_futex, &value_, FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0);
    }
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
  }

 private:
  bool spin_while(uint32_t old) const {
    Clock::time_point deadline;
    for (bool first = true;; first = false) {
      for (int i = 0; i < kPausesPerClockRead; ++i) {
        if (value_.load(std::memory_order_acquire) != old) return true;
        _mm_pause();
      }
      const Clock::time_point now = Clock::now();
      if (first) deadline = now + kSpinTime;
      if (now >= deadline) return false;
    }
  }

  static_assert(sizeof(std::atomic<uint32_t>) == 4, "the kernel compares 32 bits");
  std::atomic<uint32_t> value_{0};
  std::atomic<int> sleepers_{0};
};

/// IEEE arithmetic whatever the caller's thread has set, so that results do not depend on who runs.
class IeeeArithmetic {
 public:
  IeeeArithmetic() : saved_(_mm_getcsr()) { _mm_setcsr(kDefaultControl); }
  ~IeeeArithmetic() { _mm_setcsr(saved_); }

 private:
  static constexpr unsigned kDefaultControl = 0x1f80;
  unsigned saved_;
};

/// Signals are the application's: its handlers must not run on our threads.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &saved_, nullptr); }

 private:
  sigset_t saved_;
};

/// The CPU that a worker was last seen on.
struct alignas(64) Seat {
  std::atomic<int> cpu{-1};
};

/// CPUs that the calling thread may use; none where there are more than the set holds.
cpu_set_t allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) CPU_ZERO(&set);
  return set;
}

/// The team whose body this thread runs.
thread_local const void* current_team = nullptr;

}  // namespace

struct Team::State {
  int size = 1;
  bool spin = true;
  LongMutex turn;                                  // held by the caller of run
  const std::function<void(int)>* body = nullptr;  // null in the last call: the workers leave
  Epoch call;                                      // counts the calls of run
  alignas(64) std::atomic<int> arrived{0};
  Epoch phase;                    // counts the completed barriers
  std::unique_ptr<Seat[]> seats;  // by worker
  std::vector<std::thread> threads;
  bool left_behind = false;  // the threads are in the process that this one is a fork of
  AtFork at_fork{{nullptr, nullptr, [this] { renew(); }}};

  /// Starts what is missing of the threads. A null pointer, or why that failed.
  std::unique_ptr<std::system_error> start() {
    const BlockedSignals blocked;
    while (static_cast<int>(threads.size()) + 1 < size) {
      const int worker = static_cast<int>(threads.size()) + 1;
      try {
        threads.emplace_back([this, worker, seen = call.value()] { work(worker, seen); });
      } catch (const std::system_error& error) {
        return std::make_unique<std::system_error>(error);
      }
    }
    return nullptr;
  }

  /// A team of the child's own, as it was before the first run. Its threads start with the first
  /// run there: most children run something else, or nothing.
  void renew() {
    // Handles of threads that are not here can neither be joined nor destroyed.
    static auto* const kept = new std::vector<std::vector<std::thread>>();
    kept->push_back(std::exchange(threads, {}));
    left_behind = size > 1;
    body = nullptr;
    arrived.store(0, std::memory_order_relaxed);
    call.reset();
    phase.reset();
    current_team = nullptr;
  }

  /// Fewer workers where not all can be started: whoever runs alone gets the same results.
  void return_from_fork() {
    left_behind = false;
    if (start() == nullptr) return;
    stop();
    size = 1;
  }

  /// Where other processes come and go, the kernel may wake two workers on one CPU, and leave them
  /// there: each barrier then takes a time slice. Whoever finds an earlier worker on its CPU leaves
  /// that one to it. `allowed`: CPUs that the process gave the worker; the caller's thread, worker
  /// 0, stays where its owner has it.
  void take_seat(int worker, const cpu_set_t& allowed) {
    if (size == 1 || !spin) return;
    const int cpu = sched_getcpu();
    seats[worker].cpu.store(cpu, std::memory_order_relaxed);
    cpu_set_t others = allowed;
    bool shares = false;
    for (int other = 0; other < worker; ++other) {
      const int taken = seats[other].cpu.load(std::memory_order_relaxed);
      if (taken < 0 || taken >= CPU_SETSIZE) continue;
      CPU_CLR(taken, &others);
      shares = shares || taken == cpu;
    }
    if (!shares || CPU_COUNT(&others) == 0) return;
    if (sched_setaffinity(0, sizeof others, &others) != 0) return;
    seats[worker].cpu.store(sched_getcpu(), std::memory_order_relaxed);
  }

  void barrier() {
    if (size == 1) return;
    const uint32_t current = phase.value();
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
      // Nobody arrives at the next barrier before the phase changes.
      arrived.store(0, std::memory_order_relaxed);
      phase.set(current + 1);
    } else {
      phase.wait_while(current, spin);
    }
  }

  void work(int worker, uint32_t seen) {
    pthread_setname_np(pthread_self(), ("corf-" + std::to_string(worker)).c_str());
    const IeeeArithmetic ieee;
    const cpu_set_t allowed = allowed_cpus();
    current_team = this;
    for (;; ++seen) {
      call.wait_while(seen, spin);
      if (body == nullptr) return;
      take_seat(worker, allowed);
      (*body)(worker);
      barrier();
    }
  }

  void stop() {
    body = nullptr;
    call.set(call.value() + 1);
    for (std::thread& thread : threads) thread.join();
    threads.clear();
  }
};

Team::Team() : state_(std::make_unique<State>()) {}

Team::~Team() { state_->stop(); }

Result<std::shared_ptr<Team>> Team::create(int size) {
  if (size < 0 || size > kMaxWorkers) {
    return make_error(ErrorCode::kInvalidArgument,
                      "{} threads were asked for; it must be 1 to {}, or 0 for all that the "
                      "process may use",
                      size, kMaxWorkers);
  }
  const int cpus = available_cpus();
  std::shared_ptr<Team> team(new Team());
  State& state = *team->state_;
  state.size = size == 0 ? std::min(cpus, kMaxWorkers) : size;
  state.seats = std::make_unique<Seat[]>(static_cast<size_t>(state.size));
  // With more workers than CPUs a spinning worker keeps from running the one it waits for.
  state.spin = state.size <= cpus;
  if (const std::unique_ptr<std::system_error> error = state.start()) {
    return make_error(ErrorCode::kOutOfMemory,
                      "thread {} of {} could not be started: {}; ask for fewer threads",
                      state.threads.size() + 1, state.size, error->what());
  }
  return team;
}

int Team::size() const { return state_->size; }

void Team::run(const std::function<void(int worker)>& body) {
  State& state = *state_;
  CORF_ASSERT(current_team != &state, "a team's body runs the team again");
  const std::lock_guard turn(state.turn);
  if (state.left_behind) state.return_from_fork();
  const void* const outer_team = std::exchange(current_team, &state);
  const IeeeArithmetic ieee;
  if (state.size > 1) {
    state.take_seat(0, {});
    state.body = &body;
    state.call.set(state.call.value() + 1);
  }
  body(0);
  state.barrier();
  current_team = outer_team;
}

void Team::run_alone(const std::function<void(int worker)>& body) {
  State& state = *state_;
  CORF_ASSERT(current_team != &state, "a team's body runs the team again");
  const std::lock_guard turn(state.turn);
  const void* const outer_team = std::exchange(current_team, &state);
  const IeeeArithmetic ieee;
  body(0);
  current_team = outer_team;
}

void Team::barrier(int) { state_->barrier(); }

int available_cpus() {
  int affinity = 0;
  // The mask's size is the kernel's; ask with growing ones until it fits.
  for (int capacity = 1024; affinity == 0 && capacity <= 1 << 20; capacity *= 4) {
    cpu_set_t* set = CPU_ALLOC(capacity);
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(capacity);
    CPU_ZERO_S(bytes, set);
    if (sched_getaffinity(0, bytes, set) == 0) affinity = CPU_COUNT_S(bytes, set);
    CPU_FREE(set);
  }
  if (affinity == 0) affinity = static_cast<int>(std::thread::hardware_concurrency());
  if (const std::optional<double> limit = cgroup_cpu_limit()) {
    affinity = std::min(affinity, whole_cpus(*limit));
  }
  return std::max(affinity, 1);
}

}  // namespace corf::runtime
