#pragma once
#include <functional>
#include <mutex>
#include <new>

namespace corf {

/// What to do when this process forks, while the object lives. The child has the forking thread
/// only: what other threads hold or have left half done stays so for good, unless it is made whole
/// again. To be declared behind what the functions use.
class AtFork {
 public:
  struct Steps {
    /// Before the process forks. False: not now; the fork waits, and asks again.
    std::function<bool()> hold;
    /// After it, in both processes, where hold() said true.
    std::function<void()> release;
    /// Then, in the child only.
    std::function<void()> renew;
  };
  explicit AtFork(Steps steps);
  ~AtFork();
  AtFork(const AtFork&) = delete;
  AtFork& operator=(const AtFork&) = delete;

  bool hold() const { return !steps_.hold || steps_.hold(); }
  void release() const {
    if (steps_.release) steps_.release();
  }
  void renew() const {
    if (steps_.renew) steps_.renew();
  }

 private:
  const Steps steps_;
};

/// A mutex that a fork leaves usable, by the steps that it takes.
template <AtFork::Steps (*kSteps)(std::mutex&)>
class ForkableMutex {
 public:
  void lock() { mutex_.lock(); }
  bool try_lock() { return mutex_.try_lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
  AtFork at_fork_{kSteps(mutex_)};
};

inline AtFork::Steps wait_until_free(std::mutex& mutex) {
  return {[&mutex] { return mutex.try_lock(); }, [&mutex] { mutex.unlock(); }, nullptr};
}
inline AtFork::Steps free_in_the_child(std::mutex& mutex) {
  return {nullptr, nullptr, [&mutex] { new (&mutex) std::mutex(); }};
}

/// For what is held for moments only: forks wait until it is free.
using BriefMutex = ForkableMutex<wait_until_free>;

/// For what may be held for seconds. Forks do not wait for it, and it is free in the child: what it
/// protects has to be sound at any time.
using LongMutex = ForkableMutex<free_in_the_child>;

}  // namespace corf
