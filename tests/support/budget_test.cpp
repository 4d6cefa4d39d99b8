#include "support/budget.h"

#include <gtest/gtest.h>
#include <thread>

#include "tensor/tensor.h"

namespace corf {
namespace {

using Ended = Result<int>;

/// What the budget says of a body that it ends.
template <typename Body>
Error ended(const Limits& limits, Body&& body) {
  const Ended result = within_budget(limits, nullptr, [&]() -> Ended {
    body();
    return 1;
  });
  EXPECT_FALSE(result.ok());
  return result.ok() ? Error{} : result.error();
}

void work_for_ever() {
  for (;;) look_at_budget();
}

TEST(Budget, EndsWhatTakesTooLong) {
  Limits limits;
  limits.seconds = 0.02;
  const Error error = ended(limits, work_for_ever);
  EXPECT_EQ(error.code, ErrorCode::kOverLimit);
  EXPECT_NE(error.message.find("limits.compile_seconds"), std::string::npos) << error.message;
}

TEST(Budget, CountsThreadsThatTakeItOver) {
  Limits limits;
  limits.seconds = 0.02;
  const Error error = ended(limits, [] {
    std::exception_ptr thrown;
    std::thread other([&, budget = shared_budget()] {
      const BudgetScope scope(budget);
      try {
        work_for_ever();
      } catch (...) {
        thrown = std::current_exception();
      }
    });
    other.join();
    std::rethrow_exception(thrown);
  });
  EXPECT_EQ(error.code, ErrorCode::kOverLimit);
}

TEST(Budget, DoesNotPayForAnInnerScope) {
  Limits limits;
  limits.seconds = 0.05;
  const Ended result = within_budget(limits, nullptr, []() -> Ended {
    Limits longer;
    longer.seconds = 0.1;
    const Error inner = ended(longer, work_for_ever);
    EXPECT_EQ(inner.code, ErrorCode::kOverLimit);
    Budget::current()->look();
    return 1;
  });
  EXPECT_TRUE(result.ok()) << result.error().message;
}

TEST(Budget, CountsTensorsWhileTheyLive) {
  Limits limits;
  limits.memory_bytes = int64_t{1} << 20;
  const Ended result = within_budget(limits, nullptr, []() -> Ended {
    for (int i = 0; i < 10; ++i) Tensor(DType::kF32, {1 << 17});  // half of it
    return 1;
  });
  EXPECT_TRUE(result.ok()) << result.error().message;
  const Error error = ended(limits, [] {
    std::vector<Tensor> kept;
    for (int i = 0; i < 10; ++i) kept.emplace_back(DType::kF32, Shape{1 << 17});
  });
  EXPECT_EQ(error.code, ErrorCode::kOverLimit);
  EXPECT_NE(error.message.find("limits.memory"), std::string::npos) << error.message;
}

TEST(Budget, OutlivedByItsTensors) {
  Limits limits;
  limits.memory_bytes = int64_t{1} << 20;
  Result<Tensor> kept = within_budget(
      limits, nullptr, []() -> Result<Tensor> { return Tensor(DType::kF32, {1000}); });
  ASSERT_TRUE(kept.ok());
  kept = Tensor();
}

TEST(Budget, TakesSizesThatOverflow) {
  Limits limits;
  limits.memory_bytes = 1000;
  EXPECT_EQ(ended(limits, [] { HeldBytes(0x1p200); }).code, ErrorCode::kOverLimit);
}

TEST(Budget, IsCancelledFromAnotherThread) {
  const auto cancellation = std::make_shared<Cancellation>();
  std::thread other;
  const Ended result = within_budget({}, cancellation, [&]() -> Ended {
    other = std::thread([&] { cancellation->cancel(); });
    work_for_ever();
    return 1;
  });
  other.join();
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kCancelled);
}

TEST(Budget, MakesAnErrorOfMemoryThatEnds) {
  EXPECT_EQ(ended({}, [] { throw std::bad_alloc(); }).code, ErrorCode::kOutOfMemory);
}

TEST(Budget, GrowsWithTheModel) {
  const Limits small = allowed_for({1000, 1}, {}), large = allowed_for({int64_t{1} << 30, 500}, {});
  EXPECT_GT(*large.seconds, 10 * *small.seconds);
  EXPECT_GT(*large.memory_bytes, 10 * *small.memory_bytes);
  Limits own;
  own.nodes = 7;
  EXPECT_EQ(allowed_for({1000, 1}, own).nodes, 7);
}

}  // namespace
}  // namespace corf
