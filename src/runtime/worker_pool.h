#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <sched.h>
#include <system_error>
#include <thread>
#include <vector>

#include "runtime/epoch.h"
#include "support/at_fork.h"
#include "support/result.h"

namespace corf::runtime {

class Crew;
struct Waiter;

/// One of the workers that run the same function side by side.
struct Worker {
  int number = 0, count = 1;
  Crew* crew = nullptr;  // null: there is no other
  /// Waits until every worker has arrived. What was written before is visible after.
  void barrier() const;
};

using WorkerBody = std::function<void(const Worker& worker)>;

/// A thread of a pool, which waits for calls.
struct PooledThread {
  Epoch call;                // counts the calls
  Crew* crew = nullptr;      // of this call; null in the last one: the thread ends
  int number = 0;            // as a worker of it
  Waiter* waiter = nullptr;  // of worker 0: whose run it is
  std::atomic<int> cpu{-1};  // while it works
  std::thread thread;
};

/// The workers of one run. Worker 0 is the run's caller, or a thread of the pool that stands in for
/// one that had to wait. Crews live as long as the pool, for a worker may still be leaving the last
/// barrier when the next run begins.
class alignas(64) Crew {
 public:
  int size() const { return static_cast<int>(threads_.size()) + 1; }
  /// On every worker, worker 0 being the calling thread; returns when all are done.
  void run(const WorkerBody& body);
  void barrier();

 private:
  friend class WorkerPool;
  bool spin_ = true;
  const void* owner_ = nullptr;         // whose run it is
  std::vector<PooledThread*> threads_;  // workers 1, 2, ...
  const WorkerBody* body_ = nullptr;
  std::atomic<int> callers_cpu_{-1};  // while the caller works
  alignas(64) std::atomic<int> arrived_{0};
  Epoch phase_;  // counts the completed barriers
};

/// What worker 0 does with the crew of a run.
using CrewBody = std::function<void(Crew& crew)>;

/// What a user of a pool may have of it at one time.
struct PoolShare {
  int most_workers = 1;  // of one run
  int most_runs = 1;     // side by side
  /// Fewer workers do where other runs go on or wait; else a run waits for all that it asks for.
  bool takes_fewer = false;
  int runs = 0;  // under way, guarded by the pool's mutex
  AtFork at_fork{{nullptr, nullptr, [this] { runs = 0; }}};
};

/// A caller that finds too few workers. It lives as long as the pool, for whoever wakes it may
/// still be doing so when it goes on.
struct Waiter {
  Epoch told;  // set when its run has ended or, without `on_pool`, may begin
  PoolShare* share = nullptr;
  int most = 1;
  const CrewBody* body = nullptr;
  Crew* crew = nullptr;  // once admitted
  bool on_pool = false;  // a thread of the pool runs it
  std::exception_ptr thrown;
  Waiter* next = nullptr;  // of those who are told at the same time
};

/// A number of workers, one for each CPU as a rule, that runs from any threads share. Each run has
/// some of them as its own until it ends; who finds too few waits, and the first come are the first
/// served. A run that has waited goes on a thread of the pool, which takes the next one as soon as
/// it ends: no CPU waits for a caller to wake.
class WorkerPool {
 public:
  /// `size`: workers, the callers of runs among them. `spin`: whether there is a CPU for each, so
  /// that waiting ones may spin for a moment.
  static Result<std::shared_ptr<WorkerPool>> create(int size, bool spin);
  /// That of all who may use the same CPUs as the calling thread, as many as these are.
  static Result<std::shared_ptr<WorkerPool>> of_process();
  ~WorkerPool();

  int size() const { return size_; }
  /// Calls body(crew) once there are workers: `most` or, where the share takes fewer, what is there
  /// or falls to this run when all who want to run are given equally many. Returns when it has
  /// ended; what it throws is thrown here.
  void run(PoolShare& share, int most, const CrewBody& body);

 private:
  enum class Occasion : uint8_t { kArrival, kEnd };

  WorkerPool(int size, bool spin);
  std::unique_ptr<std::system_error> start(size_t num_threads);
  void start_stand_in();
  void stop();
  void renew();
  void return_from_fork();
  void free_all();

  int workers_for(const PoolShare& share, int most, Occasion occasion) const;
  bool anyone_before() const;
  Crew& form_crew(PoolShare& share, int workers);
  Waiter& spare_waiter();
  Crew* wait(PoolShare& share, int most, const CrewBody& body);
  Waiter* admit_waiters(Occasion occasion, PooledThread* ending);
  Waiter* end_run(Crew& crew, PoolShare& share, PooledThread* ending);
  static void tell(Waiter* admitted);

  void work(PooledThread& self);
  void lead(PooledThread& self, const cpu_set_t& allowed);
  void take_seat(PooledThread& self, const cpu_set_t& allowed) const;

  int size_;
  const bool spin_;
  // One more than there are besides a caller: it stands in for callers, and starts when one waits.
  std::vector<std::unique_ptr<PooledThread>> threads_;
  std::unique_ptr<Crew[]> crews_;
  LongMutex start_mutex_;
  std::atomic<bool> left_behind_{false};   // the threads are in the process that this is a fork of
  std::atomic<bool> has_stand_in_{false};  // or its start has failed
  BriefMutex mutex_;                       // of what follows
  int free_ = 0;                           // workers
  int runs_ = 0;                           // under way
  std::vector<PooledThread*> idle_threads_;
  std::vector<Crew*> idle_crews_;
  std::vector<Waiter*> waiters_;  // the first come first
  std::vector<std::unique_ptr<Waiter>> all_waiters_;
  std::vector<Waiter*> spare_waiters_;
  AtFork at_fork_{{nullptr, nullptr, [this] { renew(); }}};
};

}  // namespace corf::runtime
