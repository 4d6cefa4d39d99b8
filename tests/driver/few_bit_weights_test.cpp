// Products with dequantised weights of few bits through the whole pipeline: numbers and scales
// under which every order of summation is exact, so that results are the model's to the bit.
#include <algorithm>
#include <gtest/gtest.h>
#include <random>

#include "driver/pipeline.h"
#include "graph/evaluate.h"
#include "graph/operators.h"
#include "graph/text.h"
#include "rewrite/rewrite.h"
#include "runtime/executable.h"
#include "tests/lower/guarded_run.h"

namespace corf {
namespace {

using graph::Graph;
using graph::ScalarOp;
using graph::ValueId;

/// x w with w = (numbers - zero points) * scales, the latter by blocks along the sum.
class RandomProduct {
 public:
  explicit RandomProduct(uint32_t seed) : random_(seed) {
    const int64_t bits = pick(2, 5), per_word = bits == 2 ? 16 : bits == 5 ? 4 : 8;
    const int64_t blocks = pick(bits == 5 ? 2 : 1, 5);
    const int64_t block = per_word * pick(1, 4), k = block * blocks, n = pick(1, 70);
    const bool is_transposed = pick(0, 1) == 1;
    const Shape shape = is_transposed ? Shape{n, k} : Shape{k, n};
    const int along = is_transposed ? 1 : 0;
    Shape rows = pick(0, 2) == 0 ? Shape{pick(1, 3), pick(1, 9), k} : Shape{pick(1, 40), k};
    if (pick(0, 1) == 0) rows = {1, k};
    input_ = Tensor(DType::kF32, rows);
    for (int64_t i = 0; i < input_.num_elems(); ++i) {
      input_.set_f64(i, static_cast<double>(pick(-64, 64)) / 16);
    }
    const ValueId x = graph_.add_input("x", DType::kF32, rows);
    const bool is_signed = pick(0, 1) == 1;
    const int64_t least = is_signed ? -(int64_t{1} << (bits - 1)) : 0;
    const int64_t most = least + (int64_t{1} << bits) - 1;
    Tensor numbers(is_signed ? DType::kI8 : DType::kU8, shape);
    for (int64_t i = 0; i < numbers.num_elems(); ++i) numbers.set_i64(i, pick(least, most));
    Shape by_block = shape;
    by_block[along] = k / block;
    Tensor scales(DType::kF32, by_block), zero_points(numbers.dtype(), by_block);
    for (int64_t i = 0; i < scales.num_elems(); ++i) {
      scales.set_f64(i, pick(0, 1) ? 0.5 : 0.25);
      zero_points.set_i64(i, pick(least, most));
    }
    const ValueId w = dequantized(numbers, zero_points, scales, along, block);
    graph_.outputs = {graph::matmul(graph_, "product", x, w, false, is_transposed)};
    graph_.output_names = {"y"};
  }

  const Graph& graph() const { return graph_; }
  const Tensor& input() const { return input_; }

 private:
  int64_t pick(int64_t lo, int64_t hi) {
    return lo + static_cast<int64_t>(random_() % static_cast<uint64_t>(hi - lo + 1));
  }

  ValueId dequantized(const Tensor& numbers, const Tensor& zero_points, const Tensor& scales,
                      int along, int64_t block) {
    graph::Compute compute;
    index::IndexMap own, by_block;
    for (int d = 0; d < 2; ++d) {
      const index::Expr axis = index::Expr::variable(d);
      compute.space.axes.push_back(
          {"d" + std::to_string(d), numbers.shape()[d], index::AxisKind::kParallel});
      own.exprs.push_back(axis);
      by_block.exprs.push_back(d == along ? floor_div(axis, index::Expr(block)) : axis);
    }
    std::vector<ValueId> inputs;
    const auto add = [&](const char* name, const Tensor& tensor, const index::IndexMap& map) {
      inputs.push_back(graph_.add_constant(name, tensor));
      compute.operands.push_back({map});
      const int operand = compute.body.operand(static_cast<int>(inputs.size()) - 1, tensor.dtype());
      return tensor.dtype() == DType::kF32 ? operand : compute.body.cast(operand, DType::kF32);
    };
    int value = add("numbers", numbers, own);
    const int64_t zeros = pick(0, 2);  // by block, one, none
    if (zeros < 2) {
      value = compute.body.apply(ScalarOp::kSub, value,
                                 zeros == 0
                                     ? add("zero_points", zero_points, by_block)
                                     : compute.body.constant(zero_points.at_f64(0), DType::kF32));
    }
    compute.body.apply(ScalarOp::kMul, value, add("scales", scales, by_block));
    return graph_.add_compute("w", std::move(compute), std::move(inputs));
  }

  std::mt19937 random_;
  Graph graph_;
  Tensor input_;
};

bool reads_words(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const graph::Node& node) {
    const auto* compute = std::get_if<graph::Compute>(&node.op);
    return compute && compute->combiner == graph::Combiner::kSum &&
           std::any_of(compute->body.nodes.begin(), compute->body.nodes.end(),
                       [](const auto& scalar) { return scalar.op == ScalarOp::kShiftRight; });
  });
}

void expect_equal_bits(uint32_t seed, Isa isa, int threads) {
  const RandomProduct product(seed);
  const auto rewritten = rewrite::rewrite(product.graph(), {}, {.verify_each = true});
  ASSERT_TRUE(rewritten) << rewritten.error().message;
  EXPECT_TRUE(reads_words(*rewritten)) << graph::to_string(*rewritten);
  const auto expected =
      graph::evaluate(product.graph(), {product.input()}, {.round_to_dtype = true});
  ASSERT_TRUE(expected) << expected.error().message;
  const auto spec = test::compile(*rewritten, isa, threads);
  ASSERT_TRUE(spec) << spec.error().message << graph::to_string(*rewritten);
  auto team = runtime::Team::create(threads);
  ASSERT_TRUE(team) << team.error().message;
  auto executable = runtime::Executable::load(*spec, *team);
  ASSERT_TRUE(executable) << executable.error().message;
  test::GuardedRun run(**executable, {product.input()});
  const Status status = run.run(**executable);
  ASSERT_TRUE(status) << status.error().message;
  const Tensor &truth = (*expected)[0], &result = run.outputs()[0];
  for (int64_t i = 0; i < truth.num_elems(); ++i) {
    ASSERT_EQ(result.at_f64(i), truth.at_f64(i)) << "element " << i << "\n"
                                                 << graph::to_string(*rewritten);
  }
}

TEST(FewBitWeights, GiveTheModelsResultsOnEachInstructionSet) {
  std::vector<Isa> isas;
  for (const Isa isa : kIsas) {
    if (has_isa(isa)) isas.push_back(isa);
  }
  constexpr int kThreads[] = {1, 2, 3};
  for (uint32_t seed = 0; seed < 90; ++seed) {
    const Isa isa = isas[seed % isas.size()];
    SCOPED_TRACE("seed " + std::to_string(seed) + " " + std::string(to_string(isa)));
    expect_equal_bits(seed, isa, kThreads[seed % 3]);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace corf
