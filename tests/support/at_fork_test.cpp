#include "support/at_fork.h"

#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace corf {
namespace {

template <typename Child>
bool in_fork(const Child& child) {
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(30);
    _exit(child() ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

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
