#pragma once
#include <cstdint>
#include <functional>
#include <memory>

#include "support/result.h"

namespace corf::runtime {

/// Workers that run the same function side by side. The caller is worker 0. Between calls they spin
/// for a bounded time, then sleep.
class Team {
 public:
  /// `size` workers including the caller; 0: as many as the process may use (affinity, cgroup).
  static Result<std::shared_ptr<Team>> create(int size);
  ~Team();

  int size() const;
  /// Runs body(worker) on each worker and returns when all are done. One call at a time: further
  /// callers wait their turn.
  void run(const std::function<void(int worker)>& body);
  /// The same for body(0) alone, on the caller's thread: the other workers stay where they are.
  void run_alone(const std::function<void(int worker)>& body);
  /// Within run: waits until every worker has arrived. What was written before is visible after.
  void barrier(int worker);

 private:
  Team();
  struct State;
  std::unique_ptr<State> state_;
};

/// CPUs that this process may use: affinity mask and cgroup quota; at least 1.
int available_cpus();

}  // namespace corf::runtime
