#include "support/tasks.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "support/budget.h"

namespace corf {

size_t num_workers(int threads, size_t count) {
  return std::min(count, static_cast<size_t>(std::max(threads, 1)));
}

void for_each_task(int threads, size_t count,
                   const std::function<void(size_t task, size_t worker)>& task) {
  std::atomic<size_t> next = 0;
  std::exception_ptr thrown;
  std::mutex thrown_mutex;
  auto work = [&](size_t worker) {
    try {
      for (size_t i = next++; i < count; i = next++) task(i, worker);
    } catch (...) {
      next = count;
      const std::lock_guard lock(thrown_mutex);
      if (!thrown) thrown = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    const auto work_on_budget = [&, budget = shared_budget()](size_t worker) {
      const BudgetScope scope(budget);
      work(worker);
    };
    try {
      for (size_t i = 1; i < num_workers(threads, count); ++i) {
        others.emplace_back(work_on_budget, i);
      }
    } catch (const std::exception&) {
      // Without a thread more, those that there are do the work.
    }
    work(0);
  }
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace corf
