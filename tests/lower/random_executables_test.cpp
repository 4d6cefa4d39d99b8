#include <atomic>
#include <cstring>
#include <gtest/gtest.h>
#include <thread>

#include "graph/evaluate.h"
#include "tests/lower/guarded_run.h"
#include "tests/lower/random_graph.h"

namespace corf {
namespace {

constexpr int kTeamSizes[] = {1, 2, 3, 5};

using test::compile;
using test::GuardedRun;

bool equal(const Tensor& expected, const Tensor& actual) {
  for (int64_t i = 0; i < expected.num_elems(); ++i) {
    const bool same = is_integer(actual.dtype())
                          ? expected.at_i64(i) == actual.at_i64(i)
                          : float(expected.at_f64(i)) == float(actual.at_f64(i));
    if (!same) return false;
  }
  return true;
}

class RandomExecutables : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!has_isa(GetParam())) GTEST_SKIP() << "this machine has no " << to_string(GetParam());
  }
};

TEST_P(RandomExecutables, GiveTheReferencesBitsAtAnyThreadCount) {
  for (uint32_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    test::RandomGraph random(seed);
    const std::vector<Tensor> inputs = random.inputs();
    auto expected = graph::evaluate(random.graph(), inputs);
    ASSERT_TRUE(expected) << expected.error().message;
    auto spec = compile(random.graph(), GetParam(), 1 + static_cast<int>(seed % 3));
    ASSERT_TRUE(spec) << spec.error().message;
    for (int size : kTeamSizes) {
      auto team = runtime::Team::create(size);
      ASSERT_TRUE(team) << team.error().message;
      auto executable = runtime::Executable::load(*spec, *team);
      ASSERT_TRUE(executable) << executable.error().message;
      GuardedRun run(**executable, inputs);
      for (int repeat = 0; repeat < 2; ++repeat) {
        Status status = run.run(**executable);
        ASSERT_TRUE(status) << status.error().message;
        for (size_t i = 0; i < expected->size(); ++i) {
          ASSERT_TRUE(equal((*expected)[i], run.outputs()[i]))
              << "output " << i << " with " << size << " workers";
        }
      }
    }
  }
}

/// Random reals: rounding shows any change in the order of summation.
std::vector<Tensor> real_inputs(const graph::Graph& graph) {
  std::mt19937 random(7);
  std::normal_distribution<double> normal;
  std::vector<Tensor> inputs;
  for (graph::ValueId value : graph.inputs) {
    inputs.emplace_back(graph.values[value].dtype, graph.values[value].shape);
    for (int64_t i = 0; i < inputs.back().num_elems(); ++i) {
      inputs.back().set_f64(i, normal(random));
    }
  }
  return inputs;
}

TEST_P(RandomExecutables, OnePlanGivesTheSameBitsEveryTime) {
  for (uint32_t seed : {3u, 14u, 27u}) {
    test::RandomGraph random(seed);
    const std::vector<Tensor> inputs = real_inputs(random.graph());
    auto spec = compile(random.graph(), GetParam(), 2);
    ASSERT_TRUE(spec) << spec.error().message;
    std::vector<Tensor> first;
    for (int size : kTeamSizes) {
      auto team = runtime::Team::create(size);
      ASSERT_TRUE(team) << team.error().message;
      auto executable = runtime::Executable::load(*spec, *team);
      ASSERT_TRUE(executable) << executable.error().message;
      GuardedRun run(**executable, inputs);
      for (int repeat = 0; repeat < 100; ++repeat) {
        ASSERT_TRUE(run.run(**executable));
        if (first.empty()) {
          for (const Tensor& output : run.outputs()) {
            first.emplace_back(output.dtype(), output.shape());
            std::memcpy(first.back().bytes(), output.bytes(), output.size_bytes());
          }
        }
        for (size_t i = 0; i < first.size(); ++i) {
          ASSERT_EQ(0,
                    std::memcmp(first[i].bytes(), run.outputs()[i].bytes(), first[i].size_bytes()))
              << "seed " << seed << ", run " << repeat << " with " << size << " workers";
        }
      }
    }
  }
}

TEST_P(RandomExecutables, ConcurrentRunsDoNotDisturbEachOther) {
  test::RandomGraph random(5);
  const std::vector<Tensor> inputs = random.inputs();
  auto expected = graph::evaluate(random.graph(), inputs);
  ASSERT_TRUE(expected);
  auto spec = compile(random.graph(), GetParam(), 2);
  ASSERT_TRUE(spec) << spec.error().message;
  auto team = runtime::Team::create(2);
  ASSERT_TRUE(team);
  auto executable = runtime::Executable::load(*spec, *team);
  ASSERT_TRUE(executable) << executable.error().message;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      GuardedRun run(**executable, inputs);
      for (int repeat = 0; repeat < 25; ++repeat) {
        if (!run.run(**executable)) ++wrong;
        for (size_t i = 0; i < expected->size(); ++i) {
          if (!equal((*expected)[i], run.outputs()[i])) ++wrong;
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

INSTANTIATE_TEST_SUITE_P(Isas, RandomExecutables, testing::ValuesIn(kIsas),
                         [](const auto& info) { return std::string(to_string(info.param)); });

}  // namespace
}  // namespace corf
