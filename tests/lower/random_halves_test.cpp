// Networks of float16 and bfloat16 values against float64: at most twice the error that they have
// where each operator rounds its exact result to its own type.
#include <cmath>
#include <cstdlib>
#include <gtest/gtest.h>
#include <random>

#include "graph/evaluate.h"
#include "graph/operators.h"
#include "graph/text.h"
#include "rewrite/rewrite.h"
#include "tests/lower/guarded_run.h"

namespace corf {
namespace {
using graph::Combiner;
using graph::Graph;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

class RandomHalves {
 public:
  explicit RandomHalves(uint32_t seed) : random_(seed) {
    half_ = chance(0.6) ? DType::kF16 : DType::kBF16;
    ValueId x = graph_.add_input("x", half_, {pick(1, 3), pick(1, 20), pick(1, 40)});
    const int64_t layers = pick(1, 7);
    for (int64_t i = 0; i < layers; ++i) x = add_layer(x);
    graph_.outputs = {x};
    graph_.output_names = {"y"};
  }

  const Graph& graph() const { return graph_; }
  Tensor input() { return reals(shape(graph_.inputs[0]), std::ldexp(1.0, int(pick(-6, 6)))); }

 private:
  int64_t pick(int64_t lo, int64_t hi) {
    return std::uniform_int_distribution<int64_t>(lo, hi)(random_);
  }
  bool chance(double probability) { return std::bernoulli_distribution(probability)(random_); }
  const Shape& shape(ValueId value) const { return graph_.values[value].shape; }
  std::string name(const std::string& kind) { return kind + std::to_string(count_++); }
  Tensor reals(Shape extents, double scale) {
    Tensor tensor(half_, std::move(extents));
    std::normal_distribution<double> normal;
    for (int64_t i = 0; i < tensor.num_elems(); ++i) tensor.set_f64(i, scale * normal(random_));
    return tensor;
  }

  using Body = std::function<int(ScalarBody&, const std::vector<int>&)>;
  ValueId each(const std::string& kind, std::vector<ValueId> inputs, const Body& body) {
    return graph::elementwise(graph_, name(kind), std::move(inputs), body);
  }
  ValueId apply(ScalarOp op, ValueId a, ValueId b = -1) {
    std::vector<ValueId> inputs = {a};
    if (b >= 0) inputs.push_back(b);
    return each(std::string(graph::to_string(op)), inputs,
                [op](ScalarBody& body, const std::vector<int>& in) {
                  return body.apply(op, in[0], in.size() > 1 ? in[1] : -1);
                });
  }
  ValueId scaled(ValueId x, double factor) {
    return each("scaled", {x}, [&](ScalarBody& body, const std::vector<int>& in) {
      return body.apply(ScalarOp::kMul, in[0], body.constant(factor, half_));
    });
  }
  ValueId reduced(Combiner combiner, ValueId x, int axis) {
    return graph::reduce(graph_, name("reduced"), x, combiner, {axis}, true);
  }
  ValueId mean(ValueId x, int axis) {
    return scaled(reduced(Combiner::kSum, x, axis), 1.0 / double(shape(x)[axis]));
  }

  ValueId add_layer(ValueId x) {
    const int axis = static_cast<int>(pick(1, 2));
    switch (pick(0, 11)) {
      case 0:
        return scaled(x, std::ldexp(1.0, int(pick(-8, 8))));
      case 1: {
        const ValueId w = graph_.add_constant(
            name("w"), reals({shape(x)[2], pick(1, 40)}, std::ldexp(1.0, int(pick(-6, 2)))));
        return graph::matmul(graph_, name("product"), x, w);
      }
      case 2: {  // softmax
        const ValueId power =
            apply(ScalarOp::kExp, apply(ScalarOp::kSub, x, reduced(Combiner::kMax, x, axis)));
        return apply(ScalarOp::kDiv, power, reduced(Combiner::kSum, power, axis));
      }
      case 3: {  // layer norm
        const ValueId centred = apply(ScalarOp::kSub, x, mean(x, axis));
        const ValueId variance = mean(apply(ScalarOp::kMul, centred, centred), axis);
        const ValueId root =
            each("root", {variance}, [&](ScalarBody& body, const std::vector<int>& in) {
              return body.apply(ScalarOp::kRsqrt,
                                body.apply(ScalarOp::kAdd, in[0], body.constant(1e-3, half_)));
            });
        return apply(ScalarOp::kMul, centred, root);
      }
      case 4:
        return apply(ScalarOp::kAdd, x, mean(x, axis));
      case 5: {  // the Euclidean norm
        const ValueId squares = reduced(Combiner::kSum, apply(ScalarOp::kMul, x, x), axis);
        return apply(ScalarOp::kAdd, x, apply(ScalarOp::kSqrt, squares));
      }
      case 6:
        return apply(chance(0.5) ? ScalarOp::kTanh : ScalarOp::kSigmoid, x);
      case 7:
        return graph_.add_view(name("turned"), graph::Transpose{{0, 2, 1}}, {x},
                               {shape(x)[0], shape(x)[2], shape(x)[1]});
      case 8: {
        const ValueId bias = graph_.add_constant(name("bias"), reals({shape(x)[2]}, 4));
        return apply(ScalarOp::kMax, apply(ScalarOp::kAdd, x, bias), scaled(x, 0.125));
      }
      case 9: {  // pool
        const graph::Window window{{3}, {1}, {1}, {1}, {1}};
        const bool is_max = chance(0.5);
        const ValueId sums =
            graph::pool(graph_, name("pool"), x, is_max ? Combiner::kMax : Combiner::kSum, window,
                        {shape(x)[2]});
        return is_max ? sums : scaled(sums, 1.0 / 3);
      }
      case 10: {  // convolution
        const graph::Window window{{3}, {1}, {1}, {1}, {1}};
        const ValueId w = graph_.add_constant(
            name("w"), reals({pick(1, 20), shape(x)[1], 3}, std::ldexp(1.0, int(pick(-6, 1)))));
        return graph::conv(graph_, name("conv"), x, w, window, 1);
      }
      default: {
        const ValueId wide = each("wide", {x}, [](ScalarBody& body, const std::vector<int>& in) {
          return body.apply(ScalarOp::kTanh, body.cast(in[0], DType::kF32));
        });
        return each("narrow", {wide}, [&](ScalarBody& body, const std::vector<int>& in) {
          return body.cast(in[0], half_);
        });
      }
    }
  }

  std::mt19937 random_;
  DType half_;
  Graph graph_;
  int count_ = 0;
};

struct Error {
  double largest = 0;    // of all elements' differences; infinite where one is not finite
  double magnitude = 0;  // the largest of the exact elements
  bool in_range = true;  // of the type, all exact elements
};

Error error_of(const Tensor& exact, const Tensor& actual, DType half) {
  const double highest = half == DType::kF16 ? 65000 : 3.3e38;
  Error error;
  for (int64_t i = 0; i < exact.num_elems(); ++i) {
    const double difference = std::fabs(exact.at_f64(i) - actual.at_f64(i));
    error.magnitude = std::fmax(error.magnitude, std::fabs(exact.at_f64(i)));
    error.largest = std::isfinite(difference) ? std::fmax(error.largest, difference) : INFINITY;
  }
  error.in_range = error.magnitude < highest;
  return error;
}

class RandomHalvesOf : public testing::TestWithParam<Isa> {};

TEST_P(RandomHalvesOf, AreAsExactAsTheirOutputs) {
  if (!has_isa(GetParam())) GTEST_SKIP() << "this machine has no " << to_string(GetParam());
  const uint32_t seeds = std::getenv("CORF_LONG_TESTS") ? 2500 : 25;
  for (uint32_t seed = 0; seed < seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomHalves random(seed);
    const std::vector<Tensor> inputs = {random.input()};
    auto exact = graph::evaluate(random.graph(), inputs);
    auto stepwise = graph::evaluate(random.graph(), inputs, {.round_to_dtype = true});
    ASSERT_TRUE(exact && stepwise);
    auto rewritten = rewrite::rewrite(random.graph(), {}, {.verify_each = true});
    ASSERT_TRUE(rewritten) << rewritten.error().message;
    auto spec = test::compile(*rewritten, GetParam(), 1 + static_cast<int>(seed % 2));
    ASSERT_TRUE(spec) << spec.error().message;
    auto team = runtime::Team::create(1);
    auto executable = runtime::Executable::load(*spec, *team);
    ASSERT_TRUE(executable) << executable.error().message;
    test::GuardedRun run(**executable, inputs);
    ASSERT_TRUE(run.run(**executable));
    const DType half = run.outputs()[0].dtype();
    const Error own = error_of((*exact)[0], run.outputs()[0], half);
    if (!own.in_range) continue;
    const Error steps = error_of((*exact)[0], (*stepwise)[0], half);
    const double place = std::ldexp(own.magnitude, half == DType::kF16 ? -11 : -8);
    EXPECT_LE(own.largest, 2 * std::fmin(steps.largest, 1e300) + place + 0x1p-25)
        << "beside " << steps.largest << "\n"
        << graph::to_string(random.graph());
    EXPECT_TRUE(std::isfinite(own.largest));
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, RandomHalvesOf, testing::ValuesIn(kIsas),
                         [](const auto& info) { return std::string(to_string(info.param)); });

}  // namespace
}  // namespace corf
