#include <cstdlib>
#include <utility>

#include "rewrite/rewrite.h"
#include "tests/rewrite/model_error.h"

namespace corf::rewrite {
namespace {
using graph::Combiner;
using graph::Graph;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

constexpr int64_t kChannels = 4;
const Shape kImage = {1, kChannels, 5, 5};

/// Networks of what rewrites take apart: convolutions, products and norms with scales, shifts and
/// divisions before, between and behind them, values with several readers, and steps.
class RandomNetwork {
 public:
  explicit RandomNetwork(std::mt19937& generator) : generator_(generator) {}

  Graph make(int steps) {
    values_ = {graph_.add_input("a", DType::kF32, kImage),
               graph_.add_input("b", DType::kF32, kImage)};
    for (int i = 0; i < steps; ++i) {
      const ValueId x = pick(3) == 0 ? values_[pick(values_.size())] : values_.back();
      values_.push_back(step(x));
    }
    set_output(graph_, values_.back());
    set_output(graph_, values_[values_.size() / 2]);
    return std::move(graph_);
  }

 private:
  size_t pick(size_t count) { return generator_() % count; }
  double magnitude() {
    static constexpr std::array<double, 8> kMagnitudes = {1, 1, 1, 0.1, 30, 1e3, 1e6, 1e-12};
    return kMagnitudes[pick(8)];
  }
  /// One number for each channel, or one for all.
  ValueId constant() {
    const double size = magnitude();
    const auto seed = static_cast<uint32_t>(generator_());
    const double low = pick(2) == 0 ? 0.2 * size : -size;
    return graph_.add_constant(
        "c", random_tensor(pick(2) == 0 ? Shape{kChannels, 1, 1} : Shape{}, seed, low, size));
  }
  ValueId weights(Shape shape) {
    return graph_.add_constant(
        "w", random_tensor(std::move(shape), static_cast<uint32_t>(generator_())));
  }
  ValueId batch_norm(ValueId x) {
    const auto vector = [&](double low, double high) {
      return graph_.add_constant(
          "p", random_tensor({kChannels, 1, 1}, static_cast<uint32_t>(generator_()), low, high));
    };
    const ValueId centred = binary(graph_, ScalarOp::kSub, x, vector(-1, 1));
    const ValueId root = unary(graph_, ScalarOp::kSqrt,
                               with_constant(graph_, ScalarOp::kAdd, vector(0.1, 2), 1e-3f));
    const ValueId normal = binary(graph_, ScalarOp::kDiv, centred, root);
    const ValueId scaled = binary(graph_, ScalarOp::kMul, normal, vector(-1, 1));
    return binary(graph_, ScalarOp::kAdd, scaled, vector(-1, 1));
  }
  ValueId mean(ValueId x) {
    const ValueId sum = graph::reduce(graph_, "sum", x, Combiner::kSum, {3}, true);
    return with_constant(graph_, ScalarOp::kDiv, sum, float(kImage[3]));
  }
  ValueId layer_norm(ValueId x) {
    const ValueId centred = binary(graph_, ScalarOp::kSub, x, mean(x));
    const ValueId variance = mean(binary(graph_, ScalarOp::kMul, centred, centred));
    const ValueId shifted = with_constant(graph_, ScalarOp::kAdd, variance, 1e-5f);
    return binary(graph_, ScalarOp::kDiv, centred, unary(graph_, ScalarOp::kSqrt, shifted));
  }
  ValueId softmax(ValueId x) {
    const ValueId most = graph::reduce(graph_, "max", x, Combiner::kMax, {3}, true);
    const ValueId power = unary(graph_, ScalarOp::kExp, binary(graph_, ScalarOp::kSub, x, most));
    const ValueId sum = graph::reduce(graph_, "sum", power, Combiner::kSum, {3}, true);
    return binary(graph_, ScalarOp::kDiv, power, sum);
  }

  ValueId step(ValueId x) {
    static constexpr std::array<ScalarOp, 4> kArithmetic = {ScalarOp::kMul, ScalarOp::kDiv,
                                                            ScalarOp::kAdd, ScalarOp::kSub};
    // One norm or softmax is enough: they magnify the errors of what they read.
    const size_t kind = pick(13);
    const bool magnifies = kind == 4 || kind == 5;
    if (magnifies && std::exchange(magnified_, true)) return x;
    switch (kind) {
      case 0:
        return conv(graph_, "conv", x, weights({kChannels, kChannels, 3, 3}), window(3, 1, 1), 1);
      case 1:
        return conv(graph_, "conv", x, weights({kChannels, 1, 1, 1}), window(1), kChannels);
      case 2:
        return graph::matmul(graph_, "product", x, weights({5, 5}));
      case 3:
        return batch_norm(x);
      case 4:
        return layer_norm(x);
      case 5:
        return graph::matmul(graph_, "product", softmax(x), values_[pick(values_.size())]);
      case 6:
        return binary(graph_, kArithmetic[2 + pick(2)], x, values_[pick(values_.size())]);
      case 7:
        return with_constant(graph_, pick(2) == 0 ? ScalarOp::kMax : ScalarOp::kMin, x, 0);
      case 8: {
        static constexpr std::array<ScalarOp, 3> kFunctions = {ScalarOp::kTanh, ScalarOp::kSigmoid,
                                                               ScalarOp::kErf};
        return unary(graph_, kFunctions[pick(3)], x);
      }
      default:
        return binary(graph_, kArithmetic[pick(4)], x, constant());
    }
  }

  std::mt19937& generator_;
  Graph graph_;
  std::vector<ValueId> values_;
  bool magnified_ = false;
};

/// Ordinary numbers, or some around a large one.
Tensor image(std::mt19937& generator) {
  static constexpr std::array<double, 6> kOffsets = {0, 0, 0, 127.5, 1e4, -1e6};
  const double offset = kOffsets[generator() % 6], size = generator() % 4 == 0 ? 1e3 : 2;
  return random_tensor(kImage, static_cast<uint32_t>(generator()), offset - size, offset + size);
}

TEST(Rounding, RandomNetworksAreAsExactAsTheirOperators) {
  std::mt19937 generator(7);
  const int trials = std::getenv("CORF_LONG_TESTS") ? 10000 : 60;
  for (int trial = 0; trial < trials; ++trial) {
    const Graph graph = RandomNetwork(generator).make(1 + trial % 5);
    const std::vector<Tensor> inputs = {image(generator), image(generator)};
    Result<Graph> after = rewrite(graph, {}, {.verify_each = true});
    ASSERT_TRUE(after.ok()) << after.error().message;
    expect_as_exact(graph, *after, inputs);
    if (testing::Test::HasFatalFailure()) {
      FAIL() << "trial " << trial;
      return;
    }
  }
}

}  // namespace
}  // namespace corf::rewrite
