#pragma once
#include <atomic>
#include <cstdint>

namespace corf::runtime {

/// A number that threads wait on: they spin for a bounded time, then sleep in the kernel.
class alignas(64) Epoch {
 public:
  uint32_t value() const { return value_.load(std::memory_order_acquire); }

  /// Sets a new value and wakes all who wait; what was written before is visible to them. They may
  /// go on while the call is still looking for sleepers: the epoch has to outlive it.
  void set(uint32_t value);

  /// As new, where nobody waits.
  void reset() {
    value_.store(0, std::memory_order_relaxed);
    sleepers_.store(0, std::memory_order_relaxed);
  }

  /// Returns once the value differs from `old`.
  void wait_while(uint32_t old, bool spin);

 private:
  bool spin_while(uint32_t old) const;

  static_assert(sizeof(std::atomic<uint32_t>) == 4, "the kernel compares 32 bits");
  std::atomic<uint32_t> value_{0};
  std::atomic<int> sleepers_{0};
};

}  // namespace corf::runtime
