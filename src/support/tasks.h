#pragma once
#include <cstddef>
#include <functional>

namespace corf {

/// Calls task(i, worker) for each i < count, in any order, on up to `threads` threads, of which
/// each has its number as `worker` and works under the caller's budget. Where threads cannot be
/// had, fewer do the work. The first exception out of a task ends the work and is thrown again.
void for_each_task(int threads, size_t count,
                   const std::function<void(size_t task, size_t worker)>& task);

/// Workers that for_each_task has for so many tasks, at most.
size_t num_workers(int threads, size_t count);

}  // namespace corf
