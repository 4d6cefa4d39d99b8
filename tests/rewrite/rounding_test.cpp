#include "rewrite/rounding.h"

#include <cstdlib>

#include "rewrite/rewrite.h"
#include "rewrite/simplify_body.h"
#include "rewrite/widen_halves.h"
#include "tests/rewrite/model_error.h"

namespace corf::rewrite {
namespace {
using graph::Compute;
using graph::Graph;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

/// A graph of one element-wise node over `num_operands` vectors.
Graph graph_of(const ScalarBody& body, int num_operands, DType dtype, int64_t count) {
  Graph graph;
  Compute compute;
  compute.space.axes.push_back({"i", count});
  compute.body = body;
  std::vector<ValueId> inputs;
  for (int i = 0; i < num_operands; ++i) {
    inputs.push_back(graph.add_input("x" + std::to_string(i), dtype, {count}));
    compute.operands.push_back({index::IndexMap::identity(1)});
  }
  set_output(graph, graph.add_compute("y", std::move(compute), std::move(inputs)));
  return graph;
}

Graph with_simplified_bodies(Graph graph) {
  for (graph::Node& node : graph.nodes) {
    if (auto* compute = std::get_if<Compute>(&node.op))
      compute->body = simplify_body(compute->body);
  }
  return graph;
}

/// Bodies as exporters write them, and as nobody should: constants of every magnitude, values
/// scaled, shifted, multiplied with each other, clipped, and taken through functions.
class RandomBody {
 public:
  RandomBody(std::mt19937& generator, DType dtype) : generator_(generator), dtype_(dtype) {}

  ScalarBody make(int num_operands, int steps, bool with_functions) {
    ScalarBody body;
    std::vector<int> terms;
    for (int i = 0; i < num_operands; ++i) terms.push_back(body.operand(i, dtype_));
    for (int i = 0; i < steps; ++i) {
      const int a = pick(3) == 0 ? terms[pick(terms.size())] : terms.back();
      const int b = pick(2) == 0 ? terms[pick(terms.size())] : terms.back();
      terms.push_back(step(body, a, b, with_functions));
    }
    if (terms.back() != static_cast<int>(body.nodes.size()) - 1) {
      body.apply(ScalarOp::kNeg, terms.back());
    }
    return body;
  }

 private:
  size_t pick(size_t count) { return generator_() % count; }
  int constant(ScalarBody& body) {
    static constexpr std::array<double, 24> kConstants = {
        3,     6,      41,  61,   0.1,   1.0 / 6, 0.5,   2,    4,  -1, 1, 0, 0.044715, 0.7978845608,
        127.5, -127.5, 1e6, -1e6, 1e-30, 1e30,    1e-20, 1e10, -3, 255};
    return body.constant(rounded(kConstants[pick(kConstants.size())], dtype_), dtype_);
  }
  int step(ScalarBody& body, int a, int b, bool with_functions) {
    switch (pick(with_functions ? 14 : 9)) {
      case 0:
      case 1:
        return body.apply(ScalarOp::kMul, a, constant(body));
      case 2:
        return body.apply(ScalarOp::kDiv, a, constant(body));
      case 3:
        return body.apply(ScalarOp::kAdd, a, constant(body));
      case 4:
        return body.apply(ScalarOp::kSub, a, constant(body));
      case 5:
        return body.apply(ScalarOp::kMul, a, b);
      case 6:
        return body.apply(ScalarOp::kAdd, a, b);
      case 7:
        return body.apply(pick(2) == 0 ? ScalarOp::kMax : ScalarOp::kMin, a, constant(body));
      case 8:
        return body.apply(pick(2) == 0 ? ScalarOp::kSub : ScalarOp::kDiv, a, b);
      case 9: {
        static constexpr std::array<double, 8> kExponents = {2, 3, 0.5, -0.5, -1, 0.75, 1.5, 0};
        const int exponent = body.constant(kExponents[pick(8)], dtype_);
        return body.apply(ScalarOp::kPow, a, exponent);
      }
      default: {
        static constexpr std::array<ScalarOp, 8> kFunctions = {
            ScalarOp::kExp, ScalarOp::kTanh, ScalarOp::kSigmoid,    ScalarOp::kErf,
            ScalarOp::kAbs, ScalarOp::kSqrt, ScalarOp::kReciprocal, ScalarOp::kNeg};
        return body.apply(kFunctions[pick(8)], a);
      }
    }
  }

  std::mt19937& generator_;
  DType dtype_;
};

/// All trials of a test that takes minutes, or a share of them.
int num_trials(int all) { return std::getenv("CORF_LONG_TESTS") ? all : all / 20; }

Tensor vector_of(const std::vector<double>& values, DType dtype) {
  Tensor tensor(dtype, {static_cast<int64_t>(values.size())});
  for (size_t i = 0; i < values.size(); ++i) tensor.set_f64(static_cast<int64_t>(i), values[i]);
  return tensor;
}

std::vector<Tensor> edge_inputs(const Graph& graph, std::mt19937& generator) {
  std::vector<Tensor> inputs;
  for (ValueId input : graph.inputs) {
    std::vector<double> numbers = edge_numbers(graph.values[input].dtype, generator);
    if (!inputs.empty()) std::shuffle(numbers.begin(), numbers.end(), generator);
    numbers.resize(static_cast<size_t>(num_elems(graph.values[input].shape)));
    inputs.push_back(
        vector_of(numbers, graph.values[input].dtype).reshaped(graph.values[input].shape));
  }
  return inputs;
}

TEST(Rounding, RandomBodiesAreAsExactAsTheirOperators) {
  std::mt19937 generator(1);
  const auto count = static_cast<int64_t>(edge_numbers(DType::kF32, generator).size());
  for (int trial = 0; trial < num_trials(20000); ++trial) {
    const DType dtype = trial % 4 == 3 ? DType::kF16 : DType::kF32;
    RandomBody random(generator, dtype);
    const Graph graph = graph_of(random.make(2, 2 + trial % 7, true), 2, dtype, count);
    Result<Graph> widened = widen_halves(graph);  // before bodies are simplified, always
    ASSERT_TRUE(widened.ok()) << widened.error().message;
    expect_as_exact(graph, with_simplified_bodies(widened.take()), edge_inputs(graph, generator));
    if (HasFatalFailure()) return;
  }
}

/// What meets a step after operations that are rounded correctly keeps every digit.
TEST(Rounding, RandomBodiesBeforeStepsKeepTheirDigits) {
  std::mt19937 generator(2);
  const auto count = static_cast<int64_t>(edge_numbers(DType::kF32, generator).size());
  static constexpr std::array<ScalarOp, 4> kSteps = {ScalarOp::kFloor, ScalarOp::kCeil,
                                                     ScalarOp::kRoundEven, ScalarOp::kSign};
  for (int trial = 0; trial < num_trials(20000); ++trial) {
    RandomBody random(generator, DType::kF32);
    ScalarBody body = random.make(2, 1 + trial % 6, false);
    const int last = static_cast<int>(body.nodes.size()) - 1;
    if (trial % 6 < 4) {
      body.apply(kSteps[trial % 6], last);
    } else if (trial % 6 == 4) {
      body.cast(last, DType::kI32);
    } else {
      const int limit = body.constant(trial % 5, DType::kF32);
      body.cast(body.apply(ScalarOp::kLess, last, limit), DType::kF32);
    }
    const Graph graph = graph_of(body, 2, DType::kF32, count);
    expect_same_numbers(graph, with_simplified_bodies(graph), edge_inputs(graph, generator));
    if (HasFatalFailure()) return;
  }
}

/// Nodes of their own for each operation, shared and merged, with steps somewhere.
TEST(Rounding, RandomGraphsBeforeStepsKeepTheirDigits) {
  std::mt19937 generator(4);
  const auto pick = [&](size_t count) { return static_cast<size_t>(generator() % count); };
  const auto count = static_cast<int64_t>(edge_numbers(DType::kF32, generator).size());
  for (int trial = 0; trial < num_trials(4000); ++trial) {
    Graph graph;
    std::vector<ValueId> values = {graph.add_input("a", DType::kF32, {count}),
                                   graph.add_input("b", DType::kF32, {count})};
    for (int i = 0; i < 6; ++i) {
      const ValueId x = pick(2) == 0 ? values.back() : values[pick(values.size())];
      static constexpr std::array<float, 6> kConstants = {41, 6, 0.1f, 3, 1e-20f, 127.5f};
      static constexpr std::array<ScalarOp, 5> kOps = {
          ScalarOp::kDiv, ScalarOp::kMul, ScalarOp::kAdd, ScalarOp::kSub, ScalarOp::kMax};
      const ScalarOp op = kOps[pick(5)];
      values.push_back(pick(3) == 0 ? binary(graph, op, x, values[pick(values.size())])
                                    : with_constant(graph, op, x, kConstants[pick(6)]));
    }
    set_output(graph,
               unary(graph, pick(2) == 0 ? ScalarOp::kFloor : ScalarOp::kRoundEven, values.back()));
    Result<Graph> after = rewrite(graph, {}, {.verify_each = true});
    ASSERT_TRUE(after.ok());
    expect_same_numbers(graph, *after, edge_inputs(graph, generator));
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace corf::rewrite
