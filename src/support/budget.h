#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>

#include "support/result.h"

namespace corf {

/// Ends work from another thread: whoever does it under a budget that knows the cancellation stops
/// at the next look. Once cancelled, cancelled for good.
class Cancellation {
 public:
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> cancelled_ = false;
};

/// What the work before a run may take; unset: what the model's size allows (`allowed_for`).
struct Limits {
  std::optional<double> seconds;        // of the CPU, all threads together
  std::optional<int64_t> memory_bytes;  // in tensors that exist at one time
  std::optional<int64_t>
      constant_bytes;            // of a compiled program's constants, packed weights among them
  std::optional<int64_t> nodes;  // of the graph, after functions are inlined
};

/// How large the description of a model is.
struct ModelSize {
  int64_t bytes = 0;  // of the file and its external data
  int64_t nodes = 0;  // those of functions and subgraphs once each
};

/// What `limits` leaves unset, filled in: far more than a model of that size has needed so far, so
/// that only what unfolds out of proportion is refused. A model of a few nodes gets less than 2
/// seconds and little more than 128 MiB.
Limits allowed_for(const ModelSize& size, const Limits& limits);

/// Thrown where a budget is exceeded or its work is cancelled, as std::bad_alloc is where memory
/// ends; `within_budget` makes it an error.
class OverBudget : public std::exception {
 public:
  explicit OverBudget(Error error) : error_(std::move(error)) {}
  const char* what() const noexcept override { return error_.message.c_str(); }
  const Error& error() const { return error_; }

 private:
  Error error_;
};

/// One account of time, memory and size for all that is done before a run. It is the calling
/// thread's (`current`), not an argument: whatever makes tensors or works in loops looks at it.
class Budget {
 public:
  explicit Budget(const Limits& limits, std::shared_ptr<const Cancellation> cancellation = nullptr)
      : limits_(limits), cancellation_(std::move(cancellation)) {}

  const Limits& limits() const { return limits_; }

  /// Throws OverBudget: kCancelled, or kOverLimit if the CPU time is over.
  void look();
  /// Of a tensor. Throws OverBudget if the tensors take too much together.
  void hold_bytes(int64_t bytes);
  void release_bytes(int64_t bytes) noexcept { held_bytes_ -= bytes; }
  /// Throw OverBudget if there are more than allowed.
  void check_nodes(int64_t count) const;
  void check_constant_bytes(int64_t bytes) const;
  /// Throws OverBudget if work that cannot be interrupted would take longer than what is left.
  void check_time_for(double seconds);

  /// The calling thread's; null: no limits.
  static Budget* current();

 private:
  friend class BudgetScope;

  const Limits limits_;
  const std::shared_ptr<const Cancellation> cancellation_;
  std::atomic<int64_t> spent_ns_ = 0, held_bytes_ = 0;
};

/// Makes a budget the calling thread's while the scope lives; null: none. An outer scope's does not
/// pay for that time. Threads that work for another one take its budget over: `BudgetScope
/// scope(budget)` with what `shared_budget()` was there.
class BudgetScope {
 public:
  explicit BudgetScope(std::shared_ptr<Budget> budget);
  ~BudgetScope();
  BudgetScope(const BudgetScope&) = delete;
  BudgetScope& operator=(const BudgetScope&) = delete;

 private:
  friend class Budget;
  friend std::shared_ptr<Budget> shared_budget();
  friend void look_at_budget();
  /// Books the thread's time since the last call.
  void settle() noexcept;

  const std::shared_ptr<Budget> budget_;
  BudgetScope* const outer_;
  int64_t settled_ns_;  // the thread's CPU time up to which all is booked
  uint32_t looks_ = 0;
};

/// Memory beside tensors that grows with a model's extents: held while the object lives.
class HeldBytes {
 public:
  explicit HeldBytes(double bytes);  // a product of extents may be any number
  ~HeldBytes();
  HeldBytes(const HeldBytes&) = delete;
  HeldBytes& operator=(const HeldBytes&) = delete;

 private:
  const int64_t bytes_;
  const std::shared_ptr<Budget> budget_;
};

/// The calling thread's, to hand on; null if it has none.
std::shared_ptr<Budget> shared_budget();

/// For loops: Budget::current()->look() in one call of 64, so that it may stand in inner ones.
void look_at_budget();

/// body() under a budget of its own; what it throws for want of time or memory is its error.
template <typename Body>
auto within_budget(const Limits& limits, std::shared_ptr<const Cancellation> cancellation,
                   Body&& body) -> decltype(body()) {
  try {
    BudgetScope scope(std::make_shared<Budget>(limits, std::move(cancellation)));
    return body();
  } catch (const OverBudget& over) {
    return over.error();
  } catch (const std::bad_alloc&) {
    return make_error(ErrorCode::kOutOfMemory, "there is not enough memory to compile the model");
  }
}

}  // namespace corf
