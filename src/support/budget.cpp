#include "support/budget.h"

#include <algorithm>
#include <ctime>

namespace corf {
namespace {

// One node alone may be a recurrence, an attention or a product whose schedule is searched: some
// tenths of a second at most. Sanitizers make all work many times slower.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kSlowdown = 40;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr double kSlowdown = 40;
#else
constexpr double kSlowdown = 1;
#endif
#else
constexpr double kSlowdown = 1;
#endif
constexpr double kSeconds = 1.6 * kSlowdown, kSecondsPerNode = 0.1 * kSlowdown;
constexpr double kSecondsPerByte = 2e-7;  // read, converted, packed

// Weights of 8 bits are converted to 4 bytes, transformed by Winograd's method to 4 times as many,
// and packed in a copy.
constexpr int64_t kBytes = int64_t{128} << 20, kBytesPerByte = 40;
constexpr int64_t kNodes = 20'000, kNodesPerNode = 100;

thread_local BudgetScope* innermost = nullptr;

int64_t thread_cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

Limits allowed_for(const ModelSize& size, const Limits& limits) {
  Limits filled = limits;
  if (!filled.seconds) {
    filled.seconds = kSeconds + kSecondsPerNode * static_cast<double>(size.nodes) +
                     kSecondsPerByte * static_cast<double>(size.bytes);
  }
  if (!filled.memory_bytes) filled.memory_bytes = kBytes + kBytesPerByte * size.bytes;
  if (!filled.nodes) filled.nodes = kNodes + kNodesPerNode * size.nodes;
  return filled;
}

void Budget::look() {
  if (cancellation_ && cancellation_->cancelled()) {
    throw OverBudget(make_error(ErrorCode::kCancelled, "compiling the model was cancelled"));
  }
  check_time_for(0);
}

void Budget::check_time_for(double seconds) {
  if (!limits_.seconds) return;
  if (innermost != nullptr && innermost->budget_.get() == this) innermost->settle();
  if (static_cast<double>(spent_ns_.load()) * 1e-9 + seconds <= *limits_.seconds) return;
  throw OverBudget(make_error(ErrorCode::kOverLimit,
                              "compiling the model takes more than {:.1f} s of CPU time; option "
                              "limits.compile_seconds allows more",
                              *limits_.seconds));
}

void Budget::hold_bytes(int64_t bytes) {
  const int64_t held = held_bytes_ += bytes;
  if (!limits_.memory_bytes || held <= *limits_.memory_bytes) return;
  held_bytes_ -= bytes;
  throw OverBudget(make_error(
      ErrorCode::kOverLimit,
      "compiling the model takes more than {} MiB for tensors; option limits.memory allows more",
      *limits_.memory_bytes >> 20));
}

void Budget::check_nodes(int64_t count) const {
  if (!limits_.nodes || count <= *limits_.nodes) return;
  throw OverBudget(make_error(ErrorCode::kOverLimit,
                              "the model unfolds to more than {} nodes; option limits.nodes allows "
                              "more",
                              *limits_.nodes));
}

void Budget::check_constant_bytes(int64_t bytes) const {
  if (!limits_.constant_bytes || bytes <= *limits_.constant_bytes) return;
  throw OverBudget(make_error(ErrorCode::kOverLimit,
                              "the constants of the compiled model take {} bytes, more than the {} "
                              "of option limits.constants",
                              bytes, *limits_.constant_bytes));
}

Budget* Budget::current() { return innermost != nullptr ? innermost->budget_.get() : nullptr; }

BudgetScope::BudgetScope(std::shared_ptr<Budget> budget)
    : budget_(std::move(budget)), outer_(innermost), settled_ns_(thread_cpu_ns()) {
  if (outer_ != nullptr) outer_->settle();
  innermost = this;
}

BudgetScope::~BudgetScope() {
  settle();
  if (outer_ != nullptr) outer_->settled_ns_ = settled_ns_;
  innermost = outer_;
}

void BudgetScope::settle() noexcept {
  const int64_t now = thread_cpu_ns();
  if (budget_) budget_->spent_ns_ += now - settled_ns_;
  settled_ns_ = now;
}

HeldBytes::HeldBytes(double bytes)
    : bytes_(static_cast<int64_t>(std::min(bytes, 0x1p60))), budget_(shared_budget()) {
  if (budget_) budget_->hold_bytes(bytes_);
}

HeldBytes::~HeldBytes() {
  if (budget_) budget_->release_bytes(bytes_);
}

std::shared_ptr<Budget> shared_budget() {
  return innermost != nullptr ? innermost->budget_ : nullptr;
}

void look_at_budget() {
  constexpr uint32_t kOneIn = 64;
  if (innermost == nullptr || innermost->budget_ == nullptr) return;
  if (++innermost->looks_ % kOneIn == 0) innermost->budget_->look();
}

}  // namespace corf
