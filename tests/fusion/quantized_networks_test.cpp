// Random quantised networks in random plans, bit for bit.
#include <gtest/gtest.h>
#include <iterator>

#include "driver/pipeline.h"
#include "fusion/prepare.h"
#include "fusion/text.h"
#include "graph/evaluate.h"
#include "graph/text.h"
#include "rewrite/rewrite.h"
#include "tests/driver/random_quantized_network.h"
#include "tests/fusion/random_plan.h"
#include "tests/lower/run_plan.h"

namespace corf {
namespace {

TEST(QuantizedNetworks, AreWhatTheModelSaysInEveryPlan) {
  constexpr uint32_t kNetworks = 120;
  int tested = 0, byte_steps = 0;
  for (uint32_t seed = 0; seed < kNetworks; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const test::RandomQuantizedNetwork network(2 * seed, /*exact=*/true);
    auto expected = graph::evaluate(network.graph(), {network.input()},
                                    {.round_to_dtype = true, .round_operations = true});
    ASSERT_TRUE(expected) << expected.error().message;
    auto rewritten = rewrite::rewrite(network.graph(), {});
    ASSERT_TRUE(rewritten) << rewritten.error().message;
    driver::Pipeline pipeline;
    pipeline.machine.isa = kIsas[seed % std::size(kIsas)];
    pipeline.machine.threads = 1 + static_cast<int>(seed % 3);
    pipeline.graph = fusion::prepare(*rewritten);
    test::RandomPlans plans(pipeline.graph, pipeline.machine, seed);
    auto plan = plans.make();
    EXPECT_EQ(plans.faults(), 0) << "refused without a reason";
    if (!plan) continue;
    ++tested;
    for (const fusion::GroupPlan& group : plan->groups) {
      for (const auto& scheduled : group.nests) byte_steps += scheduled.schedule.byte_steps > 1;
    }
    pipeline.plan = std::move(*plan);
    const std::string text = fusion::to_string(pipeline.graph, pipeline.plan);
    test::run_plan(pipeline, {network.input()}, [&](const Tensor& result, const char* how) {
      const Tensor& truth = (*expected)[0];
      for (int64_t i = 0; i < truth.num_elems(); ++i) {
        ASSERT_EQ(result.at_f64(i), truth.at_f64(i)) << how << ", element " << i << "\n"
                                                     << graph::to_string(pipeline.graph) << text;
      }
    });
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(tested, 20);
  EXPECT_GT(byte_steps, 20);
}

}  // namespace
}  // namespace corf
