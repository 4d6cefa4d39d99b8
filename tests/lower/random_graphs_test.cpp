#include <cstring>
#include <gtest/gtest.h>

#include "fusion/prepare.h"
#include "graph/evaluate.h"
#include "graph/text.h"
#include "loop/interpret.h"
#include "loop/text.h"
#include "rewrite/fold_empty_values.h"
#include "search/find_plan.h"
#include "tests/lower/lowered.h"
#include "tests/lower/random_graph.h"

namespace corf {
namespace {

Machine machine_of(Isa isa, int threads) {
  Machine machine;
  machine.isa = isa;
  machine.threads = threads;
  return machine;
}

/// -0 and 0 are equal; everything else must have the same bits.
void expect_same(const Tensor& expected, const Tensor& actual, const std::string& what) {
  ASSERT_EQ(expected.num_elems(), actual.num_elems()) << what;
  for (int64_t i = 0; i < expected.num_elems(); ++i) {
    if (is_integer(actual.dtype())) {
      ASSERT_EQ(expected.at_i64(i), actual.at_i64(i)) << what << " element " << i;
    } else {
      ASSERT_EQ(static_cast<float>(expected.at_f64(i)), static_cast<float>(actual.at_f64(i)))
          << what << " element " << i;
    }
  }
}

class RandomGraphs : public testing::TestWithParam<Isa> {};

TEST_P(RandomGraphs, LoweredProgramsGiveTheReferencesBits) {
  for (uint32_t seed = 0; seed < 150; ++seed) {
    test::RandomGraph random(seed);
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::vector<Tensor> inputs = random.inputs();
    auto expected = graph::evaluate(random.graph(), inputs);
    ASSERT_TRUE(expected) << expected.error().message;

    auto folded = rewrite::fold_empty_values(random.graph());
    ASSERT_TRUE(folded) << folded.error().message;
    graph::Graph graph = fusion::prepare(*folded);
    Status sound = graph::verify(graph);
    ASSERT_TRUE(sound) << sound.error().message;
    const Machine machine = machine_of(GetParam(), 1 + static_cast<int>(seed % 3));
    // Half of the networks run operator by operator, half with all fused that can be.
    const search::GroupTime one_each = [](const auto&, const auto&, const auto&) { return 1; };
    fusion::FusionPlan plan = seed % 2 == 0 ? search::find_unfused_plan(graph, machine)
                                            : search::find_plan(graph, machine, one_each);
    auto program = test::lowered(graph, plan);
    ASSERT_TRUE(program) << program.error().message;
    Status verified = loop::verify(*program);
    ASSERT_TRUE(verified) << verified.error().message << "\n" << graph::to_string(graph);
    auto actual = loop::interpret(*program, inputs);
    ASSERT_TRUE(actual) << actual.error().message << "\n"
                        << graph::to_string(graph) << loop::to_string(*program);
    ASSERT_EQ(expected->size(), actual->size());
    for (size_t i = 0; i < expected->size(); ++i) {
      expect_same((*expected)[i], (*actual)[i], "output " + std::to_string(i));
      if (HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, RandomGraphs, testing::ValuesIn(kIsas),
                         [](const auto& info) { return std::string(to_string(info.param)); });

}  // namespace
}  // namespace corf
