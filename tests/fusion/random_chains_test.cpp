#include <cmath>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>

#include "driver/pipeline.h"
#include "fusion/prepare.h"
#include "fusion/text.h"
#include "graph/evaluate.h"
#include "graph/text.h"
#include "loop/interpret.h"
#include "loop/text.h"
#include "runtime/executable.h"
#include "tests/fusion/productions.h"
#include "tests/fusion/random_chain.h"
#include "tests/fusion/random_plan.h"
#include "tests/lower/lowered.h"

namespace corf {
namespace {

using Form = test::RandomChain::Form;

/// Chains of the long run: CORF_LONG_TESTS is how many.
int64_t num_chains(int64_t in_short_run) {
  const char* text = std::getenv("CORF_LONG_TESTS");
  return text ? std::atoll(text) : in_short_run;
}

/// Where CORF_FIRST_SEED says so, to look at one chain.
uint32_t first_seed(uint32_t otherwise) {
  const char* text = std::getenv("CORF_FIRST_SEED");
  return text ? static_cast<uint32_t>(std::atoll(text)) : otherwise;
}

/// A chain with its reference and a random plan.
struct Case {
  std::vector<Tensor> inputs, expected;
  double error = 0;
  driver::Pipeline pipeline;
};

/// False if the chain has no legal plan or something failed.
bool make_case(uint32_t seed, Isa isa, Form form, Case& result) {
  test::RandomChain chain(seed, form);
  result.inputs = chain.inputs();
  result.error = chain.error();
  graph::EvaluateOptions options;
  options.assert_exact_f32 = chain.exact();
  auto expected = graph::evaluate(chain.graph(), result.inputs, options);
  EXPECT_TRUE(expected) << expected.error().message << graph::to_string(chain.graph());
  if (!expected) return false;
  result.expected = expected.take();
  driver::Pipeline& pipeline = result.pipeline;
  pipeline.machine.isa = isa;
  pipeline.machine.threads = 1 + static_cast<int>(seed % 3);
  pipeline.graph = fusion::prepare(chain.graph());
  const Status sound = graph::verify(pipeline.graph);
  EXPECT_TRUE(sound) << sound.error().message;
  test::RandomPlans plans(pipeline.graph, pipeline.machine, seed);
  auto plan = plans.make();
  EXPECT_EQ(plans.faults(), 0) << "refused without a reason";
  if (!plan) return false;
  pipeline.plan = std::move(*plan);
  auto program = test::lowered(pipeline.graph, pipeline.plan);
  EXPECT_TRUE(program) << program.error().message
                       << fusion::to_string(pipeline.graph, pipeline.plan);
  if (!program) return false;
  pipeline.program = program.take();
  return true;
}

void expect_near(const Case& expected, const std::vector<Tensor>& actual) {
  ASSERT_EQ(expected.expected.size(), actual.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    const Tensor &e = expected.expected[i], &a = actual[i];
    ASSERT_EQ(e.num_elems(), a.num_elems());
    for (int64_t k = 0; k < e.num_elems(); ++k) {
      const double want = static_cast<float>(e.at_f64(k)), got = a.at_f64(k);
      // Equal infinities have no difference; a NaN is never right.
      ASSERT_TRUE(want == got || std::fabs(want - got) <= expected.error)
          << "output " << i << " element " << k << ": " << got << ", expected " << want;
    }
  }
}

/// The text is the plan: parsed, it prints and lowers to the same.
void expect_round_trip(const Case& tested) {
  const graph::Graph& graph = tested.pipeline.graph;
  const std::string text = fusion::to_string(graph, tested.pipeline.plan);
  auto parsed = fusion::parse_plan(graph, text);
  ASSERT_TRUE(parsed) << parsed.error().message << "\n" << text;
  ASSERT_EQ(fusion::to_string(graph, *parsed), text);
  auto program = test::lowered(graph, *parsed);
  ASSERT_TRUE(program) << program.error().message;
  ASSERT_EQ(loop::to_string(*program), loop::to_string(tested.pipeline.program));
}

/// Each element of an intermediate is computed once, by partitions with a seam between them once
/// each, and no buffer holds it.
void expect_produced_once(const Case& tested) {
  const auto& [machine, graph, plan, program] = tested.pipeline;
  size_t step = 0;
  for (const fusion::GroupPlan& group : plan.groups) {
    if (!group.walk) {
      step += group.kind == fusion::GroupKind::kRoutine ? 1 : group.nests.size();
      continue;
    }
    const auto& call = std::get<loop::KernelCall>(program.steps[step++]);
    const fusion::Walk& walk = *group.walk;
    const auto made = test::count_productions(program.kernels[call.kernel], call.partitions, walk);
    ASSERT_EQ(made.size(), walk.rings.size());
    for (size_t i = 0; i < made.size(); ++i) {
      const fusion::WalkRing& ring = walk.rings[i];
      const graph::Value& value = graph.values[ring.value];
      EXPECT_EQ(made[i].most, 1) << value.name;
      std::set<test::RingElement> all;
      int64_t total = 0;
      for (const auto& elements : made[i].elements) {
        all.insert(elements.begin(), elements.end());
        total += static_cast<int64_t>(elements.size());
      }
      EXPECT_LE(static_cast<int64_t>(all.size()), num_elems(value.shape)) << value.name;
      const bool overlaps = std::any_of(ring.stages.begin(), ring.stages.end(),
                                        [&](int s) { return walk.stages[s].overlaps; });
      if (!overlaps) {
        EXPECT_EQ(total, static_cast<int64_t>(all.size()));
      }
      if (ring.stored) continue;
      for (const loop::Buffer& buffer : program.buffers) EXPECT_NE(buffer.name, value.name);
    }
  }
}

std::string described(const Case& tested) {
  return graph::to_string(tested.pipeline.graph) +
         fusion::to_string(tested.pipeline.graph, tested.pipeline.plan);
}

bool uses_matrix_unit(const fusion::FusionPlan& plan) {
  for (const fusion::GroupPlan& group : plan.groups) {
    for (const fusion::ScheduledNest& scheduled : group.nests) {
      if (scheduled.schedule.matrix != 0) return true;
    }
  }
  return false;
}

/// What the groups of plans hold, so that no strategy goes untested.
struct Coverage {
  int64_t sinks = 0, shared_rings = 0, stored_rings = 0, chunks = 0, partial_rows = 0;

  void add(const fusion::FusionPlan& plan) {
    for (const fusion::GroupPlan& group : plan.groups) {
      if (!group.walk) continue;
      chunks += group.walk->schedule.scatter.has_value();
      for (const fusion::WalkStage& stage : group.walk->stages) {
        sinks += stage.is_sink;
        partial_rows += stage.partial.has_value();
      }
      for (const fusion::WalkRing& ring : group.walk->rings) {
        shared_rings += ring.stages.size() > 1;
        stored_rings += ring.stored;
      }
    }
  }
};

class RandomChains : public testing::TestWithParam<Form> {};

TEST_P(RandomChains, InterpretedStripsGiveTheReferencesBits) {
  const int64_t chains = num_chains(240);
  int64_t fused = 0, on_matrix_unit = 0;
  Coverage coverage;
  const uint32_t first = first_seed(0);
  for (uint32_t seed = first; seed < first + chains; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Case tested;
    if (!make_case(seed, kIsas[seed % std::size(kIsas)], GetParam(), tested)) {
      if (HasFailure()) return;
      continue;
    }
    ++fused;
    on_matrix_unit += uses_matrix_unit(tested.pipeline.plan);
    coverage.add(tested.pipeline.plan);
    const Status verified = loop::verify(tested.pipeline.program);
    ASSERT_TRUE(verified) << verified.error().message << described(tested);
    auto actual = loop::interpret(tested.pipeline.program, tested.inputs);
    ASSERT_TRUE(actual) << actual.error().message << described(tested);
    expect_near(tested, *actual);
    expect_round_trip(tested);
    expect_produced_once(tested);
    if (HasFailure()) {
      std::printf("%s", described(tested).c_str());
      return;
    }
  }
  std::printf("%lld of %lld chains have a legal plan\n", static_cast<long long>(fused),
              static_cast<long long>(chains));
  EXPECT_GT(fused * 2, chains);
  std::printf(
      "%lld sinks, %lld rings of several stages, %lld stored as well, %lld in chunks, %lld stages "
      "of partial rows\n",
      static_cast<long long>(coverage.sinks), static_cast<long long>(coverage.shared_rings),
      static_cast<long long>(coverage.stored_rings), static_cast<long long>(coverage.chunks),
      static_cast<long long>(coverage.partial_rows));
  EXPECT_GT(coverage.partial_rows, 0);
  if (GetParam() == Form::kChain) {
    EXPECT_GT(on_matrix_unit * 24, chains);  // it is one of seven instruction sets
    EXPECT_GT(coverage.chunks, 0);
  } else {
    EXPECT_GT(coverage.sinks, 0);
    EXPECT_GT(coverage.shared_rings, 0);
    EXPECT_GT(coverage.stored_rings, 0);
  }
}

TEST_P(RandomChains, CompiledStripsGiveTheReferencesBitsAtAnyThreadCount) {
  const int64_t chains = num_chains(40);
  const uint32_t first = first_seed(100000);  // others than above
  for (uint32_t seed = first; seed < first + chains; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Isa isa = kIsas[seed % std::size(kIsas)];
    Case tested;
    if (!has_isa(isa) || !make_case(seed, isa, GetParam(), tested)) {
      if (HasFailure()) return;
      continue;
    }
    // As a plan given as text is carried out.
    driver::CompileOptions options;
    options.verify_each = true;
    options.plan_text = fusion::to_string(tested.pipeline.graph, tested.pipeline.plan);
    const Status lowered = driver::plan_and_lower(tested.pipeline, options, driver::Stage::kLlvm);
    ASSERT_TRUE(lowered) << lowered.error().message << described(tested);
    auto spec = driver::generate(tested.pipeline);
    ASSERT_TRUE(spec) << spec.error().message << described(tested);
    for (int size : {1, 2, 3, 5}) {
      auto team = runtime::Team::create(size);
      ASSERT_TRUE(team) << team.error().message;
      runtime::LoadOptions guarded;
      guarded.guard_pages = true;
      auto executable = runtime::Executable::load(*spec, *team, guarded);
      ASSERT_TRUE(executable) << executable.error().message;
      std::vector<Tensor> outputs;
      std::vector<const void*> in;
      std::vector<void*> out;
      for (const Tensor& input : tested.inputs) in.push_back(input.bytes());
      for (const runtime::TensorInfo& info : (*executable)->outputs()) {
        outputs.emplace_back(info.dtype, info.shape);
        out.push_back(outputs.back().bytes());
      }
      const Status ran = (*executable)->run(in, out);
      ASSERT_TRUE(ran) << ran.error().message;
      SCOPED_TRACE(std::to_string(size) + " workers");
      expect_near(tested, outputs);
      if (HasFailure()) {
        std::printf("%s", described(tested).c_str());
        return;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, RandomChains, testing::Values(Form::kChain, Form::kNetwork),
                         [](const auto& info) {
                           return info.param == Form::kChain ? "Chains" : "Networks";
                         });

}  // namespace
}  // namespace corf
