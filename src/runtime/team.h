#pragma once
#include <memory>

#include "runtime/pages.h"
#include "runtime/worker_pool.h"
#include "support/result.h"

namespace corf::runtime {

constexpr int kMaxWorkers = 1024;

struct TeamOptions {
  /// Workers of a run, its caller among them; 0: the CPUs that the process may use, over `streams`.
  int threads = 0;
  /// Runs side by side; each has `threads` workers, or waits. kShared: as many as there are callers
  /// and workers, each with fewer workers the more there are.
  int streams = kShared;
  static constexpr int kShared = 0;
  /// One worker each unless `threads` says otherwise, and as many side by side as there are CPUs.
  static constexpr int kThroughput = -1;
  /// Workers that no other team uses, in the place of those that the process's teams have together.
  /// More workers than there are CPUs are always a team's own.
  bool own_workers = false;
};

/// The workers of those who run the same thing, perhaps from several threads.
class Team {
 public:
  static Result<std::shared_ptr<Team>> create(const TeamOptions& options);
  /// One run at a time, on `size` workers of its own; 0: as many as the process may use (affinity,
  /// cgroup).
  static Result<std::shared_ptr<Team>> create(int size);

  /// Workers of a run at most.
  int size() const { return share_.most_workers; }
  /// Of the runs.
  PagesPool& memory() { return memory_; }

  /// Calls body(crew) when there are workers, for one alone or for as many as a run has, perhaps on
  /// another thread; returns when it has ended. What it throws is thrown here.
  void take_turn(bool alone, const CrewBody& body) {
    pool_->run(share_, alone ? 1 : share_.most_workers, body);
  }
  /// Runs body(worker) on each worker and returns when all are done.
  void run(const WorkerBody& body) {
    take_turn(false, [&](Crew& crew) { crew.run(body); });
  }

 private:
  Team(std::shared_ptr<WorkerPool> pool, int most_workers, int streams);
  std::shared_ptr<WorkerPool> pool_;
  PoolShare share_;
  PagesPool memory_;
};

/// CPUs that this process may use: affinity mask and cgroup quota; at least 1.
int available_cpus();

}  // namespace corf::runtime
