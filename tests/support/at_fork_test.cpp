#include "support/at_fork.h"

#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <thread>

#include "tests/support/in_fork.h"

namespace corf {
namespace {

using test::in_fork;

template <typename Mutex>
bool is_free(Mutex& mutex) {
  if (!mutex.try_lock()) return false;
  mutex.unlock();
  return true;
}

TEST(BriefMutex, IsNeverTakenInAChild) {
  BriefMutex mutex;
  std::atomic<bool> done = false;
  std::thread other([&] {
    while (!done) {
      mutex.lock();
      std::this_thread::yield();
      mutex.unlock();
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  });
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(in_fork([&] { return is_free(mutex); }));
  done = true;
  other.join();
  EXPECT_TRUE(is_free(mutex));
}

TEST(LongMutex, IsFreeInTheChildAndKeptInTheParent) {
  LongMutex mutex;
  std::thread other([&] { mutex.lock(); });
  other.join();
  EXPECT_TRUE(in_fork([&] { return is_free(mutex); }));
  EXPECT_FALSE(is_free(mutex));
}

}  // namespace
}  // namespace corf
