// Random quantised networks through the whole pipeline, bit for bit: with scales that are powers of
// two, under which every operator is exact, against the model as it was; with others, against what
// rewriting makes of it.
#include <cstdlib>
#include <gtest/gtest.h>

#include "driver/pipeline.h"
#include "graph/evaluate.h"
#include "graph/text.h"
#include "rewrite/rewrite.h"
#include "runtime/executable.h"
#include "tests/driver/random_quantized_network.h"
#include "tests/lower/guarded_run.h"

namespace corf {
namespace {

using graph::Graph;

int64_t from_environment(const char* variable, int64_t otherwise) {
  const char* text = std::getenv(variable);
  return text ? std::atoll(text) : otherwise;
}

bool is_integer_product(const graph::Node& node) {
  const auto* compute = std::get_if<graph::Compute>(&node.op);
  return compute && compute->combiner == graph::Combiner::kSum && node.inputs.size() == 2 &&
         compute->body.result_dtype() == DType::kI32;
}

void expect_equal_bits(uint32_t seed, Isa isa, int threads, int& integer_products) {
  const bool exact = seed % 2 == 0;
  const test::RandomQuantizedNetwork network(seed, exact);
  const Status sound = graph::verify(network.graph());
  ASSERT_TRUE(sound) << sound.error().message;
  auto rewritten = rewrite::rewrite(network.graph(), {.has_byte_products = seed % 3 != 0},
                                    {.verify_each = true});
  ASSERT_TRUE(rewritten) << rewritten.error().message << graph::to_string(network.graph());
  for (const graph::Node& node : rewritten->nodes) integer_products += is_integer_product(node);
  const Graph& reference = exact ? network.graph() : *rewritten;
  auto expected = graph::evaluate(reference, {network.input()},
                                  {.round_to_dtype = true, .round_operations = true});
  ASSERT_TRUE(expected) << expected.error().message;
  auto spec = test::compile(*rewritten, isa, threads);
  ASSERT_TRUE(spec) << spec.error().message << graph::to_string(*rewritten);
  auto team = runtime::Team::create(threads);
  ASSERT_TRUE(team) << team.error().message;
  auto executable = runtime::Executable::load(*spec, *team);
  ASSERT_TRUE(executable) << executable.error().message;
  test::GuardedRun run(**executable, {network.input()});
  const Status status = run.run(**executable);
  ASSERT_TRUE(status) << status.error().message;
  const Tensor &truth = (*expected)[0], &result = run.outputs()[0];
  for (int64_t i = 0; i < truth.num_elems(); ++i) {
    ASSERT_EQ(result.at_f64(i), truth.at_f64(i))
        << "element " << i << "\n"
        << graph::to_string(network.graph()) << graph::to_string(*rewritten);
  }
}

TEST(QuantizedGraphs, AreWhatTheModelSaysToTheBit) {
  const int64_t count = from_environment("CORF_LONG_TESTS", 100);
  const auto first = static_cast<uint32_t>(from_environment("CORF_FIRST_SEED", 0));
  std::vector<Isa> isas;
  for (const Isa isa : kIsas) {
    if (has_isa(isa)) isas.push_back(isa);
  }
  constexpr int kThreads[] = {1, 2, 3, 5};
  int integer_products = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto seed = first + static_cast<uint32_t>(i);
    const Isa isa = isas[seed / 2 % isas.size()];
    SCOPED_TRACE("seed " + std::to_string(seed) + " " + std::string(to_string(isa)));
    expect_equal_bits(seed, isa, kThreads[seed / 4 % 4], integer_products);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(integer_products, count / 2);
}

}  // namespace
}  // namespace corf
