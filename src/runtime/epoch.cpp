#include "runtime/epoch.h"

#include <chrono>
#include <cstdint>
#include <immintrin.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace corf::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kSpinTime = std::chrono::microseconds(50);
constexpr int kPausesPerClockRead = 32;

}  // namespace

void Epoch::set(uint32_t value) {
  // Sequentially consistent with wait_while: either we see the sleeper, or it sees the value.
  value_.store(value, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) != 0) {
    syscall(SYS_futex, &value_, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
  }
}

void Epoch::wait_while(uint32_t old, bool spin) {
  if (spin && spin_while(old)) return;
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  while (value_.load(std::memory_order_seq_cst) == old) {
    syscall(SYS_futex, &value_, FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0);
  }
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
}

bool Epoch::spin_while(uint32_t old) const {
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

}  // namespace corf::runtime
