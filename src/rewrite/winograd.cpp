#include "rewrite/winograd.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>

#include "graph/operators.h"
#include "rewrite/contraction.h"
#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
#include "support/assert.h"
#include "support/checked.h"
#include "support/tasks.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::ValueId;
using index::AxisKind;
using index::Expr;

namespace {

constexpr int64_t kTaps = 3;

/// Coefficients of the product of (x - p) over `points`, the lowest power first.
std::vector<double> polynomial(std::span<const double> points, size_t without) {
  std::vector<double> result{1};
  for (size_t i = 0; i < points.size(); ++i) {
    if (i == without) continue;
    result.push_back(0);
    for (size_t k = result.size(); k-- > 0;) {
      result[k] = (k > 0 ? result[k - 1] : 0) - points[i] * result[k];
    }
  }
  return result;
}

/// A dense 3x3 convolution of stride 1 over the axes n, o, y, x and c, ky, kx. Of a volume: over n,
/// o, z, y, x and c, kz, ky, kx, 3x3 in each plane, whatever the window is across planes.
struct Convolution {
  Contraction contraction;
  WinogradShape shape;
  int64_t top = 0, left = 0;  // rows and columns in front of the image
  /// Of a volume.
  struct Depth {
    int64_t planes = 1, results = 1;  // of x, and of the result
    index::Linear plane;              // of x, over the convolution's axes
    int z = -1, tap = -1;             // axes
    bool leaves = false;              // some planes are not there: zeros
  };
  std::optional<Depth> depth;
};

/// The shift by which coordinate = axis + tap - shift; nullopt if it is something else.
std::optional<int64_t> window_shift(const Expr& coordinate, int axis, int tap) {
  const index::Linear linear = index::to_linear(coordinate);
  if (!linear.is_affine() || linear.coefficients.size() != 2) return std::nullopt;
  if (linear.coefficient(axis) != 1 || linear.coefficient(tap) != 1) return std::nullopt;
  return -linear.constant;
}

/// Of a volume's convolution: how x is read across its planes.
std::optional<Convolution::Depth> match_depth(const Contraction& contraction, int64_t planes) {
  const auto& axes = contraction.compute->space.axes;
  Convolution::Depth depth{planes, axes[2].extent,
                           index::to_linear(contraction.x_operand().map.exprs[2]), 2, 6};
  if (!depth.plane.is_affine()) return std::nullopt;
  int64_t least = depth.plane.constant, most = least;
  for (const auto& [axis, coefficient] : depth.plane.coefficients) {
    if (axis != depth.z && axis != depth.tap) return std::nullopt;
    const int64_t moved = coefficient * (axes[axis].extent - 1);
    least += std::min<int64_t>(0, moved);
    most += std::max<int64_t>(0, moved);
  }
  depth.leaves = least < 0 || most >= planes;
  return depth;
}

/// The expression is the axis, which may be written as 0 where there is one point.
bool is_axis(const Expr& expr, const std::vector<index::Axis>& axes, int axis) {
  return expr.is_variable(axis) || (axes[axis].extent == 1 && expr.is_constant(0));
}

std::optional<Convolution> match_convolution(const Graph& graph, const Node& node) {
  std::optional<Contraction> contraction = match_contraction(graph, node);
  if (!contraction || contraction->weights_tensor.dtype() != DType::kF32) return std::nullopt;
  const auto& axes = contraction->compute->space.axes;
  const graph::Operand& x = contraction->x_operand();
  const graph::Operand& w = contraction->weights_operand();
  const Shape& x_shape = graph.values[node.inputs[contraction->x]].shape;
  const size_t rank = x_shape.size();
  if (rank != 4 && rank != 5) return std::nullopt;
  if (axes.size() != 2 * rank - 1) return std::nullopt;
  if (contraction->compute->space.num_parallel() != static_cast<int>(rank)) return std::nullopt;
  if (x.map.exprs.size() != rank || w.map.exprs.size() != rank || w.guarded) return std::nullopt;
  if (x.guarded && x.padding != 0) return std::nullopt;
  // The weights' dimensions, as axes; y and x come last.
  std::vector<int> kernel_axes{1};
  for (size_t d = 1; d < rank; ++d) kernel_axes.push_back(static_cast<int>(rank + d - 1));
  const auto channel = static_cast<int>(rank), y = static_cast<int>(rank) - 2;
  const int tap_y = kernel_axes[rank - 2], tap_x = kernel_axes[rank - 1];
  for (size_t d = 0; d < rank; ++d) {
    if (contraction->weights_tensor.shape()[d] != axes[kernel_axes[d]].extent) return std::nullopt;
    if (!is_axis(w.map.exprs[d], axes, kernel_axes[d])) return std::nullopt;
  }
  if (axes[tap_y].extent != kTaps || axes[tap_x].extent != kTaps) return std::nullopt;
  if (!is_axis(x.map.exprs[0], axes, 0) || !is_axis(x.map.exprs[1], axes, channel) ||
      x_shape[0] != axes[0].extent || x_shape[1] != axes[channel].extent) {
    return std::nullopt;
  }
  const std::optional<int64_t> top = window_shift(x.map.exprs[y], y, tap_y);
  const std::optional<int64_t> left = window_shift(x.map.exprs[y + 1], y + 1, tap_x);
  if (!top || !left) return std::nullopt;
  WinogradShape shape{axes[0].extent, axes[channel].extent, axes[1].extent, axes[y].extent,
                      axes[y + 1].extent};
  if (shape.height < 1 || shape.width < 1 || num_elems(x_shape) == 0) return std::nullopt;
  std::optional<Convolution::Depth> depth;
  if (rank == 5) {
    depth = match_depth(*contraction, x_shape[2]);
    if (!depth) return std::nullopt;
    shape.batch *= depth->results;
    shape.planes = axes[depth->tap].extent;
  }
  return Convolution{std::move(*contraction), shape, *top, *left, std::move(depth)};
}

Tensor float_tensor(Shape shape, std::span<const double> values) {
  Tensor tensor(DType::kF32, std::move(shape));
  for (size_t i = 0; i < values.size(); ++i) tensor.set_f64(static_cast<int64_t>(i), values[i]);
  return tensor;
}

/// What a block of outputs is transformed at once: whole cache lines of the result.
constexpr int64_t kOutputs = 16;

/// By tap or element of a tile, of as many outputs.
using Taps = std::array<std::array<double, kOutputs>, kTaps * kTaps>;

/// u[t * a + b] = sum_ij G[a,i] G[b,j] w[i,j] of a block of outputs, rounded once.
void transform_block(const Taps& w, const WinogradMatrices& matrices, int64_t plane, int64_t count,
                     float* u) {
  const int64_t t = matrices.t;
  std::array<std::array<double, kOutputs>, kTaps> half;
  for (int64_t a = 0; a < t; ++a) {
    for (int64_t j = 0; j < kTaps; ++j) {
      half[j].fill(0);
      for (int64_t i = 0; i < kTaps; ++i) {
        const double g = matrices.g[a * kTaps + i];
        for (int64_t o = 0; o < kOutputs; ++o) half[j][o] += g * w[i * kTaps + j][o];
      }
    }
    for (int64_t b = 0; b < t; ++b) {
      std::array<double, kOutputs> sum;
      sum.fill(0);
      for (int64_t j = 0; j < kTaps; ++j) {
        const double g = matrices.g[b * kTaps + j];
        for (int64_t o = 0; o < kOutputs; ++o) sum[o] += half[j][o] * g;
      }
      for (int64_t o = 0; o < count; ++o) u[(a * t + b) * plane + o] = static_cast<float>(sum[o]);
    }
  }
}

/// Of U, with a third dimension for the planes of a volume's window.
Shape transformed_shape(const Tensor& weights, int64_t t) {
  const Shape& shape = weights.shape();
  Shape result{t, t, shape[1], shape[0]};
  if (shape.size() == 5) result.insert(result.begin() + 2, shape[2]);
  return result;
}

/// U[a,b,c,o] = sum_ij G[a,i] G[b,j] w[o,c,i,j]; of a volume U[a,b,k,c,o] for each plane k of w.
Tensor transformed_weights(const Tensor& weights, const WinogradMatrices& matrices, int threads) {
  const int64_t outputs = weights.shape()[0], channels = weights.shape()[1], t = matrices.t;
  const bool volume = weights.shape().size() == 5;
  const int64_t planes = volume ? weights.shape()[2] : 1;
  Tensor result(DType::kF32, transformed_shape(weights, t));
  const float* const w = weights.data<float>();
  // A thread is begun for no less than it transforms in some hundred microseconds.
  constexpr int64_t kFiltersOfThread = int64_t{1} << 13;
  const int64_t filters = planes * channels;  // of each output
  threads = static_cast<int>(std::min<int64_t>(threads, outputs * filters / kFiltersOfThread));
  for_each_task(threads, ceil_div(outputs, kOutputs), [&](size_t block, size_t) {
    const int64_t begin = static_cast<int64_t>(block) * kOutputs;
    const int64_t count = std::min(kOutputs, outputs - begin);
    Taps taps = {};
    for (int64_t filter = 0; filter < filters; ++filter) {
      for (int64_t o = 0; o < count; ++o) {
        const float* const own = w + ((begin + o) * filters + filter) * kTaps * kTaps;
        for (int64_t tap = 0; tap < kTaps * kTaps; ++tap) taps[tap][o] = double(own[tap]);
      }
      const int64_t at = filter % planes * channels + filter / planes;  // [plane, channel]
      transform_block(taps, matrices, filters * outputs, count,
                      result.data<float>() + at * outputs + begin);
    }
  });
  return result;
}

/// A sum of products of operands over its last axes.
class ProductSum {
 public:
  Expr axis(const char* name, int64_t extent) { return add(name, extent, AxisKind::kParallel); }
  Expr sum_over(const char* name, int64_t extent) {
    compute_.combiner = graph::Combiner::kSum;
    return add(name, extent, AxisKind::kReduction);
  }
  void operand(ValueId value, std::vector<Expr> map, bool padded = false) {
    graph::Operand operand;
    operand.map.exprs = std::move(map);
    operand.guarded = padded;
    compute_.operands.push_back(std::move(operand));
    inputs_.push_back(value);
  }
  ValueId emit(Graph& graph, const Node& node, const std::string& suffix, int64_t work_flops = 0) {
    int product = compute_.body.operand(0, DType::kF32);
    for (int i = 1; i < static_cast<int>(inputs_.size()); ++i) {
      const int factor = compute_.body.operand(i, DType::kF32);
      product = compute_.body.apply(graph::ScalarOp::kMul, product, factor);
    }
    const ValueId value =
        graph.add_compute(node.name + suffix, std::move(compute_), inputs_, node.origin);
    graph.nodes[graph.values[value].producer].work_flops = work_flops;
    return value;
  }

 private:
  Expr add(const char* name, int64_t extent, AxisKind kind) {
    compute_.space.axes.push_back({name, extent, kind});
    return Expr::variable(static_cast<int>(compute_.space.axes.size()) - 1);
  }

  Compute compute_;
  std::vector<ValueId> inputs_;
};

/// One convolution as the three operators.
class Expansion {
 public:
  Expansion(Graph& graph, const Node& node, const Convolution& conv, int m,
            const WinogradOptions& options)
      : graph_(graph),
        node_(node),
        conv_(conv),
        shape_(conv.shape),
        matrices_(winograd_matrices(m)),
        m_(m),
        t_(matrices_.t),
        options_(options),
        tile_rows_(ceil_div(conv.shape.height, m)),
        tile_columns_(ceil_div(conv.shape.width, m)) {}

  ValueId run() {
    const ValueId x = node_.inputs[conv_.contraction.x];
    const std::string weights =
        graph_.values[node_.inputs[conv_.contraction.weights]].name + ".winograd";
    a_ = graph_.add_constant(node_.name + ".A", float_tensor({m_, t_}, matrices_.a));
    b_ = graph_.add_constant(node_.name + ".B", float_tensor({t_, t_}, matrices_.b));
    const Tensor& taps = conv_.contraction.weights_tensor;
    u_ = graph_.add_constant(weights, options_.transforms_weights
                                          ? transformed_weights(taps, matrices_, options_.threads)
                                          : Tensor(DType::kF32, transformed_shape(taps, t_)));
    return result(products(tiles(x)));
  }

 private:
  int64_t batch() const { return shape_.batch / (conv_.depth ? conv_.depth->results : 1); }

  ValueId tiles(ValueId x) {
    ProductSum sum;
    const Expr a = sum.axis("a", t_), b = sum.axis("b", t_), n = sum.axis("n", batch());
    std::vector<Expr> read{n};
    if (conv_.depth) read.push_back(sum.axis("z", conv_.depth->planes));
    const Expr ty = sum.axis("ty", tile_rows_), tx = sum.axis("tx", tile_columns_);
    read.insert(read.begin() + 1, sum.axis("c", shape_.channels));
    const Expr i = sum.sum_over("i", t_), j = sum.sum_over("j", t_);
    read.push_back(Expr(m_) * ty + i - Expr(conv_.top));
    read.push_back(Expr(m_) * tx + j - Expr(conv_.left));
    sum.operand(x, std::move(read), true);
    sum.operand(b_, {a, i});
    sum.operand(b_, {b, j});
    return sum.emit(graph_, node_, ".tiles");
  }

  ValueId products(ValueId tiles) {
    ProductSum sum;
    const Expr a = sum.axis("a", t_), b = sum.axis("b", t_), n = sum.axis("n", batch());
    std::vector<Expr> read{a, b, n}, weights{a, b};
    const auto& depth = conv_.depth;
    Expr plane(depth ? depth->plane.constant : 0);
    if (depth) plane = plane + coefficient(depth->z) * sum.axis("z", depth->results);
    const Expr ty = sum.axis("ty", tile_rows_), tx = sum.axis("tx", tile_columns_);
    const Expr o = sum.axis("o", shape_.outputs);
    if (depth) {
      const Expr tap = sum.sum_over("kz", shape_.planes);
      read.push_back(plane + coefficient(depth->tap) * tap);
      weights.push_back(tap);
    }
    const Expr c = sum.sum_over("c", shape_.channels);
    read.insert(read.end(), {ty, tx, c});
    weights.insert(weights.end(), {c, o});
    sum.operand(tiles, std::move(read), depth && depth->leaves);
    sum.operand(u_, std::move(weights));
    const int64_t points = shape_.batch * shape_.outputs * shape_.height * shape_.width;
    return sum.emit(graph_, node_, ".products",
                    2 * kTaps * kTaps * shape_.planes * shape_.channels * points);
  }

  Expr coefficient(int axis) const { return Expr(conv_.depth->plane.coefficient(axis)); }

  ValueId result(ValueId products) {
    ProductSum sum;
    const Expr n = sum.axis("n", batch()), o = sum.axis("o", shape_.outputs);
    std::vector<Expr> read{n};
    if (conv_.depth) read.push_back(sum.axis("z", conv_.depth->results));
    const Expr y = sum.axis("y", shape_.height), x = sum.axis("x", shape_.width);
    const Expr a = sum.sum_over("a", t_), b = sum.sum_over("b", t_);
    read.insert(read.begin(), {a, b});
    read.insert(read.end(), {floor_div(y, Expr(m_)), floor_div(x, Expr(m_)), o});
    sum.operand(products, std::move(read));
    sum.operand(a_, {mod(y, Expr(m_)), a});
    sum.operand(a_, {mod(x, Expr(m_)), b});
    return sum.emit(graph_, node_, "");
  }

  Graph& graph_;
  const Node& node_;
  const Convolution& conv_;
  const WinogradShape shape_;
  const WinogradMatrices matrices_;
  int64_t m_, t_;
  const WinogradOptions& options_;
  int64_t tile_rows_, tile_columns_;
  ValueId a_ = -1, b_ = -1, u_ = -1;
};

bool rewrite_convolution(Rebuild& rebuild, const Node& old_node, const WinogradOptions& options) {
  Graph& graph = rebuild.graph();
  Node node = old_node;
  node.inputs = rebuild.mapped(old_node.inputs);
  const std::optional<Convolution> conv = match_convolution(graph, node);
  if (!conv) return false;
  const int m = options.output_tile(conv->shape);
  if (m == 0) return false;
  rebuild.replace(old_node.outputs[0], Expansion(graph, node, *conv, m, options).run());
  return true;
}

}  // namespace

WinogradMatrices winograd_matrices(int m) {
  CORF_ASSERT(m == 2 || m == 4 || m == 6, "Winograd's output tile is 2, 4 or 6");
  static constexpr std::array<double, 7> kPoints{0, 1, -1, 2, -2, 0.5, -0.5};
  WinogradMatrices result;
  result.m = m;
  result.t = m + kTaps - 1;
  const auto t = static_cast<size_t>(result.t), finite = t - 1;
  const std::span<const double> points(kPoints.data(), finite);
  result.a.assign(static_cast<size_t>(m) * t, 0);
  result.b.assign(t * t, 0);
  result.g.assign(t * kTaps, 0);
  for (size_t p = 0; p < t; ++p) {
    // Without any of the points for the one at infinity. Rows begin with a one, which costs no
    // multiplication; the quotients are exact.
    std::vector<double> row = polynomial(points, p);
    const double first = *std::find_if(row.begin(), row.end(), [](double x) { return x != 0; });
    for (double& entry : row) entry /= first;
    std::copy(row.begin(), row.end(), result.b.begin() + static_cast<std::ptrdiff_t>(p * t));
    if (p == finite) {
      result.a[static_cast<size_t>(m) * t - 1] = 1;
      result.g[t * kTaps - 1] = first;
      continue;
    }
    double scale = 1 / first;
    for (size_t s = 0; s < finite; ++s) scale *= s == p ? 1 : points[p] - points[s];
    double power = 1;
    for (size_t i = 0; i < std::max<size_t>(static_cast<size_t>(m), kTaps); ++i) {
      if (i < static_cast<size_t>(m)) result.a[i * t + p] = power;
      if (i < kTaps) result.g[p * kTaps + i] = power / scale;
      power *= points[p];
    }
  }
  return result;
}

double winograd_error_bound(int m, int64_t channels) {
  const WinogradMatrices matrices = winograd_matrices(m);
  auto magnitude = [](const std::vector<double>& matrix, int64_t row, int64_t columns) {
    double sum = 0;
    for (int64_t i = 0; i < columns; ++i) sum += std::abs(matrix[row * columns + i]);
    return sum;
  };
  double growth = 0;
  for (int64_t i = 0; i < m; ++i) {
    double sum = 0;
    for (int64_t p = 0; p < matrices.t; ++p) {
      sum += std::abs(matrices.a[i * matrices.t + p]) * magnitude(matrices.g, p, kTaps) *
             magnitude(matrices.b, p, matrices.t);
    }
    growth = std::max(growth, sum);
  }
  const double roundings = double(channels + 4 * matrices.t + 2);
  const double unit = std::ldexp(1.0, -24);
  return roundings * unit / (1 - roundings * unit) * growth * growth;
}

double typical_error(int m) { return m == 2 ? 1e-6 : m == 4 ? 5e-6 : 5e-5; }

Graph lone_convolution(const WinogradShape& shape) {
  Shape read{shape.batch, shape.channels, shape.height, shape.width};
  Shape taps{shape.outputs, shape.channels, kTaps, kTaps};
  if (shape.planes > 1) {
    read = {1, shape.channels, shape.batch, shape.height, shape.width};
    taps.insert(taps.begin() + 2, shape.planes);
  }
  graph::Window window;
  for (size_t d = 2; d < taps.size(); ++d) {
    window.kernel.push_back(taps[d]);
    window.strides.push_back(1);
    window.dilations.push_back(1);
    window.pads_begin.push_back((taps[d] - 1) / 2);
    window.pads_end.push_back(taps[d] / 2);
  }
  Graph graph;
  auto activation = [&](const char* name, ValueId x) {
    return graph::elementwise(
        graph, name, {x}, [](graph::ScalarBody& body, const std::vector<int>& in) {
          return body.apply(graph::ScalarOp::kMax, in[0], body.constant(0, DType::kF32));
        });
  };
  const ValueId x = activation("before", graph.add_input("x", DType::kF32, read));
  const ValueId w = graph.add_constant("weights", Tensor(DType::kF32, taps));
  graph.outputs = {activation("behind", graph::conv(graph, "convolution", x, w, window, 1))};
  graph.output_names = {"y"};
  return graph;
}

Result<Graph> winograd(const Graph& graph, const WinogradOptions& options) {
  return without_dead_nodes(rebuild(graph, [&](Rebuild& rebuild, const Node& node) {
    return rewrite_convolution(rebuild, node, options);
  }));
}

}  // namespace corf::rewrite
