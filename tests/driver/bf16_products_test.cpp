// Sums of products of bfloat16 numbers, from the rewrite to code of every instruction set.
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <random>

#include "graph/evaluate.h"
#include "graph/operators.h"
#include "rewrite/rewrite.h"
#include "runtime/executable.h"
#include "tests/lower/guarded_run.h"

namespace corf {
namespace {

using graph::Graph;
using graph::ValueId;

Tensor random_numbers(Shape shape, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Tensor tensor(DType::kF32, std::move(shape));
  for (int64_t i = 0; i < tensor.num_elems(); ++i) tensor.set_f64(i, normal(random));
  return tensor;
}

/// A convolution with padding, a window of 3 x 3 and so many channels, and one of 1 x 1.
Graph two_convolutions(int64_t channels, int64_t outputs) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {1, channels, 9, 7});
  graph::Window window{{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
  const ValueId w = graph.add_constant("w", random_numbers({outputs, channels, 3, 3}, 1));
  const ValueId wide = graph::conv(graph, "wide", x, w, window, 1);
  window = {{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
  const ValueId v = graph.add_constant("v", random_numbers({channels, outputs, 1, 1}, 2));
  graph.outputs = {graph::conv(graph, "point", wide, v, window, 1)};
  graph.output_names = {"y"};
  return graph;
}

int num_halves(const Graph& graph) {
  return static_cast<int>(
      std::count_if(graph.values.begin(), graph.values.end(),
                    [](const graph::Value& value) { return value.dtype == DType::kBF16; }));
}

TEST(Bf16Products, RoundFactorsAndNothingElse) {
  rewrite::RewriteOptions options;
  auto plain = rewrite::rewrite(two_convolutions(16, 24), options, {.verify_each = true});
  options.bf16_products = true;
  auto rounded = rewrite::rewrite(two_convolutions(16, 24), options, {.verify_each = true});
  ASSERT_TRUE(plain && rounded);
  EXPECT_EQ(num_halves(*plain), 0);
  EXPECT_EQ(num_halves(*rounded), 4);  // two values, two constants
  auto odd = rewrite::rewrite(two_convolutions(3, 5), options, {.verify_each = true});
  ASSERT_TRUE(odd);
  EXPECT_EQ(num_halves(*odd), 0);
}

TEST(Bf16Products, AreSummedUpInF32OnEveryIsa) {
  const Graph network = two_convolutions(16, 24);
  const Tensor input = random_numbers({1, 16, 9, 7}, 3);
  rewrite::RewriteOptions options;
  options.bf16_products = true;
  auto rounded = rewrite::rewrite(network, options);
  ASSERT_TRUE(rounded) << rounded.error().message;
  auto expected = graph::evaluate(*rounded, {input}, {.round_to_dtype = true});
  auto exact = graph::evaluate(network, {input}, {});
  ASSERT_TRUE(expected && exact);
  for (const Isa isa : kIsas) {
    if (!has_isa(isa)) continue;
    SCOPED_TRACE(to_string(isa));
    auto spec = test::compile(*rounded, isa, 2);
    ASSERT_TRUE(spec) << spec.error().message;
    auto team = runtime::Team::create(2);
    ASSERT_TRUE(team);
    auto executable = runtime::Executable::load(*spec, *team);
    ASSERT_TRUE(executable) << executable.error().message;
    test::GuardedRun run(**executable, {input});
    ASSERT_TRUE(run.run(**executable));
    double off = 0, off_exact = 0, norm = 0;
    for (int64_t i = 0; i < run.outputs()[0].num_elems(); ++i) {
      const double y = run.outputs()[0].at_f64(i), truth = (*exact)[0].at_f64(i);
      off += std::pow(y - (*expected)[0].at_f64(i), 2);
      off_exact += std::pow(y - truth, 2);
      norm += truth * truth;
    }
    // A value between the convolutions may round to the other side of a tie.
    EXPECT_LT(std::sqrt(off / norm), 1e-4);
    EXPECT_LT(std::sqrt(off_exact / norm), 1e-2);
    EXPECT_GT(std::sqrt(off_exact / norm), 1e-4);
  }
}

}  // namespace
}  // namespace corf
