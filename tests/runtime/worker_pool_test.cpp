#include "runtime/worker_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <stdexcept>
#include <thread>
#include <vector>

#include "runtime/team.h"
#include "tests/support/in_fork.h"

namespace corf::runtime {
namespace {

std::shared_ptr<Team> team_of(int threads, int streams) {
  return Team::create({.threads = threads, .streams = streams, .own_workers = true}).take();
}

/// Each of `callers` threads calls body(caller), `runs` times.
template <typename Body>
void call_from(int callers, int runs, const Body& body) {
  std::vector<std::thread> threads;
  for (int caller = 0; caller < callers; ++caller) {
    threads.emplace_back([&, caller] {
      for (int run = 0; run < runs; ++run) body(caller);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

/// Counts who is inside, and the most there were.
struct Inside {
  std::atomic<int> now = 0, most = 0;
  void enter(int count = 1) {
    const int inside = now += count;
    for (int seen = most; seen < inside && !most.compare_exchange_weak(seen, inside);) {
    }
  }
  void leave(int count = 1) { now -= count; }
};

TEST(Streams, RunSideBySide) {
  const auto team = team_of(2, 3);
  EXPECT_EQ(team->size(), 2);
  // Nobody goes on before all three are inside.
  std::atomic<int> inside = 0;
  call_from(3, 1, [&](int) {
    team->run([&](const Worker& worker) {
      EXPECT_EQ(worker.count, 2);
      if (worker.number == 0) ++inside;
      while (inside < 3) std::this_thread::yield();
      worker.barrier();
    });
  });
}

TEST(Streams, AreNeverMoreThanAskedFor) {
  for (const int streams : {1, 2}) {
    const auto team = team_of(2, streams);
    Inside inside;
    std::atomic<int> workers = 0;
    call_from(5, 60, [&](int) {
      team->run([&](const Worker& worker) {
        if (worker.number == 0) inside.enter();
        ++workers;
        worker.barrier();
        if (worker.number == 0) inside.leave();
      });
    });
    EXPECT_LE(inside.most, streams);
    EXPECT_EQ(workers, 5 * 60 * 2) << "each has all of its workers";
  }
}

TEST(SharedWorkers, AreAllTheCallersThatIsAlone) {
  const auto team = team_of(4, TeamOptions::kShared);
  for (int run = 0; run < 20; ++run) {
    std::atomic<int> workers = 0;
    team->run([&](const Worker& worker) {
      EXPECT_EQ(worker.count, 4);
      ++workers;
    });
    EXPECT_EQ(workers, 4);
  }
}

TEST(SharedWorkers, AreSharedOutAmongCallers) {
  const auto team = team_of(4, TeamOptions::kShared);
  Inside inside;
  std::vector<int64_t> sums(6);
  std::atomic<bool> has_shared = false;
  call_from(6, 100, [&](int caller) {
    std::atomic<int> arrived = 0;
    team->run([&](const Worker& worker) {
      if (worker.number == 0) inside.enter(worker.count);
      if (worker.count < 4) has_shared = true;
      ++arrived;
      worker.barrier();
      if (worker.number != 0) return;
      sums[caller] += arrived == worker.count ? 1 : 0;
      inside.leave(worker.count);
    });
  });
  EXPECT_LE(inside.most, 4);
  EXPECT_EQ(sums, std::vector<int64_t>(6, 100));
  EXPECT_TRUE(has_shared);
  team->run([](const Worker& worker) { EXPECT_EQ(worker.count, 4) << "alone again"; });
}

TEST(SharedWorkers, ARunAloneLeavesTheOthersToOthers) {
  const auto team = team_of(3, TeamOptions::kShared);
  team->take_turn(/*alone=*/true, [&](Crew& alone) {
    EXPECT_EQ(alone.size(), 1);
    std::thread([&] {
      team->take_turn(false, [](Crew& crew) { EXPECT_EQ(crew.size(), 2); });
    }).join();
  });
}

/// Several sessions of a process, each with as many workers as there are CPUs.
TEST(TeamsOfTheProcess, HaveItsWorkersTogether) {
  const int cpus = available_cpus();
  std::vector<std::shared_ptr<Team>> teams;
  teams.push_back(Team::create(TeamOptions{}).take());
  teams.push_back(Team::create({.streams = 1}).take());
  teams.push_back(Team::create({.threads = 1, .streams = cpus}).take());
  Inside inside;
  std::atomic<int> runs = 0;
  call_from(6, 50, [&](int caller) {
    teams[caller % 3]->run([&](const Worker& worker) {
      if (worker.number == 0) inside.enter(worker.count);
      worker.barrier();
      if (worker.number != 0) return;
      ++runs;
      inside.leave(worker.count);
    });
  });
  EXPECT_LE(inside.most, cpus);
  EXPECT_EQ(runs, 6 * 50);
}

/// The first come are the first served: one that needs all workers is not overtaken for ever.
TEST(TeamsOfTheProcess, LargeRunsComeToTheirTurn) {
  const int cpus = available_cpus();
  const auto small = Team::create({.threads = 1, .streams = cpus}).take();
  const auto large = Team::create({.streams = 1}).take();
  std::atomic<bool> done = false;
  std::vector<std::thread> busy;
  for (int i = 0; i < cpus + 1; ++i) {
    busy.emplace_back([&] {
      while (!done) small->run([](const Worker&) {});
    });
  }
  for (int run = 0; run < 20; ++run) {
    large->run([&](const Worker& worker) { EXPECT_EQ(worker.count, cpus); });
  }
  done = true;
  for (std::thread& thread : busy) thread.join();
}

TEST(WorkerPool, WhatARunThrowsReachesItsCaller) {
  const auto team = team_of(1, 1);
  std::atomic<int> caught = 0;
  call_from(4, 25, [&](int caller) {
    try {
      team->take_turn(false, [&](Crew&) {
        std::this_thread::sleep_for(std::chrono::microseconds(50));  // so that others wait
        throw std::runtime_error(std::to_string(caller));
      });
    } catch (const std::runtime_error& error) {
      caught += error.what() == std::to_string(caller);
    }
  });
  EXPECT_EQ(caught, 100);
}

TEST(WorkerPool, LargerTeamsThanCpusHaveTheirOwn) {
  const int more = available_cpus() + 3;
  const auto team = Team::create({.threads = more}).take();
  EXPECT_EQ(team->size(), more);
  std::atomic<int> workers = 0;
  team->run([&](const Worker&) { ++workers; });
  EXPECT_EQ(workers, more);
}

TEST(WorkerPool, ThroughputIsOneWorkerEach) {
  EXPECT_EQ(Team::create({.streams = TeamOptions::kThroughput}).take()->size(), 1);
  const auto team = Team::create({.threads = 2, .streams = TeamOptions::kThroughput}).take();
  EXPECT_EQ(team->size(), 2);
}

TEST(WorkerPool, ImpossibleNumbersOfStreamsAreErrors) {
  for (const TeamOptions& options : {TeamOptions{.streams = -2}, TeamOptions{.streams = 1 << 20},
                                     TeamOptions{.threads = 100, .streams = 100}}) {
    const auto team = Team::create(options);
    ASSERT_FALSE(team.ok());
    EXPECT_EQ(team.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST(WorkerPool, IsWholeInAForkWhileOthersRunAndWait) {
  const auto team = team_of(2, TeamOptions::kShared);
  std::atomic<bool> done = false;
  std::vector<std::thread> busy;
  for (int i = 0; i < 4; ++i) {
    busy.emplace_back([&] {
      while (!done) team->run([](const Worker& worker) { worker.barrier(); });
    });
  }
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_TRUE(test::in_fork([&] {
      std::atomic<int> workers = 0;
      team->run([&](const Worker&) { ++workers; });
      return workers == 2;
    }));
  }
  done = true;
  for (std::thread& thread : busy) thread.join();
}

}  // namespace
}  // namespace corf::runtime
