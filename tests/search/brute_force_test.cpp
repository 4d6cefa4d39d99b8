/// The search against all plans that there are: every way to cut the order of a network's operators
/// into kernels, with every way to run each.
#include <gtest/gtest.h>
#include <limits>
#include <memory>

#include "driver/prediction.h"
#include "fusion/prepare.h"
#include "search/find_plan.h"
#include "search/runs.h"
#include "tests/fusion/random_chain.h"

namespace corf::search {
namespace {

constexpr size_t kMostGroups = 8;

Machine some_machine(int threads) {
  Machine machine;
  machine.isa = Isa::kAvx2;
  machine.threads = threads;
  machine.fma_gflops_core = 100;
  machine.l1_gbps_core = 200;
  machine.l2_gbps_core = 80;
  machine.l3_gbps_core = 30;
  machine.dram_gbps_all = 20;
  machine.barrier_ns = threads > 1 ? 100 : 0;
  return machine;
}

/// What a kernel counts for in a plan's time.
double weighed(const fusion::GroupPlan& group, double time) {
  return (group.walk ? kLeastGain : 1) * time;
}

double time_of(const fusion::FusionPlan& plan, const GroupTime& time) {
  double sum = 0;
  fusion::DoneSoFar done;
  for (const fusion::GroupPlan& group : plan.groups) {
    if (!group.nests.empty()) {
      sum += weighed(group, time(plan.storage, group, done.before_next()));
    }
    done.add(group);
  }
  return sum;
}

/// Goes through all plans.
class AllPlans {
 public:
  AllPlans(const graph::Graph& graph, const Machine& machine, const GroupTime& time,
           const fusion::FusionPlan& unfused)
      : time_(time), unfused_(unfused) {
    KnownChoices known;
    RunFinder finder(graph, machine, time, unfused, {kMaxStages, 1, true}, known);
    for (size_t end = 1; end <= unfused.groups.size(); ++end) {
      const Runs runs = finder.before(end);
      for (const Segment& segment : runs.segments) {
        from_.resize(unfused.groups.size());
        from_[segment.first].push_back({end, segment.group});
      }
    }
  }

  double least() {
    extend(0, 0, {});
    return least_;
  }
  int64_t num_plans() const { return num_plans_; }

 private:
  struct Kernel {
    size_t end = 0;
    std::shared_ptr<const fusion::GroupPlan> group;
  };

  void extend(size_t first, double time, const fusion::DoneSoFar& done) {
    if (first == from_.size()) {
      ++num_plans_;
      least_ = std::min(least_, time);
      return;
    }
    for (const Kernel& kernel : from_[first]) {
      double own = 0;
      if (!kernel.group->nests.empty()) {
        own = weighed(*kernel.group, time_(unfused_.storage, *kernel.group, done.before_next()));
      }
      fusion::DoneSoFar after = done;
      after.add(*kernel.group);
      extend(kernel.end, time + own, after);
    }
  }

  const GroupTime& time_;
  const fusion::FusionPlan& unfused_;
  std::vector<std::vector<Kernel>> from_;  // by first group
  double least_ = std::numeric_limits<double>::max();
  int64_t num_plans_ = 0;
};

TEST(BruteForce, FindsWhatAllPlansHold) {
  int compared = 0, exact = 0, fused = 0;
  int64_t most_plans = 0;
  for (uint32_t seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const auto form =
        seed % 3 == 0 ? test::RandomChain::Form::kChain : test::RandomChain::Form::kNetwork;
    const graph::Graph graph = fusion::prepare(test::RandomChain(seed, form).graph());
    const Machine machine = some_machine(1 + static_cast<int>(seed % 2));
    const GroupTime time = driver::prediction(graph, machine);
    const fusion::FusionPlan unfused = find_unfused_plan(graph, machine);
    if (unfused.groups.size() > kMostGroups) continue;
    const fusion::FusionPlan found = find_plan(graph, machine, time);
    AllPlans all(graph, machine, time, unfused);
    const double least = all.least(), own = time_of(found, time);
    ++compared;
    exact += found.search.exact;
    most_plans = std::max(most_plans, all.num_plans());
    for (const fusion::GroupPlan& group : found.groups) fused += group.walk.has_value();
    EXPECT_GE(own, least * (1 - 1e-9));
    EXPECT_LE(own, least * (found.search.exact ? 1 + 1e-9 : 1.02))
        << (found.search.exact ? "said to be exact" : "not exact");
  }
  std::printf("%d networks, %d of them exactly, up to %lld plans\n", compared, exact,
              static_cast<long long>(most_plans));
  EXPECT_GT(compared, 60);
  EXPECT_GT(exact, 0);
  EXPECT_GT(fused, 0);
}

}  // namespace
}  // namespace corf::search
