#include "runtime/team.h"

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <immintrin.h>
#include <sched.h>
#include <set>
#include <thread>
#include <unistd.h>
#include <vector>

#include "runtime/cpu_limit.h"
#include "tests/support/in_fork.h"

namespace corf::runtime {
namespace {

class TeamOfSize : public testing::TestWithParam<int> {
 protected:
  std::shared_ptr<Team> team_ = Team::create(GetParam()).take();
};

TEST_P(TeamOfSize, RunsTheBodyOnceOnEachWorker) {
  ASSERT_EQ(team_->size(), GetParam());
  std::vector<int> calls(GetParam());
  std::vector<std::thread::id> threads(GetParam());
  for (int run = 0; run < 300; ++run) {
    team_->run([&](const Worker& worker) {
      ++calls[worker.number];
      threads[worker.number] = std::this_thread::get_id();
    });
  }
  EXPECT_EQ(calls, std::vector<int>(GetParam(), 300));
  EXPECT_EQ(threads[0], std::this_thread::get_id());
  EXPECT_EQ(std::set(threads.begin(), threads.end()).size(), threads.size());
}

/// Each step reads what the neighbour wrote in the step before, in plain memory.
TEST_P(TeamOfSize, BarrierMakesEarlierWritesVisible) {
  constexpr int kSteps = 400;
  const int size = GetParam();
  std::vector<int64_t> even(size), odd(size);
  for (int i = 0; i < size; ++i) even[i] = i;
  team_->run([&](const Worker& worker) {
    for (int step = 0; step < kSteps; ++step) {
      const std::vector<int64_t>& from = step % 2 == 0 ? even : odd;
      std::vector<int64_t>& to = step % 2 == 0 ? odd : even;
      to[worker.number] = from[(worker.number + 1) % size] + 1;
      worker.barrier();
    }
  });
  for (int i = 0; i < size; ++i) EXPECT_EQ(even[i], (i + kSteps) % size + kSteps);
}

TEST_P(TeamOfSize, SleepingWorkersWakeUp) {
  std::atomic<int> calls = 0;
  for (int run = 0; run < 5; ++run) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    team_->run([&](const Worker& worker) {
      // The others wait for a late worker beyond their spinning time.
      if (worker.number == GetParam() - 1)
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      worker.barrier();
      ++calls;
    });
  }
  EXPECT_EQ(calls, 5 * GetParam());
}

TEST_P(TeamOfSize, ConcurrentCallersTakeTurns) {
  constexpr int kCallers = 4, kRuns = 100;
  int64_t unguarded = 0;  // written by worker 0 of whoever has the turn
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&] {
      for (int run = 0; run < kRuns; ++run) {
        team_->run([&](const Worker& worker) {
          worker.barrier();
          if (worker.number == 0) ++unguarded;
          worker.barrier();
        });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(unguarded, kCallers * kRuns);
}

TEST_P(TeamOfSize, BodyMayRunAnotherTeam) {
  auto inner = Team::create(2).take();
  std::atomic<int> calls = 0;
  for (int run = 0; run < 20; ++run) {
    team_->run([&](const Worker&) { inner->run([&](const Worker&) { ++calls; }); });
  }
  EXPECT_EQ(calls, 20 * GetParam() * 2);
}

TEST_P(TeamOfSize, ArithmeticIsIeeeWhateverTheCallerHasSet) {
  const unsigned saved = _mm_getcsr();
  constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x40;
  _mm_setcsr(saved | kFlushToZero | kDenormalsAreZero);
  const auto own = Team::create(GetParam()).take();
  std::vector<unsigned> seen(GetParam());
  own->run([&](const Worker& worker) { seen[worker.number] = _mm_getcsr(); });
  const unsigned after = _mm_getcsr();
  _mm_setcsr(saved);
  for (const unsigned control : seen) EXPECT_EQ(control & (kFlushToZero | kDenormalsAreZero), 0u);
  EXPECT_NE(after & kFlushToZero, 0u) << "the caller's own setting must come back";
}

INSTANTIATE_TEST_SUITE_P(Sizes, TeamOfSize, testing::Values(1, 2, 3, 5));

TEST(Team, WorkersOnOneCpuMoveApart) {
  if (available_cpus() < 2) GTEST_SKIP() << "there is one CPU only";
  cpu_set_t before, here;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  const auto team = Team::create(2).take();
  // The caller keeps to one CPU, and the worker has been put there too.
  CPU_ZERO(&here);
  CPU_SET(sched_getcpu(), &here);
  ASSERT_EQ(sched_setaffinity(0, sizeof here, &here), 0);
  team->run([&](const Worker&) { sched_setaffinity(0, sizeof here, &here); });
  int cpus[2] = {-1, -1};
  team->run([&](const Worker& worker) { cpus[worker.number] = sched_getcpu(); });
  EXPECT_TRUE(CPU_ISSET(cpus[0], &here)) << "the caller's thread is the caller's";
  EXPECT_NE(cpus[0], cpus[1]);
  EXPECT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

TEST(Team, ManyTeamsComeAndGo) {
  int64_t sum = 0;
  for (int i = 0; i < 100; ++i) {
    auto team = Team::create(1 + i % 4).take();
    if (i % 3 == 0) continue;  // never run
    std::vector<int> one(team->size());
    team->run([&](const Worker& worker) { one[worker.number] = 1; });
    for (const int value : one) sum += value;
  }
  EXPECT_GT(sum, 0);
}

TEST(Team, SizeZeroTakesWhatTheProcessMayUse) {
  EXPECT_EQ(Team::create(0).take()->size(), available_cpus());
}

TEST(Team, ImpossibleSizesAreErrors) {
  for (const int size : {-1, 1 << 20}) {
    const auto team = Team::create(size);
    ASSERT_FALSE(team.ok());
    EXPECT_EQ(team.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(team.error().message.find(std::to_string(size)), std::string::npos);
  }
}

TEST(AvailableCpus, FollowsTheAffinityMask) {
  cpu_set_t saved;
  ASSERT_EQ(sched_getaffinity(0, sizeof saved, &saved), 0);
  EXPECT_GE(available_cpus(), 1);
  EXPECT_LE(available_cpus(), CPU_COUNT(&saved));
  int first = 0;
  while (!CPU_ISSET(first, &saved)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(available_cpus(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof saved, &saved), 0);
}

/// A file tree that stands for the system's.
class CgroupTree : public testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::temp_directory_path() /
            ("corf_cgroup_" + std::to_string(::getpid()) + "_" +
             testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_.string() + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  std::filesystem::path root_;
};

constexpr const char* kVersion2Mount =
    "22 1 8:1 / / rw - ext4 /dev/vda rw\n"
    "30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";

TEST_F(CgroupTree, Version2TakesTheSmallestLimitUpToTheRoot) {
  write("/proc/self/mountinfo", kVersion2Mount);
  write("/proc/self/cgroup", "0::/user/job\n");
  write("/sys/fs/cgroup/user/job/cpu.max", "400000 100000\n");
  write("/sys/fs/cgroup/user/cpu.max", "150000 100000\n");
  EXPECT_EQ(cgroup_cpu_limit(root_.string()), 1.5);
}

TEST_F(CgroupTree, Version2WithoutLimit) {
  write("/proc/self/mountinfo", kVersion2Mount);
  write("/proc/self/cgroup", "0::/user/job\n");
  write("/sys/fs/cgroup/user/job/cpu.max", "max 100000\n");
  EXPECT_EQ(cgroup_cpu_limit(root_.string()), std::nullopt);
}

TEST_F(CgroupTree, Version1InsideOfAContainer) {
  write("/proc/self/mountinfo",
        "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpuacct,cpu\n"
        "33 31 0:30 /docker/abc /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n");
  write("/proc/self/cgroup", "3:cpuset:/docker/abc\n2:cpu,cpuacct:/docker/abc\n");
  write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n");
  write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cgroup_cpu_limit(root_.string()), 2.0);
  write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(cgroup_cpu_limit(root_.string()), std::nullopt);
}

TEST_F(CgroupTree, DamagedFilesMeanNoLimit) {
  write("/proc/self/mountinfo", std::string(kVersion2Mount) + "nonsense\n\n30 -\n");
  write("/proc/self/cgroup", "0:\n::\nnonsense\n0::/user\n");
  write("/sys/fs/cgroup/user/cpu.max", "0 0 what");
  EXPECT_EQ(cgroup_cpu_limit(root_.string()), std::nullopt);
  EXPECT_EQ(cgroup_cpu_limit(root_.string() + "/absent"), std::nullopt);
}

TEST(WholeCpus, RoundDownAndAreAtLeastOne) {
  EXPECT_EQ(whole_cpus(0.3), 1);
  EXPECT_EQ(whole_cpus(1.9), 1);
  EXPECT_EQ(whole_cpus(2), 2);
  EXPECT_EQ(whole_cpus(1e300), 1'000'000);
}

using test::in_fork;

bool runs_on_all(Team& team) {
  std::vector<int> calls(team.size());
  team.run([&](const Worker& worker) {
    worker.barrier();
    ++calls[worker.number];
    worker.barrier();
  });
  return calls == std::vector<int>(team.size(), 1);
}

TEST(TeamAfterFork, RunsInTheChildAndInItsChild) {
  const std::shared_ptr<Team> team = Team::create(4).take();
  EXPECT_TRUE(runs_on_all(*team));
  EXPECT_TRUE(in_fork([&] {
    const bool ran = runs_on_all(*team) && runs_on_all(*team);
    return ran && in_fork([&] { return runs_on_all(*team); });
  }));
  EXPECT_TRUE(runs_on_all(*team)) << "the parent keeps its workers";
}

TEST(TeamAfterFork, MayBeLeftUnused) {
  std::shared_ptr<Team> team = Team::create(3).take();
  EXPECT_TRUE(in_fork([&] {
    team.reset();
    return true;
  }));
  EXPECT_TRUE(runs_on_all(*team));
}

TEST(TeamAfterFork, DoesNotMindARunInAnotherThread) {
  const std::shared_ptr<Team> team = Team::create(2).take();
  std::atomic<bool> inside = false, done = false;
  std::thread other([&] {
    team->run([&](const Worker&) {
      inside = true;
      while (!done) std::this_thread::yield();
    });
  });
  while (!inside) std::this_thread::yield();
  EXPECT_TRUE(in_fork([&] { return runs_on_all(*team); }));
  done = true;
  other.join();
  EXPECT_TRUE(runs_on_all(*team));
}

}  // namespace
}  // namespace corf::runtime
