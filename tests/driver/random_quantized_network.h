#pragma once
#include <algorithm>
#include <functional>
#include <map>
#include <random>
#include <string>

#include "graph/operators.h"

namespace corf::test {

using graph::Graph;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

/// Convolutions and products as quantised models have them, between QuantizeLinear and
/// DequantizeLinear; activations as i8 or u8.
class RandomQuantizedNetwork {
 public:
  RandomQuantizedNetwork(uint32_t seed, bool exact)
      : random_(seed), exact_(exact), type_(pick(0, 2) == 0 ? DType::kI8 : DType::kU8) {
    const bool matrices = pick(0, 3) == 0;
    const Shape shape =
        matrices ? Shape{pick(1, 9), 4 * pick(1, 20)}
                 : Shape{1, pick(0, 2) == 0 ? 3 : 4 * pick(1, 12), pick(3, 12), pick(3, 14)};
    input_ = Tensor(DType::kF32, shape);
    for (int64_t i = 0; i < input_.num_elems(); ++i) {
      input_.set_f64(i, static_cast<double>(pick(-64, 64)) / 16);
    }
    ValueId x = graph_.add_input("x", DType::kF32, shape);
    x = fake_quantized(x);
    for (int64_t layers = pick(1, 4); layers > 0; --layers) {
      x = matrices ? matrix_product(x) : image_layer(x);
    }
    graph_.outputs = {x};
    graph_.output_names = {"y"};
  }

  const Graph& graph() const { return graph_; }
  const Tensor& input() const { return input_; }

 private:
  int64_t pick(int64_t lo, int64_t hi) {
    return lo + static_cast<int64_t>(random_() % static_cast<uint64_t>(hi - lo + 1));
  }
  /// Sums in f32, as those of odd numbers of channels, are exact with powers of two alone.
  int64_t num_outputs() { return exact_ && pick(0, 1) ? pick(1, 40) : 4 * pick(1, 10); }
  std::string name(const char* of) { return of + std::to_string(graph_.nodes.size()); }
  double scale(double about) {
    return exact_ ? about : static_cast<float>(about * (0.75 + 0.5 * double(pick(0, 1000)) / 1000));
  }

  ValueId column(const Tensor& values, size_t rank, size_t dim) {
    Shape shape(rank - dim, 1);
    shape[0] = values.num_elems();
    return graph_.add_constant(name("column"), values.reshaped(shape));
  }

  ValueId dequantized(ValueId bytes, double scale, double zero_point) {
    return graph::elementwise(
        graph_, name("dq"), {bytes}, [&](ScalarBody& b, const std::vector<int>& in) {
          const int wide = b.cast(in[0], DType::kF32);
          const int shifted = b.apply(ScalarOp::kSub, wide, b.constant(zero_point, DType::kF32));
          return b.apply(ScalarOp::kMul, shifted, b.constant(scale, DType::kF32));
        });
  }

  /// Quantised and dequantised.
  ValueId fake_quantized(ValueId x) {
    const double step = scale(0.0625);
    const bool is_signed = type_ == DType::kI8;
    const auto zero_point = static_cast<double>(pick(0, 2) == 0 ? 0
                                                : is_signed     ? pick(-90, 90)
                                                                : pick(0, 200));
    const ValueId bytes =
        graph::elementwise(graph_, name("q"), {x}, [&](ScalarBody& b, const std::vector<int>& in) {
          const auto number = [&](double value) { return b.constant(value, DType::kF32); };
          int y = b.apply(ScalarOp::kRoundEven, b.apply(ScalarOp::kDiv, in[0], number(step)));
          y = b.apply(ScalarOp::kAdd, y, number(zero_point));
          y = b.apply(ScalarOp::kMax, y, number(is_signed ? -128 : 0));
          y = b.apply(ScalarOp::kMin, y, number(is_signed ? 127 : 255));
          return b.cast(y, type_);
        });
    const ValueId result = dequantized(bytes, step, zero_point);
    bytes_of_[result] = bytes;
    return result;
  }

  /// Constant weights: i8, with a scale for all or for each slice along `dim`, or u8 with any zero
  /// point.
  ValueId weights(const Shape& shape, size_t dim) {
    const bool is_signed = pick(0, 2) > 0;
    Tensor bytes(is_signed ? DType::kI8 : DType::kU8, shape);
    const int64_t least = is_signed ? -128 : 0;
    for (int64_t i = 0; i < bytes.num_elems(); ++i) bytes.set_i64(i, pick(least, least + 255));
    const ValueId constant = graph_.add_constant(name("w"), bytes);
    if (!is_signed) {
      return dequantized(constant, scale(0x1p-9), static_cast<double>(pick(0, 255)));
    }
    if (pick(0, 2) == 0) return dequantized(constant, scale(0x1p-9), 0);
    Tensor scales(DType::kF32, {shape[dim]});
    for (int64_t i = 0; i < shape[dim]; ++i) scales.set_f64(i, scale(pick(0, 1) ? 0x1p-9 : 0x1p-8));
    return graph::elementwise(graph_, name("dqw"), {constant, column(scales, shape.size(), dim)},
                              [](ScalarBody& b, const std::vector<int>& in) {
                                return b.apply(ScalarOp::kMul, b.cast(in[0], DType::kF32), in[1]);
                              });
  }

  ValueId with_bias(ValueId x, size_t dim) {
    const Shape shape = graph_.values[x].shape;
    Tensor bias(DType::kF32, {shape[dim]});
    for (int64_t i = 0; i < bias.num_elems(); ++i) {
      bias.set_f64(i, static_cast<double>(pick(-1000, 1000)) * 0x1p-9);
    }
    return graph::elementwise(graph_, name("bias"), {x, column(bias, shape.size(), dim)},
                              [](ScalarBody& b, const std::vector<int>& in) {
                                return b.apply(ScalarOp::kAdd, in[0], in[1]);
                              });
  }

  ValueId activated(ValueId x) {
    if (pick(0, 1) == 0) return x;
    return graph::elementwise(graph_, name("relu"), {x},
                              [](ScalarBody& b, const std::vector<int>& in) {
                                return b.apply(ScalarOp::kMax, in[0], b.constant(0, DType::kF32));
                              });
  }

  /// A function of each byte alone.
  ValueId gated(ValueId x) {
    return graph::elementwise(graph_, name("silu"), {x},
                              [](ScalarBody& b, const std::vector<int>& in) {
                                const int gate = b.apply(ScalarOp::kSigmoid, in[0]);
                                const int twice = b.apply(ScalarOp::kSigmoid, gate);
                                return b.apply(ScalarOp::kMul, twice, in[0]);
                              });
  }

  /// Bytes less a zero point that only a run knows, or, of a constant, one that is known.
  ValueId centred(ValueId bytes, ValueId zero_point) {
    return graph::elementwise(graph_, name("centred"), {bytes, zero_point},
                              [](ScalarBody& b, const std::vector<int>& in) {
                                return b.apply(ScalarOp::kSub, b.cast(in[0], DType::kI32),
                                               b.cast(in[1], DType::kI32));
                              });
  }

  /// A convolution or product of integers, as ConvInteger and MatMulInteger take them.
  ValueId integer_product(ValueId x, const Shape& shape,
                          const std::function<ValueId(ValueId, ValueId)>& product) {
    const ValueId bytes = bytes_of_.at(x);
    std::vector<int> axes;
    for (size_t d = 0; d < graph_.values[bytes].shape.size(); ++d)
      axes.push_back(static_cast<int>(d));
    const ValueId zero_point =
        graph::reduce(graph_, name("zero_point"), bytes, graph::Combiner::kMin, axes, false);
    Tensor w(DType::kU8, shape);
    for (int64_t i = 0; i < w.num_elems(); ++i) w.set_i64(i, pick(0, 255));
    Tensor w_zero(DType::kU8, {});
    w_zero.set_i64(0, pick(0, 255));
    const ValueId sums = product(
        centred(bytes, zero_point),
        centred(graph_.add_constant(name("w"), w), graph_.add_constant(name("w_zero"), w_zero)));
    const double step = scale(0x1p-13);
    return graph::elementwise(
        graph_, name("real"), {sums}, [&](ScalarBody& b, const std::vector<int>& in) {
          return b.apply(ScalarOp::kMul, b.cast(in[0], DType::kF32), b.constant(step, DType::kF32));
        });
  }

  ValueId matrix_product(ValueId x) {
    const int64_t k = graph_.values[x].shape[1], n = num_outputs();
    const bool transposed = pick(0, 1) == 1;
    const Shape shape = transposed ? Shape{n, k} : Shape{k, n};
    if (bytes_of_.contains(x) && pick(0, 3) == 0) {
      return fake_quantized(integer_product(x, shape, [&](ValueId a, ValueId b) {
        return graph::matmul(graph_, name("matmul"), a, b, false, transposed);
      }));
    }
    const ValueId w = weights(shape, transposed ? 0 : 1);
    return fake_quantized(
        activated(with_bias(graph::matmul(graph_, name("matmul"), x, w, false, transposed), 1)));
  }

  ValueId image_layer(ValueId x) {
    const Shape shape = graph_.values[x].shape;
    const int64_t channels = shape[1], kind = pick(0, 7);
    const bool depthwise = kind == 2 || kind >= 6;
    const int64_t widest = depthwise && pick(0, 1) == 0 ? 5 : 3;
    const int64_t kernel = kind == 0 ? 1 : std::min(widest, std::min(shape[2], shape[3]));
    const int64_t pad = kernel >= 3 ? pick(0, kernel / 2) : 0;
    graph::Window window{{kernel, kernel}, {1, 1}, {1, 1}, {pad, pad}, {pad, pad}};
    window.strides[1] = pick(1, 2);
    if (kind == 1) {  // the bytes are moved
      const auto extent = [&](int64_t length, int64_t stride) {
        return (length + 2 * pad - kernel) / stride + 1;
      };
      const std::vector<int64_t> extents = {extent(shape[2], 1),
                                            extent(shape[3], window.strides[1])};
      return graph::pool(graph_, name("pool"), x, graph::Combiner::kMax, window, extents);
    }
    if (kind == 4) return fake_quantized(gated(x));
    const int64_t outputs = depthwise ? channels : kind == 3 ? channels : num_outputs();
    const Shape of_weights = {outputs, depthwise ? 1 : channels, kernel, kernel};
    if (bytes_of_.contains(x) && pick(0, 3) == 0) {
      return fake_quantized(integer_product(x, of_weights, [&](ValueId a, ValueId b) {
        return graph::conv(graph_, name("conv"), a, b, window, depthwise ? channels : 1);
      }));
    }
    const ValueId w = weights(of_weights, 0);
    ValueId y = graph::conv(graph_, name("conv"), x, w, window, depthwise ? channels : 1);
    y = with_bias(y, 1);
    if (graph_.values[y].shape == shape && pick(0, 1) == 0) {
      y = graph::elementwise(graph_, name("residual"), {fake_quantized(y), x},
                             [](ScalarBody& b, const std::vector<int>& in) {
                               return b.apply(ScalarOp::kAdd, in[0], in[1]);
                             });
    }
    return fake_quantized(activated(y));
  }

  std::mt19937 random_;
  bool exact_;
  DType type_;
  Graph graph_;
  Tensor input_;
  std::map<ValueId, ValueId> bytes_of_;  // by what dequantises them
};

}  // namespace corf::test
