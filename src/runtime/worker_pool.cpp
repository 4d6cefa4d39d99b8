#include "runtime/worker_pool.h"

#include <algorithm>
#include <immintrin.h>
#include <map>
#include <mutex>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string>
#include <utility>

#include "runtime/team.h"
#include "support/assert.h"

namespace corf::runtime {
namespace {

/// IEEE arithmetic whatever the caller's thread has set, so that results do not depend on who runs.
class IeeeArithmetic {
 public:
  IeeeArithmetic() : saved_(_mm_getcsr()) { _mm_setcsr(kDefaultControl); }
  ~IeeeArithmetic() { _mm_setcsr(saved_); }

 private:
  static constexpr unsigned kDefaultControl = 0x1f80;
  unsigned saved_;
};

/// Signals are the application's: its handlers must not run on our threads.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &saved_, nullptr); }

 private:
  sigset_t saved_;
};

/// CPUs that the calling thread may use; none where there are more than the set holds.
cpu_set_t allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) CPU_ZERO(&set);
  return set;
}

/// Whose run this thread works in.
thread_local const void* current_owner = nullptr;

}  // namespace

// ---- a crew -----------------------------------------------------------------------------------

void Worker::barrier() const {
  if (crew != nullptr) crew->barrier();
}

void Crew::run(const WorkerBody& body) {
  body_ = &body;
  for (PooledThread* thread : threads_) thread->call.set(thread->call.value() + 1);
  body({0, size(), this});
  barrier();
}

void Crew::barrier() {
  const int workers = size();
  if (workers == 1) return;
  const uint32_t current = phase_.value();
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == workers) {
    // Nobody arrives at the next barrier before the phase changes.
    arrived_.store(0, std::memory_order_relaxed);
    phase_.set(current + 1);
  } else {
    phase_.wait_while(current, spin_);
  }
}

// ---- who is given workers ---------------------------------------------------------------------

/// 0: it has to wait.
int WorkerPool::workers_for(const PoolShare& share, int most, Occasion occasion) const {
  most = std::min(most, size_);
  if (share.runs >= share.most_runs || free_ == 0) return 0;
  if (!share.takes_fewer) return free_ >= most ? most : 0;
  if (occasion == Occasion::kArrival) return std::min(most, free_);
  // Whoever has just ended is likely to come again.
  const int wanting = runs_ + static_cast<int>(waiters_.size()) + 1;
  return std::min({most, free_, std::max(size_ / wanting, 1)});
}

/// Whether somebody waits for workers, and not only for an earlier run of the same share to end.
bool WorkerPool::anyone_before() const {
  return std::ranges::any_of(waiters_, [](const Waiter* waiter) {
    return waiter->share->runs < waiter->share->most_runs;
  });
}

Crew& WorkerPool::form_crew(PoolShare& share, int workers) {
  Crew& crew = *idle_crews_.back();
  idle_crews_.pop_back();
  crew.owner_ = &share;
  for (int number = 1; number < workers; ++number) {
    PooledThread& thread = *idle_threads_.back();
    idle_threads_.pop_back();
    thread.crew = &crew;
    thread.number = number;
    crew.threads_.push_back(&thread);
  }
  free_ -= workers;
  ++runs_;
  ++share.runs;
  return crew;
}

Waiter& WorkerPool::spare_waiter() {
  if (spare_waiters_.empty()) {
    all_waiters_.push_back(std::make_unique<Waiter>());
    spare_waiters_.reserve(all_waiters_.size());
    return *all_waiters_.back();
  }
  Waiter& waiter = *spare_waiters_.back();
  spare_waiters_.pop_back();
  return waiter;
}

void WorkerPool::run(PoolShare& share, int most, const CrewBody& body) {
  CORF_ASSERT(current_owner != &share, "a team's body runs the team again");
  if (left_behind_.load(std::memory_order_acquire)) return_from_fork();
  Crew* crew = nullptr;
  {
    const std::lock_guard lock(mutex_);
    const int workers = anyone_before() ? 0 : workers_for(share, most, Occasion::kArrival);
    if (workers > 0) crew = &form_crew(share, workers);
  }
  if (crew == nullptr) crew = wait(share, most, body);
  if (crew == nullptr) return;
  const void* const outer = std::exchange(current_owner, &share);
  if (spin_) crew->callers_cpu_.store(sched_getcpu(), std::memory_order_relaxed);
  std::exception_ptr thrown;
  try {
    const IeeeArithmetic ieee;
    body(*crew);
  } catch (...) {
    thrown = std::current_exception();
  }
  crew->callers_cpu_.store(-1, std::memory_order_relaxed);
  current_owner = outer;
  end_run(*crew, share, nullptr);
  if (thrown) std::rethrow_exception(thrown);
}

/// The crew with which the caller may run; null if a thread of the pool has done so.
Crew* WorkerPool::wait(PoolShare& share, int most, const CrewBody& body) {
  if (!has_stand_in_) start_stand_in();
  std::unique_lock lock(mutex_);
  Waiter& waiter = spare_waiter();
  waiter.share = &share;
  waiter.most = most;
  waiter.body = &body;
  waiter.on_pool = false;
  const uint32_t seen = waiter.told.value();
  waiters_.push_back(&waiter);
  Waiter* const admitted = admit_waiters(Occasion::kArrival, nullptr);  // some may have ended
  lock.unlock();
  tell(admitted);
  waiter.told.wait_while(seen, /*spin=*/false);
  Crew* const crew = waiter.on_pool ? nullptr : waiter.crew;
  const std::exception_ptr thrown = std::exchange(waiter.thrown, nullptr);
  lock.lock();
  spare_waiters_.push_back(&waiter);
  lock.unlock();
  if (thrown) std::rethrow_exception(thrown);
  return crew;
}

/// Those who run on threads of their own, as a list; others have a thread of the pool, which has
/// been called. `ending`: a thread that takes the first of them without being called.
Waiter* WorkerPool::admit_waiters(Occasion occasion, PooledThread* ending) {
  Waiter* admitted = nullptr;
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    Waiter& waiter = **it;
    if (waiter.share->runs >= waiter.share->most_runs) {
      ++it;
      continue;
    }
    const int workers = workers_for(*waiter.share, waiter.most, occasion);
    if (workers == 0) break;  // nobody overtakes it
    it = waiters_.erase(it);
    waiter.crew = &form_crew(*waiter.share, workers);
    PooledThread* leader = std::exchange(ending, nullptr);
    const bool is_called = leader == nullptr && !idle_threads_.empty();
    if (is_called) {
      leader = idle_threads_.back();
      idle_threads_.pop_back();
    }
    waiter.on_pool = leader != nullptr;
    if (leader == nullptr) {
      waiter.next = std::exchange(admitted, &waiter);
      continue;
    }
    leader->crew = waiter.crew;
    leader->number = 0;
    leader->waiter = &waiter;
    if (is_called) leader->call.set(leader->call.value() + 1);
  }
  if (ending != nullptr) idle_threads_.push_back(ending);
  return admitted;
}

/// Gives the workers back. `ending`: the thread of the pool that led them, which is to lead the run
/// that is returned, or is idle.
Waiter* WorkerPool::end_run(Crew& crew, PoolShare& share, PooledThread* ending) {
  std::unique_lock lock(mutex_);
  free_ += crew.size();
  --runs_;
  --share.runs;
  idle_threads_.insert(idle_threads_.end(), crew.threads_.rbegin(), crew.threads_.rend());
  crew.threads_.clear();
  idle_crews_.push_back(&crew);
  if (ending != nullptr) ending->waiter = nullptr;
  Waiter* const admitted = admit_waiters(Occasion::kEnd, ending);
  Waiter* const next = ending != nullptr ? ending->waiter : nullptr;
  lock.unlock();
  tell(admitted);
  return next;
}

void WorkerPool::tell(Waiter* admitted) {
  while (admitted != nullptr) {
    Waiter* const next = admitted->next;  // before it goes on, ends and waits again
    admitted->told.set(admitted->told.value() + 1);
    admitted = next;
  }
}

// ---- the threads ------------------------------------------------------------------------------

void WorkerPool::work(PooledThread& self) {
  const IeeeArithmetic ieee;
  const cpu_set_t allowed = allowed_cpus();
  bool spin = spin_;
  for (uint32_t seen = 0;; ++seen) {
    self.call.wait_while(seen, spin);
    Crew* const crew = self.crew;
    if (crew == nullptr) return;
    // Where callers wait for each other, one of them needs the CPU on which this one would spin.
    spin = spin_ && self.number > 0;
    if (self.number == 0) {
      lead(self, allowed);
      continue;
    }
    const Worker worker{self.number, crew->size(), crew};
    current_owner = crew->owner_;
    take_seat(self, allowed);
    (*crew->body_)(worker);
    self.cpu.store(-1, std::memory_order_relaxed);
    crew->barrier();
  }
}

/// The waiter's run, and those of others as long as there are any.
void WorkerPool::lead(PooledThread& self, const cpu_set_t& allowed) {
  for (Waiter* waiter = self.waiter; waiter != nullptr;) {
    take_seat(self, allowed);
    current_owner = waiter->share;
    try {
      (*waiter->body)(*waiter->crew);
    } catch (...) {
      waiter->thrown = std::current_exception();
    }
    self.cpu.store(-1, std::memory_order_relaxed);
    Waiter* const ended = std::exchange(waiter, nullptr);
    waiter = end_run(*ended->crew, *ended->share, &self);
    ended->told.set(ended->told.value() + 1);
  }
}

/// Where other processes come and go, the kernel may wake two workers on one CPU, and leave them
/// there: each barrier then takes a time slice. Whoever finds a caller or an earlier thread on its
/// CPU leaves that one to it. `allowed`: CPUs that the process gave the thread; the caller's thread
/// stays where its owner has it.
void WorkerPool::take_seat(PooledThread& self, const cpu_set_t& allowed) const {
  if (!spin_) return;
  const int cpu = sched_getcpu();
  self.cpu.store(cpu, std::memory_order_relaxed);
  cpu_set_t others = allowed;
  bool shares = false;
  const auto leave_to = [&](const std::atomic<int>& other) {
    const int taken = other.load(std::memory_order_relaxed);
    if (taken < 0 || taken >= CPU_SETSIZE) return;
    CPU_CLR(taken, &others);
    shares = shares || taken == cpu;
  };
  for (size_t i = 0; i < threads_.size(); ++i) leave_to(crews_[i].callers_cpu_);
  for (size_t i = 0; threads_[i].get() != &self; ++i) leave_to(threads_[i]->cpu);
  if (!shares || CPU_COUNT(&others) == 0) return;
  if (sched_setaffinity(0, sizeof others, &others) != 0) return;
  self.cpu.store(sched_getcpu(), std::memory_order_relaxed);
}

WorkerPool::WorkerPool(int size, bool spin)
    : size_(size), spin_(spin), crews_(std::make_unique<Crew[]>(static_cast<size_t>(size))) {
  for (int i = 0; i < size; ++i) {
    crews_[i].spin_ = spin;
    threads_.push_back(std::make_unique<PooledThread>());
  }
  idle_threads_.reserve(threads_.size());
  idle_crews_.reserve(threads_.size());
  free_all();
}

/// All workers, but for the thread that stands in for callers.
void WorkerPool::free_all() {
  free_ = size_;
  runs_ = 0;
  idle_threads_.clear();
  idle_crews_.clear();
  for (int i = size_; i-- > 0;) idle_crews_.push_back(&crews_[i]);
  for (int i = size_ - 1; i-- > 0;) idle_threads_.push_back(threads_[i].get());
}

/// Starts what is missing of the first threads. A null pointer, or why that failed.
std::unique_ptr<std::system_error> WorkerPool::start(size_t num_threads) {
  const BlockedSignals blocked;
  for (size_t i = 0; i < num_threads; ++i) {
    PooledThread& thread = *threads_[i];
    if (thread.thread.joinable()) continue;
    try {
      thread.thread = std::thread([this, &thread, name = "corf-" + std::to_string(i + 1)] {
        pthread_setname_np(pthread_self(), name.c_str());
        work(thread);
      });
    } catch (const std::system_error& error) {
      return std::make_unique<std::system_error>(error);
    }
  }
  return nullptr;
}

/// Without it a caller that has waited runs on its own thread.
void WorkerPool::start_stand_in() {
  const std::lock_guard starting(start_mutex_);
  if (has_stand_in_.exchange(true)) return;
  if (start(threads_.size()) != nullptr) return;
  const std::lock_guard lock(mutex_);
  idle_threads_.insert(idle_threads_.begin(), threads_.back().get());
}

void WorkerPool::stop() {
  for (const auto& thread : threads_) {
    if (!thread->thread.joinable()) continue;
    thread->crew = nullptr;
    thread->call.set(thread->call.value() + 1);
    thread->thread.join();
    thread->call.reset();
  }
}

/// A pool of the child's own, as it was before the first run. Its threads start with the first run
/// there: most children run something else, or nothing.
void WorkerPool::renew() {
  // Handles of threads that are not here can neither be joined nor destroyed.
  static auto* const kept = new std::vector<std::thread>();
  for (const auto& thread : threads_) {
    if (thread->thread.joinable()) kept->push_back(std::exchange(thread->thread, {}));
    thread->crew = nullptr;
    thread->waiter = nullptr;
    thread->cpu = -1;
    thread->call.reset();
  }
  for (size_t i = 0; i < threads_.size(); ++i) {
    Crew& crew = crews_[i];
    crew.threads_.clear();
    crew.callers_cpu_ = -1;
    crew.arrived_.store(0, std::memory_order_relaxed);
    crew.phase_.reset();
  }
  waiters_.clear();
  spare_waiters_.clear();
  for (const auto& waiter : all_waiters_) {
    waiter->told.reset();
    spare_waiters_.push_back(waiter.get());
  }
  free_all();
  left_behind_ = size_ > 1;
  has_stand_in_ = false;
  current_owner = nullptr;
}

/// One worker only where not all threads can be started: whoever runs alone gets the same results.
void WorkerPool::return_from_fork() {
  const std::lock_guard starting(start_mutex_);
  if (!left_behind_) return;
  if (start(threads_.size() - 1) != nullptr) {
    stop();
    const std::lock_guard lock(mutex_);
    size_ = 1;
    has_stand_in_ = true;
    free_all();
  }
  left_behind_.store(false, std::memory_order_release);
}

WorkerPool::~WorkerPool() { stop(); }

Result<std::shared_ptr<WorkerPool>> WorkerPool::create(int size, bool spin) {
  CORF_ASSERT(size >= 1, "a pool needs a worker");
  std::shared_ptr<WorkerPool> pool(new WorkerPool(size, spin));
  if (const std::unique_ptr<std::system_error> error = pool->start(pool->threads_.size() - 1)) {
    const auto running = std::ranges::count_if(
        pool->threads_, [](const auto& thread) { return thread->thread.joinable(); });
    return make_error(ErrorCode::kOutOfMemory,
                      "thread {} of {} could not be started: {}; ask for fewer threads",
                      running + 2, size, error->what());
  }
  return pool;
}

Result<std::shared_ptr<WorkerPool>> WorkerPool::of_process() {
  struct Pools {
    BriefMutex mutex;
    std::map<std::string, std::weak_ptr<WorkerPool>> by_cpus;
  };
  // Never destroyed: sessions may be made and freed to the end.
  static auto* const pools = new Pools();
  const cpu_set_t allowed = allowed_cpus();
  const int cpus = std::min(available_cpus(), kMaxWorkers);
  const std::string key =
      std::string(reinterpret_cast<const char*>(&allowed), sizeof allowed) + std::to_string(cpus);
  const std::lock_guard lock(pools->mutex);
  std::weak_ptr<WorkerPool>& known = pools->by_cpus[key];
  if (std::shared_ptr<WorkerPool> pool = known.lock()) return pool;
  CORF_ASSIGN(std::shared_ptr<WorkerPool> made, create(cpus, /*spin=*/true));
  known = made;
  return made;
}

}  // namespace corf::runtime
