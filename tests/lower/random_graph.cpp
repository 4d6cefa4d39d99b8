#include "tests/lower/random_graph.h"

#include <limits>

#include "graph/operators.h"

namespace corf::test {

using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

namespace {

using Operands = std::vector<int>;

/// Keeps products of later layers small.
int clip(ScalarBody& body, int x) {
  int low = body.constant(-2, DType::kF32), high = body.constant(2, DType::kF32);
  return body.apply(ScalarOp::kMin, body.apply(ScalarOp::kMax, x, low), high);
}

int64_t window_outputs(int64_t extent, int64_t kernel, int64_t stride, int64_t dilation,
                       int64_t pads) {
  return (extent + pads - dilation * (kernel - 1) - 1) / stride + 1;
}

}  // namespace

RandomGraph::RandomGraph(uint32_t seed) : random_(seed) {
  Shape extents = {pick(1, 2), pick(1, 20), pick(1, 12), pick(1, 12)};
  if (chance(0.08)) extents[pick(0, 3)] = 0;
  ValueId x = graph_.add_input("x", DType::kF32, std::move(extents));
  images_.push_back(x);
  const int64_t layers = pick(1, 6);
  for (int64_t i = 0; i < layers; ++i) {
    x = add_layer(x);
    images_.push_back(x);
  }
  if (chance(0.5)) {
    add_head(x);
  } else {
    graph_.outputs.push_back(x);
  }
  if (chance(0.3)) graph_.outputs.push_back(images_[pick(0, int64_t(images_.size()) - 1)]);
  for (size_t i = 0; i < graph_.outputs.size(); ++i) {
    graph_.output_names.push_back("y" + std::to_string(i));
  }
}

std::vector<Tensor> RandomGraph::inputs() {
  std::vector<Tensor> result;
  for (ValueId value : graph_.inputs) {
    Tensor tensor(DType::kF32, shape(value));
    for (int64_t i = 0; i < tensor.num_elems(); ++i) {
      tensor.set_f64(i, static_cast<double>(pick(-2, 2)));
    }
    result.push_back(tensor);
  }
  return result;
}

int64_t RandomGraph::pick(int64_t lo, int64_t hi) {
  return std::uniform_int_distribution<int64_t>(lo, hi)(random_);
}

bool RandomGraph::chance(double probability) {
  return std::bernoulli_distribution(probability)(random_);
}

Tensor RandomGraph::ternary(Shape extents) {
  Tensor tensor(DType::kF32, std::move(extents));
  for (int64_t i = 0; i < tensor.num_elems(); ++i) {
    tensor.set_f64(i, static_cast<double>(pick(-1, 1)));
  }
  return tensor;
}

std::string RandomGraph::name(const std::string& kind) {
  return kind + "_" + std::to_string(count_++);
}

ValueId RandomGraph::add_layer(ValueId x) {
  switch (pick(0, 10)) {
    case 0:
    case 1:
    case 2:
      x = add_conv(x);
      return chance(0.8) ? add_bias_and_clip(x) : x;
    case 3:
      return add_pool(x);
    case 4:
      return add_residual(x);
    case 5:
      return add_view(x);
    case 6:
      return add_concat(x);
    case 7:
      return add_repeats(x);
    case 8:
      return add_reduction(x);
    case 9:
      return add_resampled(x);
    default:
      return add_scale(x);
  }
}

ValueId RandomGraph::add_conv(ValueId x) {
  const Shape in = shape(x);
  const int64_t channels = in[1];
  int64_t groups = 1, outputs = pick(1, 40);
  if (channels > 0 && chance(0.3)) {
    groups = channels;
    outputs = channels * pick(1, 2);
  } else if (channels > 0 && channels % 2 == 0 && chance(0.3)) {
    groups = 2;
    outputs = 2 * pick(1, 12);
  }
  graph::Window window;
  Shape weights = {outputs, channels / groups};
  for (int d = 0; d < 2; ++d) {
    int64_t kernel = pick(1, 3), dilation = pick(1, 2);
    window.kernel.push_back(kernel);
    window.strides.push_back(pick(1, 2));
    window.dilations.push_back(dilation);
    int64_t before = pick(0, 2), after = pick(0, 2);
    // At least one output, also where the image is smaller than the kernel.
    while (in[2 + d] + before + after < dilation * (kernel - 1) + 1) ++after;
    window.pads_begin.push_back(before);
    window.pads_end.push_back(after);
    weights.push_back(kernel);
  }
  ValueId w = graph_.add_constant(name("w"), ternary(weights));
  return graph::conv(graph_, name("conv"), x, w, window, groups);
}

ValueId RandomGraph::add_pool(ValueId x) {
  const Shape in = shape(x);
  graph::Window window;
  std::vector<int64_t> outputs;
  const bool largest = chance(0.5);
  for (int d = 0; d < 2; ++d) {
    int64_t kernel = pick(1, 3), stride = pick(1, 2);
    int64_t before = std::min<int64_t>(pick(0, 1), kernel - 1), after = before;
    while (in[2 + d] + before + after < kernel) ++after;
    window.kernel.push_back(kernel);
    window.strides.push_back(stride);
    window.dilations.push_back(1);
    window.pads_begin.push_back(before);
    window.pads_end.push_back(after);
    outputs.push_back(window_outputs(in[2 + d], kernel, stride, 1, before + after));
  }
  ValueId y = graph::pool(graph_, name("pool"), x,
                          largest ? graph::Combiner::kMax : graph::Combiner::kSum, window, outputs);
  // A window wholly in the padding has no largest element.
  return add_bias_and_clip(y);
}

ValueId RandomGraph::add_bias_and_clip(ValueId x) {
  ValueId bias = graph_.add_constant(name("bias"), ternary({1, shape(x)[1], 1, 1}));
  ValueId sum = graph::elementwise(graph_, name("add"), std::vector<ValueId>{x, bias},
                                   [](ScalarBody& body, const Operands& in) {
                                     return body.apply(ScalarOp::kAdd, in[0], in[1]);
                                   });
  return add_clip(sum);
}

ValueId RandomGraph::add_clip(ValueId x) {
  return graph::elementwise(graph_, name("clip"), std::vector<ValueId>{x},
                            [](ScalarBody& body, const Operands& in) { return clip(body, in[0]); });
}

ValueId RandomGraph::add_residual(ValueId x) {
  std::vector<ValueId> same;
  for (ValueId other : images_) {
    if (shape(other) == shape(x)) same.push_back(other);
  }
  if (same.empty()) same.push_back(x);
  ValueId other = same[pick(0, int64_t(same.size()) - 1)];
  return graph::elementwise(graph_, name("residual"), std::vector<ValueId>{x, other},
                            [](ScalarBody& body, const Operands& in) {
                              return clip(body, body.apply(ScalarOp::kAdd, in[0], in[1]));
                            });
}

ValueId RandomGraph::add_view(ValueId x) {
  const Shape in = shape(x);
  switch (pick(0, 3)) {
    case 0: {  // channel shuffle
      if (in[1] % 2 != 0 || in[1] == 0) return x;
      ValueId split = graph_.add_view(name("split"), graph::Reshape{}, {x},
                                      {in[0], 2, in[1] / 2, in[2], in[3]});
      ValueId swapped = graph_.add_view(name("swap"), graph::Transpose{{0, 2, 1, 3, 4}}, {split},
                                        {in[0], in[1] / 2, 2, in[2], in[3]});
      return graph_.add_view(name("join"), graph::Reshape{}, {swapped}, in);
    }
    case 1: {
      int64_t start = pick(0, std::max<int64_t>(in[2] - 1, 0));
      return graph_.add_view(name("slice"), graph::Slice{{0, 0, start, 0}, {1, 1, 1, 1}}, {x},
                             {in[0], in[1], in[2] - start, in[3]});
    }
    case 2:
      return graph_.add_view(name("pad"), graph::Pad{{0, 0, 1, 0}, 1.0}, {x},
                             {in[0], in[1], in[2] + 2, in[3] + 1});
    default:
      return graph_.add_view(name("transpose"), graph::Transpose{{0, 1, 3, 2}}, {x},
                             {in[0], in[1], in[3], in[2]});
  }
}

ValueId RandomGraph::add_concat(ValueId x) {
  std::vector<ValueId> parts = {x};
  for (ValueId other : images_) {
    const Shape &a = shape(x), &b = shape(other);
    bool fits = a[0] == b[0] && a[2] == b[2] && a[3] == b[3];
    if (fits && parts.size() < 3 && chance(0.7)) parts.push_back(other);
  }
  Shape out = shape(x);
  out[1] = 0;
  for (ValueId part : parts) out[1] += shape(part)[1];
  return graph_.add_view(name("concat"), graph::Concat{1}, parts, out);
}

/// A value whose elements repeat along one axis or more, as Expand, Tile, nearest Resize and Pad
/// with edges make them.
ValueId RandomGraph::add_repeats(ValueId x) {
  const Shape in = shape(x);
  if (chance(0.4)) {
    std::vector<int> axes;
    Shape out = in;
    for (int d = 0; d < 4; ++d) {
      if (!chance(0.5)) continue;
      axes.push_back(d);
      out[d] = pick(d == 0 ? 1 : 0, d == 0 ? 2 : 7);
    }
    if (axes.empty()) return x;
    ValueId one =
        add_clip(graph::reduce(graph_, name("one"), x, graph::Combiner::kSum, axes, true));
    return graph_.add_view(name("expand"), graph::Broadcast{}, {one}, out);
  }
  graph::Compute repeat;
  graph::Operand operand;
  for (int d = 0; d < 4; ++d) {
    const index::Expr at = index::Expr::variable(d);
    const index::Expr extent(in[d]);
    const int64_t times = d > 0 && chance(0.5) ? pick(1, 3) : 1;
    int64_t to = in[d] * times;
    if (in[d] == 0 || times == 1) {
      operand.map.exprs.push_back(at);
      to = in[d];
    } else if (chance(0.4)) {
      operand.map.exprs.push_back(index::floor_div(at, index::Expr(times)));
    } else if (chance(0.5)) {
      operand.map.exprs.push_back(index::mod(at, extent));
    } else {
      to = in[d] + times;
      operand.map.exprs.push_back(
          index::min(index::max(at - index::Expr(1), index::Expr(0)), extent - index::Expr(1)));
    }
    repeat.space.axes.push_back({"d" + std::to_string(d), to});
  }
  repeat.operands.push_back(std::move(operand));
  repeat.body.operand(0, DType::kF32);
  return graph_.add_compute(name("repeat"), std::move(repeat), {x});
}

/// Over some axes, which perhaps only one of two operands spans, or none.
ValueId RandomGraph::add_reduction(ValueId x) {
  std::vector<int> axes;
  for (int d = 0; d < 4; ++d) {
    if (chance(0.5)) axes.push_back(d);
  }
  if (axes.empty()) axes.push_back(static_cast<int>(pick(0, 3)));
  constexpr graph::Combiner kCombiners[] = {graph::Combiner::kSum, graph::Combiner::kProduct,
                                            graph::Combiner::kMin, graph::Combiner::kMax};
  // Products stay -1, 0 and 1.
  const auto body = [](ScalarBody& scalar, int value) {
    const int low = scalar.constant(-1, DType::kF32), high = scalar.constant(1, DType::kF32);
    return scalar.apply(ScalarOp::kMin, scalar.apply(ScalarOp::kMax, value, low), high);
  };
  return add_clip(
      graph::reduce(graph_, name("reduce"), x, kCombiners[pick(0, 3)], axes, true, body));
}

/// Each row or column as a weighted sum of some that a table names.
ValueId RandomGraph::add_resampled(ValueId x) {
  const Shape in = shape(x);
  const int axis = static_cast<int>(pick(2, 3));
  if (in[axis] == 0) return x;
  const int64_t extent = pick(1, 9), taps = pick(1, 4);
  Tensor table(DType::kI64, {extent, taps});
  for (int64_t i = 0; i < table.num_elems(); ++i) table.set_i64(i, pick(0, in[axis] - 1));
  const ValueId weights = graph_.add_constant(name("weights"), ternary({extent, taps}));
  const ValueId positions = graph_.add_constant(name("positions"), table);
  graph::Compute compute;
  for (int d = 0; d < 4; ++d) {
    compute.space.axes.push_back({"d" + std::to_string(d), d == axis ? extent : in[d]});
  }
  compute.space.axes.push_back({"tap", taps, index::AxisKind::kReduction});
  graph::Operand source, by_tap;
  source.map = index::IndexMap::identity(4);
  const index::Expr held = index::Expr::variable(5 + 2);
  source.map.exprs[axis] = index::min(index::max(held, index::Expr(0)), index::Expr(in[axis] - 1));
  by_tap.map.exprs = {index::Expr::variable(axis), index::Expr::variable(4)};
  compute.operands = {source, by_tap, by_tap};
  const int element = compute.body.operand(0, DType::kF32);
  const int weight = compute.body.operand(1, DType::kF32);
  compute.body.apply(ScalarOp::kMul, element, weight);
  compute.combiner = graph::Combiner::kSum;
  return add_clip(
      graph_.add_compute(name("resample"), std::move(compute), {x, weights, positions}));
}

/// Squeeze-and-excite in small: a global pool, a clip, a product along the channels.
ValueId RandomGraph::add_scale(ValueId x) {
  ValueId pooled = graph::reduce(graph_, name("global"), x, graph::Combiner::kMax, {2, 3}, true);
  return graph::elementwise(graph_, name("scale"), std::vector<ValueId>{x, pooled},
                            [](ScalarBody& body, const Operands& in) {
                              return clip(body, body.apply(ScalarOp::kMul, in[0], in[1]));
                            });
}

void RandomGraph::add_head(ValueId x) {
  const Shape in = shape(x);
  // Of no elements the largest is infinite.
  const bool sums = chance(0.5) || in[2] * in[3] == 0;
  ValueId pooled = graph::reduce(
      graph_, name("pool"), x, sums ? graph::Combiner::kSum : graph::Combiner::kMax, {2, 3}, false);
  ValueId weights = graph_.add_constant(name("w"), ternary({in[1], pick(1, 70)}));
  ValueId logits = graph::matmul(graph_, name("matmul"), pooled, weights);
  graph_.outputs.push_back(logits);
  if (chance(0.5)) {
    const auto combiner = chance(0.5) ? graph::Combiner::kArgMax : graph::Combiner::kArgMin;
    const bool has_nan = chance(0.3);
    const auto body = [&](ScalarBody& b, int x) {
      if (!has_nan) return x;
      const double nan = std::numeric_limits<double>::quiet_NaN();
      const int is_one = b.apply(ScalarOp::kEqual, x, b.constant(1, DType::kF32));
      return b.apply(ScalarOp::kSelect, is_one, b.constant(nan, DType::kF32), x);
    };
    graph_.outputs.push_back(
        graph::reduce(graph_, name("argmax"), logits, combiner, {1}, false, body, chance(0.5)));
  }
  if (chance(0.5)) {
    graph_.outputs.push_back(
        graph::reduce(graph_, name("total"), logits, graph::Combiner::kSum, {1}, true));
  }
}

}  // namespace corf::test
