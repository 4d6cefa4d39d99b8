#include "support/at_fork.h"

#include <algorithm>
#include <pthread.h>
#include <sched.h>
#include <utility>
#include <vector>

namespace corf {
namespace {

struct Listeners {
  std::mutex mutex;
  std::vector<AtFork*> all;
};

/// Never destroyed: objects of static storage may be told of forks to the end.
Listeners& listeners() {
  static Listeners* const instance = new Listeners();
  return *instance;
}

/// Takes all or nothing, so that whoever has one of them and waits for another comes through.
bool hold_all() {
  Listeners& listening = listeners();
  listening.mutex.lock();
  for (size_t i = 0; i < listening.all.size(); ++i) {
    if (listening.all[i]->hold()) continue;
    while (i > 0) listening.all[--i]->release();
    listening.mutex.unlock();
    return false;
  }
  return true;
}

void before_fork() {
  while (!hold_all()) sched_yield();
}

void release_all() {
  for (AtFork* listener : listeners().all) listener->release();
}

void after_fork_in_parent() {
  release_all();
  listeners().mutex.unlock();
}

void after_fork_in_child() {
  release_all();
  for (AtFork* listener : listeners().all) listener->renew();
  listeners().mutex.unlock();
}

}  // namespace

AtFork::AtFork(Steps steps) : steps_(std::move(steps)) {
  static const int registered =
      pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  static_cast<void>(registered);
  Listeners& listening = listeners();
  const std::lock_guard lock(listening.mutex);
  listening.all.push_back(this);
}

AtFork::~AtFork() {
  Listeners& listening = listeners();
  const std::lock_guard lock(listening.mutex);
  std::erase(listening.all, this);
}

}  // namespace corf
