#include "tests/fusion/random_chain.h"

#include <algorithm>

#include "rewrite/divide_after_products.h"
#include "rewrite/softmax_in_blocks.h"
#include "rewrite/winograd.h"

namespace corf::test {

using graph::Combiner;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

namespace {

using Operands = std::vector<int>;

/// Values beyond are clipped, and no layer makes them grow by more than 2^11: sums stay below 2^24.
constexpr double kLargest = 4096;

int64_t window_outputs(int64_t extent, int64_t kernel, int64_t stride, int64_t dilation,
                       int64_t pads) {
  return (extent + pads - dilation * (kernel - 1) - 1) / stride + 1;
}

}  // namespace

RandomChain::RandomChain(uint32_t seed, Form form) : random_(seed) {
  const int64_t kind = pick(0, 19);
  if (form == Form::kNetwork) {
    make_network();
  } else if (kind < 12) {
    make_images();
  } else if (kind < 16) {
    make_products();
  } else if (kind < 18) {
    make_attention();
  } else {
    make_winograd();
  }
  for (size_t i = 0; i < graph_.outputs.size(); ++i) {
    graph_.output_names.push_back("y" + std::to_string(i));
  }
}

std::vector<Tensor> RandomChain::inputs() {
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

int64_t RandomChain::pick(int64_t lo, int64_t hi) {
  return std::uniform_int_distribution<int64_t>(lo, hi)(random_);
}

bool RandomChain::chance(double probability) {
  return std::bernoulli_distribution(probability)(random_);
}

int64_t RandomChain::image_extent() { return chance(0.1) ? 1 : pick(2, chance(0.3) ? 23 : 13); }

Tensor RandomChain::ternary(Shape extents) {
  Tensor tensor(DType::kF32, std::move(extents));
  for (int64_t i = 0; i < tensor.num_elems(); ++i) {
    tensor.set_f64(i, static_cast<double>(pick(-1, 1)));
  }
  return tensor;
}

std::string RandomChain::name(const std::string& kind) {
  return kind + "_" + std::to_string(count_++);
}

ValueId RandomChain::input(Shape extents) {
  return keep(graph_.add_input(name("x"), DType::kF32, std::move(extents)), 2);
}

ValueId RandomChain::keep(ValueId x, double magnitude) {
  magnitude_[x] = magnitude;
  return x;
}

void RandomChain::make_images() {
  const std::vector<int64_t> channels = {1, 2, 3, 4, 5, 7, 8, 11, 13, 16, 17, 24};
  ValueId x = input({chance(0.3) ? pick(2, 3) : 1, any(channels), image_extent(), image_extent()});
  chain_.push_back(x);
  if (chance(0.3)) chain_.push_back(input(shape(x)));  // for residual sums
  const int64_t layers = pick(2, 5);
  for (int64_t i = 0; i < layers; ++i) {
    x = add_image_layer(x);
    chain_.push_back(x);
    if (chance(0.3)) {
      x = add_residual(x);
      chain_.push_back(x);
    }
  }
  if (chance(0.2)) {
    x = graph::reduce(graph_, name("global"), x, chance(0.5) ? Combiner::kSum : Combiner::kMax,
                      chance(0.7) ? std::vector<int>{2, 3} : std::vector<int>{3}, chance(0.5));
  }
  graph_.outputs.push_back(x);
  // What is written for others as well cannot live in a ring.
  const ValueId other = any(chain_);
  const bool made = !std::holds_alternative<graph::Input>(graph_.producer(other).op);
  if (chance(0.15) && other != x && made) graph_.outputs.push_back(other);
}

ValueId RandomChain::add_image_layer(ValueId x) {
  switch (pick(0, 10)) {
    case 0:
    case 1:
    case 2:
      return add_epilogue(add_conv(x), 1);
    case 3:
    case 4:
      return add_epilogue(add_depthwise(x), 1);
    case 5:
    case 6:
      return add_epilogue(add_pointwise(x), 1);
    case 7:
      return add_pool(x);
    case 8:
      return add_branches(x);
    case 9:
      return add_epilogue(add_resizing(x), 1);
    default:
      return chance(0.4) ? add_epilogue(add_transposed_conv(x), 1) : add_epilogue(add_conv(x), 1);
  }
}

graph::Window RandomChain::window(const Shape& image, int64_t largest_kernel,
                                  int64_t largest_stride) {
  graph::Window window;
  for (size_t d = 2; d < image.size(); ++d) {
    const int64_t kernel = pick(1, largest_kernel), dilation = chance(0.2) ? 2 : 1;
    const bool same = chance(0.5);
    int64_t before = same ? dilation * (kernel - 1) / 2 : pick(0, kernel);
    int64_t after = same ? dilation * (kernel - 1) - before : pick(0, kernel);
    // At least one output, also where the image is smaller than the kernel.
    while (image[d] + before + after < dilation * (kernel - 1) + 1) ++after;
    window.kernel.push_back(kernel);
    window.strides.push_back(chance(0.6) ? 1 : pick(1, largest_stride));
    window.dilations.push_back(dilation);
    window.pads_begin.push_back(before);
    window.pads_end.push_back(after);
  }
  return window;
}

double RandomChain::taps(const graph::Window& window) const {
  return static_cast<double>(window.kernel[0] * window.kernel[1]);
}

ValueId RandomChain::add_conv(ValueId x) {
  const Shape in = shape(x);
  const graph::Window window = this->window(in, chance(0.2) ? 5 : 3, 3);
  int64_t groups = 1, outputs = any<int64_t>({1, 2, 3, 5, 8, 13, 16, 17, 19});
  for (int64_t divisor : {2, 3}) {
    if (in[1] % divisor != 0 || !chance(0.2)) continue;
    groups = divisor;
    outputs = divisor * pick(1, 9);
    break;
  }
  const ValueId w = graph_.add_constant(
      name("w"), ternary({outputs, in[1] / groups, window.kernel[0], window.kernel[1]}));
  const double terms = static_cast<double>(in[1] / groups) * taps(window);
  return keep(graph::conv(graph_, name("conv"), x, w, window, groups), magnitude_[x] * terms);
}

ValueId RandomChain::add_depthwise(ValueId x) {
  const Shape in = shape(x);
  const graph::Window window = this->window(in, chance(0.2) ? 5 : 3, 3);
  const int64_t multiplier = chance(0.15) ? 2 : 1;
  const ValueId w = graph_.add_constant(
      name("w"), ternary({in[1] * multiplier, 1, window.kernel[0], window.kernel[1]}));
  return keep(graph::conv(graph_, name("depthwise"), x, w, window, in[1]),
              magnitude_[x] * taps(window));
}

ValueId RandomChain::add_pointwise(ValueId x) {
  const Shape in = shape(x);
  const int64_t outputs = any<int64_t>({1, 3, 4, 7, 8, 16, 23, 32});
  const ValueId w = graph_.add_constant(name("w"), ternary({outputs, in[1], 1, 1}));
  graph::Window window{{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
  if (chance(0.15)) window.strides = {2, 2};
  return keep(graph::conv(graph_, name("pointwise"), x, w, window, 1),
              magnitude_[x] * static_cast<double>(in[1]));
}

ValueId RandomChain::add_transposed_conv(ValueId x) {
  const Shape in = shape(x);
  graph::Window window{{pick(1, 3), pick(1, 3)}, {pick(1, 2), pick(1, 2)}, {1, 1}, {0, 0}, {0, 0}};
  Shape outputs;
  for (size_t d = 0; d < 2; ++d) {
    outputs.push_back((in[d + 2] - 1) * window.strides[d] + window.kernel[d]);
  }
  const ValueId w = graph_.add_constant(
      name("w"), ternary({in[1], pick(1, 9), window.kernel[0], window.kernel[1]}));
  return keep(graph::conv_transpose(graph_, name("transposed"), x, w, window, 1, outputs),
              magnitude_[x] * static_cast<double>(in[1]) * taps(window));
}

ValueId RandomChain::add_pool(ValueId x) {
  const Shape in = shape(x);
  const graph::Window window = this->window(in, 3, 2);
  Shape outputs;
  for (size_t d = 0; d < 2; ++d) {
    outputs.push_back(window_outputs(in[d + 2], window.kernel[d], window.strides[d],
                                     window.dilations[d],
                                     window.pads_begin[d] + window.pads_end[d]));
  }
  if (chance(0.5)) {
    // A window wholly in the padding has no largest element: -inf until it is clipped.
    const ValueId y = graph::pool(graph_, name("max_pool"), x, Combiner::kMax, window, outputs);
    return add_clip(y);
  }
  const ValueId sum = graph::pool(graph_, name("sum_pool"), x, Combiner::kSum, window, outputs);
  keep(sum, magnitude_[x] * taps(window));
  const ValueId half =
      graph::elementwise(graph_, name("average"), {sum}, [](ScalarBody& body, const Operands& in) {
        return body.apply(ScalarOp::kMul, in[0], body.constant(0.5, DType::kF32));
      });
  keep(half, magnitude_[sum]);
  return chance(0.5) ? add_clip(half) : add_epilogue(half, 1);
}

/// Each row and column of the result is a sum of two neighbours, weighted; positions beyond an edge
/// are the edge's, as linear interpolation has them.
ValueId RandomChain::add_resizing(ValueId x) {
  for (int axis : {2, 3}) {
    if (axis == 2 && chance(0.2)) continue;
    const int64_t scale = pick(1, 4), shift = pick(0, scale);
    graph::Compute compute;
    for (size_t d = 0; d < 4; ++d) {
      const int64_t extent = shape(x)[d] * (static_cast<int>(d) == axis ? scale : 1);
      compute.space.axes.push_back({"d" + std::to_string(d), extent, index::AxisKind::kParallel});
    }
    compute.space.axes.push_back({"tap", 2, index::AxisKind::kReduction});
    const index::Expr position = index::Expr::variable(axis), tap = index::Expr::variable(4);
    const index::Expr at =
        floor_div(position + index::Expr(shift), index::Expr(scale)) + tap - index::Expr(1);
    graph::Operand source, weights;
    source.map = index::IndexMap::identity(4);
    source.map.exprs[axis] = min(max(at, index::Expr(0)), index::Expr(shape(x)[axis] - 1));
    weights.map.exprs = {position, tap};
    const int64_t extent = compute.space.axes[axis].extent;
    compute.operands = {source, weights};
    const int element = compute.body.operand(0, DType::kF32);
    const int weight = compute.body.operand(1, DType::kF32);
    compute.body.apply(ScalarOp::kMul, element, weight);
    compute.combiner = Combiner::kSum;
    const ValueId w = graph_.add_constant(name("weights"), ternary({extent, 2}));
    const double magnitude = 2 * magnitude_[x];
    x = keep(graph_.add_compute(name("resized"), std::move(compute), {x, w}), magnitude);
  }
  return x;
}

/// Two convolutions of one value, added: an intermediate with several consumers.
ValueId RandomChain::add_branches(ValueId x) {
  const Shape in = shape(x);
  const int64_t outputs = any<int64_t>({1, 3, 8, 16});
  std::vector<ValueId> branches;
  for (int64_t kernel : {int64_t{1}, chance(0.5) ? int64_t{3} : int64_t{5}}) {
    const int64_t pad = kernel / 2;
    graph::Window window{{kernel, kernel}, {1, 1}, {1, 1}, {pad, pad}, {pad, pad}};
    const ValueId w = graph_.add_constant(name("w"), ternary({outputs, in[1], kernel, kernel}));
    const ValueId y = graph::conv(graph_, name("branch"), x, w, window, 1);
    keep(y, magnitude_[x] * static_cast<double>(in[1] * kernel * kernel));
    branches.push_back(chance(0.5) ? add_epilogue(y, 1) : y);
  }
  const ValueId sum =
      graph::elementwise(graph_, name("meet"), branches, [](ScalarBody& body, const Operands& in) {
        return body.apply(ScalarOp::kAdd, in[0], in[1]);
      });
  return add_epilogue(keep(sum, magnitude_[branches[0]] + magnitude_[branches[1]]), 1);
}

ValueId RandomChain::add_residual(ValueId x) {
  std::vector<ValueId> same;
  for (ValueId other : chain_) {
    if (shape(other) == shape(x) && other != x) same.push_back(other);
  }
  const ValueId other = same.empty() ? input(shape(x)) : any(same);
  const ValueId sum = graph::elementwise(graph_, name("residual"), std::vector<ValueId>{x, other},
                                         [](ScalarBody& body, const Operands& in) {
                                           return body.apply(ScalarOp::kAdd, in[0], in[1]);
                                         });
  return add_epilogue(keep(sum, magnitude_[x] + magnitude_[other]), 1);
}

ValueId RandomChain::add_clip(ValueId x) {
  const ValueId y = graph::elementwise(
      graph_, name("clip"), std::vector<ValueId>{x}, [](ScalarBody& body, const Operands& in) {
        int low = body.constant(-2, DType::kF32);
        int high = body.constant(2, DType::kF32);
        return body.apply(ScalarOp::kMin, body.apply(ScalarOp::kMax, in[0], low), high);
      });
  return keep(y, 2);
}

ValueId RandomChain::add_epilogue(ValueId x, int channel_dim) {
  if (chance(0.6)) {
    Shape extents(shape(x).size(), 1);
    extents[channel_dim] = shape(x)[channel_dim];
    const ValueId bias = graph_.add_constant(name("bias"), ternary(extents));
    const ValueId sum = graph::elementwise(graph_, name("add"), std::vector<ValueId>{x, bias},
                                           [](ScalarBody& body, const Operands& in) {
                                             return body.apply(ScalarOp::kAdd, in[0], in[1]);
                                           });
    x = keep(sum, magnitude_[x] + 1);
  }
  if (chance(0.3)) {
    const ValueId relu = graph::elementwise(
        graph_, name("relu"), std::vector<ValueId>{x}, [](ScalarBody& body, const Operands& in) {
          return body.apply(ScalarOp::kMax, in[0], body.constant(0, DType::kF32));
        });
    x = keep(relu, magnitude_[x]);
  }
  return magnitude_[x] > kLargest || chance(0.7) ? add_clip(x) : x;
}

void RandomChain::make_products() {
  Shape in = {pick(1, 23), pick(1, 19)};
  if (chance(0.3)) in.insert(in.begin(), pick(1, 3));
  ValueId x = input(in);
  chain_.push_back(x);
  const int64_t layers = pick(2, 5);
  for (int64_t i = 0; i < layers; ++i) {
    const int64_t columns = any<int64_t>({1, 3, 8, 13, 16, 17, 32, 33});
    if (i + 1 < layers && chance(0.25)) {
      const ValueId gate = add_product(x, columns), up = add_product(x, columns);
      const ValueId gated = graph::elementwise(graph_, name("gated"), {gate, up},
                                               [](ScalarBody& body, const Operands& in) {
                                                 return body.apply(ScalarOp::kMul, in[0], in[1]);
                                               });
      keep(gated, magnitude_[gate] * magnitude_[up]);
      x = add_clip(gated);
      ++i;
    } else {
      x = add_product(x, columns);
    }
    chain_.push_back(x);
    if (chance(0.2)) chain_.push_back(x = add_residual(x));
  }
  if (chance(0.25)) {
    x = graph::reduce(graph_, name("total"), x, chance(0.5) ? Combiner::kSum : Combiner::kMax,
                      {static_cast<int>(shape(x).size()) - static_cast<int>(pick(1, 2))},
                      chance(0.5));
  }
  graph_.outputs.push_back(x);
}

ValueId RandomChain::add_product(ValueId x, int64_t columns) {
  Shape weights = {shape(x).back(), columns};
  if (shape(x).size() == 3 && chance(0.3)) weights.insert(weights.begin(), shape(x)[0]);
  const bool known = chance(0.8);
  const ValueId w = known ? graph_.add_constant(name("w"), ternary(weights)) : input(weights);
  const double terms = static_cast<double>(shape(x).back()) * (known ? 1 : 2);
  const ValueId y = graph::matmul(graph_, name("product"), x, w);
  keep(y, magnitude_[x] * terms);
  return add_epilogue(y, static_cast<int>(shape(y).size()) - 1);
}

ValueId RandomChain::add_softmax(ValueId x) {
  const auto axis = static_cast<int>(shape(x).size()) - 1;
  const ValueId largest = graph::reduce(graph_, name("largest"), x, Combiner::kMax, {axis}, true);
  const ValueId powers = graph::elementwise(
      graph_, name("powers"), std::vector<ValueId>{x, largest},
      [](ScalarBody& body, const Operands& in) {
        return body.apply(ScalarOp::kExp, body.apply(ScalarOp::kSub, in[0], in[1]));
      });
  const ValueId total = graph::reduce(graph_, name("total"), powers, Combiner::kSum, {axis}, true);
  return graph::elementwise(graph_, name("weights"), std::vector<ValueId>{powers, total},
                            [](ScalarBody& body, const Operands& in) {
                              return body.apply(ScalarOp::kDiv, in[0], in[1]);
                            });
}

/// softmax(Q K' * scale) V, or the same without softmax, which is exact.
void RandomChain::make_attention() {
  const int64_t batch = pick(1, 2), heads = pick(1, 3), size = chance(0.8) ? pick(1, 17) : 37;
  const int64_t queries = chance(0.2) ? 1 : pick(2, chance(0.8) ? 19 : 41);
  const int64_t keys = chance(0.1) ? 1 : pick(2, chance(0.7) ? 21 : 71);
  const ValueId q = input({batch, heads, queries, size}), k = input({batch, heads, keys, size});
  const ValueId v = input({batch, heads, keys, size});
  ValueId scores = graph::matmul(graph_, name("scores"), q, k, false, /*transpose_b=*/true);
  keep(scores, 4 * static_cast<double>(size));
  ValueId weights = -1;
  if (chance(0.5)) {
    const ValueId scaled = graph::elementwise(graph_, name("scaled"), std::vector<ValueId>{scores},
                                              [](ScalarBody& body, const Operands& in) {
                                                return body.apply(ScalarOp::kMul, in[0],
                                                                  body.constant(0.25, DType::kF32));
                                              });
    weights = keep(add_softmax(scaled), 1);
    // The weights sum to 1: their errors are those of a sum of `keys` exponentials and its
    // quotient, and the last sum adds as many roundings.
    error_ = (2 * static_cast<double>(keys) + 32) * 0x1p-24 * 2;
  } else {
    weights = add_clip(scores);
  }
  ValueId y = graph::matmul(graph_, name("values"), weights, v);
  keep(y, exact() ? 4 * static_cast<double>(keys) : 2);
  if (chance(0.4)) {
    error_ *= static_cast<double>(size);
    y = add_product(exact() ? add_clip(y) : y, any<int64_t>({1, 8, 13}));
  }
  graph_.outputs.push_back(y);
  if (!exact() && chance(0.5)) cut_softmax(keys);
}

/// Powers, sums and products of blocks of the columns, merged behind them.
void RandomChain::cut_softmax(int64_t columns) {
  graph_.output_names.resize(graph_.outputs.size());
  rewrite::SoftmaxBlockOptions options;
  options.shortest = pick(1, columns);
  options.l2_bytes = 1;
  graph_ = *rewrite::softmax_in_blocks(*rewrite::divide_after_products(graph_), options);
  graph_.output_names.clear();
}

/// Convolutions by Winograd's method with tiles of 2x2: multiples of 1/4, exact.
void RandomChain::make_winograd() {
  const std::vector<int64_t> channels = {1, 3, 8, 13, 16};
  ValueId x = input({pick(1, 2), any(channels), pick(3, 15), pick(3, 15)});
  const int64_t layers = pick(1, 2);
  auto convolve = [&](int64_t kernel) {
    const int64_t pad = kernel == 3 ? pick(0, 2) : 0;
    graph::Window window{{kernel, kernel}, {1, 1}, {1, 1}, {pad, pad}, {pad, pad}};
    const ValueId w =
        graph_.add_constant(name("w"), ternary({any(channels), shape(x)[1], kernel, kernel}));
    const double terms = static_cast<double>(shape(x)[1] * kernel * kernel);
    const ValueId y = graph::conv(graph_, name("conv"), x, w, window, 1);
    x = add_clip(keep(y, magnitude_[x] * terms));
  };
  for (int64_t i = 0; i < layers; ++i) {
    convolve(3);
    if (chance(0.4)) convolve(1);
    if (shape(x)[2] < 3 || shape(x)[3] < 3) break;
  }
  graph_.outputs.push_back(x);
  graph_.output_names.push_back("y");
  rewrite::WinogradOptions options;
  options.output_tile = [](const rewrite::WinogradShape&) { return 2; };
  auto rewritten = rewrite::winograd(graph_, options);
  if (rewritten) graph_ = rewritten.take();
  graph_.output_names.clear();
}

}  // namespace corf::test
