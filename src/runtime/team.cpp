#include "runtime/team.h"

#include <algorithm>
#include <sched.h>
#include <thread>

#include "runtime/cpu_limit.h"

namespace corf::runtime {

Team::Team(std::shared_ptr<WorkerPool> pool, int most_workers, int streams)
    : pool_(std::move(pool)) {
  share_.most_workers = most_workers;
  share_.takes_fewer = streams == TeamOptions::kShared;
  share_.most_runs = share_.takes_fewer ? pool_->size() : streams;
}

Result<std::shared_ptr<Team>> Team::create(const TeamOptions& options) {
  const auto check = [](int count, int least, const char* what) -> Status {
    if (count >= least && count <= kMaxWorkers) return {};
    return make_error(ErrorCode::kInvalidArgument,
                      "{} {} were asked for; it must be 1 to {}, or 0 for what the CPUs allow that "
                      "the process may use",
                      count, what, kMaxWorkers);
  };
  CORF_RETURN_IF_ERROR(check(options.threads, 0, "threads"));
  CORF_RETURN_IF_ERROR(check(options.streams, TeamOptions::kThroughput, "streams"));
  const int cpus = std::min(available_cpus(), kMaxWorkers);
  int threads = options.threads, streams = options.streams;
  if (streams == TeamOptions::kThroughput) {
    threads = std::max(threads, 1);
    streams = std::max(cpus / threads, 1);
  }
  if (threads == 0) threads = std::max(cpus / std::max(streams, 1), 1);
  const int workers = threads * std::max(streams, 1);
  CORF_RETURN_IF_ERROR(check(workers, 1, "threads of all streams"));
  std::shared_ptr<WorkerPool> pool;
  if (options.own_workers || workers > cpus) {
    // With more workers than CPUs a spinning worker keeps from running the one it waits for.
    CORF_ASSIGN(pool, WorkerPool::create(workers, /*spin=*/workers <= cpus));
  } else {
    CORF_ASSIGN(pool, WorkerPool::of_process());
  }
  return std::shared_ptr<Team>(new Team(std::move(pool), threads, streams));
}

Result<std::shared_ptr<Team>> Team::create(int size) {
  return create({.threads = size, .streams = 1, .own_workers = true});
}

int available_cpus() {
  int affinity = 0;
  // The mask's size is the kernel's; ask with growing ones until it fits.
  for (int capacity = 1024; affinity == 0 && capacity <= 1 << 20; capacity *= 4) {
    cpu_set_t* set = CPU_ALLOC(capacity);
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(capacity);
    CPU_ZERO_S(bytes, set);
    if (sched_getaffinity(0, bytes, set) == 0) affinity = CPU_COUNT_S(bytes, set);
    CPU_FREE(set);
  }
  if (affinity == 0) affinity = static_cast<int>(std::thread::hardware_concurrency());
  if (const std::optional<double> limit = cgroup_cpu_limit()) {
    affinity = std::min(affinity, whole_cpus(*limit));
  }
  return std::max(affinity, 1);
}

}  // namespace corf::runtime
