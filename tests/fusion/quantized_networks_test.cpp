// Random quantised networks in random plans, bit for bit.
#include <cstdlib>
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

using graph::Graph;

int64_t from_environment(const char* variable, int64_t otherwise) {
  const char* text = std::getenv(variable);
  return text ? std::atoll(text) : otherwise;
}

/// What was tested of many networks.
struct Tested {
  int64_t plans = 0, byte_steps = 0, rows_at_once = 0;
};

void expect_equal_bits(uint32_t seed, Isa isa, const Graph& rewritten, const Tensor& input,
                       const Tensor& expected, Tested& tested) {
  SCOPED_TRACE(std::string(to_string(isa)));
  driver::Pipeline pipeline;
  pipeline.machine.isa = isa;
  pipeline.machine.threads = 1 + static_cast<int>(seed % 3);
  pipeline.graph = fusion::prepare(rewritten);
  test::RandomPlans plans(pipeline.graph, pipeline.machine, seed);
  auto plan = plans.make();
  EXPECT_EQ(plans.faults(), 0) << "refused without a reason";
  if (!plan) return;
  ++tested.plans;
  for (const fusion::GroupPlan& group : plan->groups) {
    for (const auto& scheduled : group.nests) {
      const bool at_once = scheduled.schedule.byte_steps > 1;
      tested.byte_steps += at_once;
      tested.rows_at_once += at_once && !scheduled.schedule.unrolled_reductions.empty();
    }
  }
  pipeline.plan = std::move(*plan);
  const std::string text = fusion::to_string(pipeline.graph, pipeline.plan);
  const auto check = [&](const Tensor& result, const char* how) {
    for (int64_t i = 0; i < expected.num_elems(); ++i) {
      ASSERT_EQ(result.at_f64(i), expected.at_f64(i)) << how << ", element " << i << "\n"
                                                      << graph::to_string(pipeline.graph) << text;
    }
  };
  test::run_plan(pipeline, {input}, check, {1, 2, 3, 5});
}

/// Each network in a random plan for one instruction set, or, of the long test, in one for each.
TEST(QuantizedNetworks, AreWhatTheModelSaysInEveryPlan) {
  const int64_t networks = from_environment("CORF_LONG_TESTS", 120);
  const auto first = static_cast<uint32_t>(from_environment("CORF_FIRST_SEED", 0));
  const bool on_each = std::getenv("CORF_LONG_TESTS") != nullptr;
  Tested tested;
  for (int64_t i = 0; i < networks; ++i) {
    const uint32_t seed = first + static_cast<uint32_t>(i);
    SCOPED_TRACE("seed " + std::to_string(seed));
    const test::RandomQuantizedNetwork network(2 * seed, /*exact=*/true);
    const auto expected = graph::evaluate(network.graph(), {network.input()},
                                          {.round_to_dtype = true, .round_operations = true});
    ASSERT_TRUE(expected) << expected.error().message;
    const auto rewritten = rewrite::rewrite(network.graph(), {.has_byte_products = seed % 4 != 0});
    ASSERT_TRUE(rewritten) << rewritten.error().message;
    for (size_t isa = 0; isa < std::size(kIsas); ++isa) {
      if (!on_each && isa != seed % std::size(kIsas)) continue;
      expect_equal_bits(seed, kIsas[isa], *rewritten, network.input(), (*expected)[0], tested);
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(tested.plans, networks / 6);
  EXPECT_GT(tested.byte_steps, networks / 6);
  EXPECT_GT(tested.rows_at_once, networks / 40);
}

}  // namespace
}  // namespace corf
