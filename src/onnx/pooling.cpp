#include "onnx/pooling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "graph/identity_of.h"
#include "onnx/compose.h"
#include "onnx/windows.h"
#include "support/budget.h"
#include "support/checked.h"

namespace corf::onnx {
namespace {

using graph::Combiner;

Result<WindowExtents> read_pool_window(NodeImport& node, ValueId x) {
  Shape shape = node.shape(x);
  if (shape.size() < 3) {
    return node.invalid("input {} must have rank 3 at least", to_string(shape));
  }
  Shape spatial(shape.begin() + 2, shape.end());
  auto kernel = node.ints_attribute("kernel_shape");
  if (kernel.size() != spatial.size()) {
    return node.invalid("attribute 'kernel_shape' has {} values for {} spatial dimensions",
                        kernel.size(), spatial.size());
  }
  return read_window(node, spatial, kernel, node.int_attribute("ceil_mode", 0) != 0);
}

Result<WindowExtents> read_pool_window(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  return read_pool_window(node, node.input(0));
}

/// Elements that a result takes if one dimension is pooled after the other, the last one first:
/// those before it are as long as they were.
double separate_work(const WindowExtents& window, const Shape& spatial) {
  double work = 0, longer = 1;
  for (size_t d = 0; d < spatial.size(); ++d) {
    work += static_cast<double>(window.window.kernel[d]) * longer;
    longer *= static_cast<double>(spatial[d]) / static_cast<double>(window.output[d]);
  }
  return work;
}

/// Large windows are pooled one dimension after the other.
ValueId pool(NodeImport& node, const std::string& name, ValueId x, Combiner combiner,
             const WindowExtents& window) {
  const Shape shape = node.shape(x);
  const Shape spatial(shape.begin() + 2, shape.end());
  const graph::Window& all = window.window;
  double at_once = 1;
  for (int64_t kernel : all.kernel) at_once *= static_cast<double>(kernel);
  const bool is_empty = num_elems(window.output) == 0 || num_elems(spatial) == 0;
  if (is_empty || 2 * separate_work(window, spatial) > at_once) {
    return graph::pool(node.graph, name, x, combiner, all, window.output);
  }
  Shape output = spatial;
  for (size_t d = spatial.size(); d-- > 0;) {
    const Shape ones(spatial.size(), 1), zeros(spatial.size(), 0);
    graph::Window along = {ones, ones, ones, zeros, zeros};
    along.kernel[d] = all.kernel[d];
    along.strides[d] = all.strides[d];
    along.dilations[d] = all.dilations[d];
    along.pads_begin[d] = all.pads_begin[d];
    along.pads_end[d] = all.pads_end[d];
    output[d] = window.output[d];
    const std::string part = d == 0 ? name : fmt::format("{}/axis{}", name, d + 2);
    x = graph::pool(node.graph, part, x, combiner, along, output);
  }
  return x;
}

/// Which of its window's elements each maximum is, the first one if several are equal: windows are
/// one axis, as arg-max has it.
ValueId window_arg_max(NodeImport& node, ValueId x, const WindowExtents& window) {
  const Shape shape = node.shape(x);
  const size_t spatial = window.output.size();
  const graph::Window& along = window.window;
  graph::Compute compute;
  graph::Operand operand;
  auto parallel = [&](std::string name, int64_t extent) {
    compute.space.axes.push_back({std::move(name), extent, index::AxisKind::kParallel});
    return index::Expr::variable(static_cast<int>(compute.space.axes.size()) - 1);
  };
  operand.map.exprs = {parallel("n", shape[0]), parallel("c", shape[1])};
  std::vector<index::Expr> starts;
  for (size_t d = 0; d < spatial; ++d) {
    const index::Expr o = parallel(fmt::format("o{}", d), window.output[d]);
    starts.push_back(index::Expr(along.strides[d]) * o - along.pads_begin[d]);
  }
  compute.space.axes.push_back({"k", num_elems(along.kernel), index::AxisKind::kReduction});
  const index::Expr k = index::Expr::variable(static_cast<int>(spatial) + 2);
  const std::vector<int64_t> steps = row_major_strides(along.kernel);
  for (size_t d = 0; d < spatial; ++d) {
    const index::Expr tap = mod(floor_div(k, steps[d]), along.kernel[d]);
    operand.map.exprs.push_back(starts[d] + index::Expr(along.dilations[d]) * tap);
  }
  operand.guarded = true;
  const graph::ScalarNode lowest = graph::identity_of(Combiner::kMax, node.dtype(x));
  operand.padding = is_float(lowest.dtype) ? lowest.f64 : static_cast<double>(lowest.i64);
  compute.operands = {operand};
  compute.body.operand(0, node.dtype(x));
  compute.combiner = Combiner::kArgMax;
  return node.graph.add_compute(node.part("window_position"), std::move(compute), {x});
}

/// Where in the whole input each maximum lies, counted in row-major order, or with the spatial
/// dimensions in column-major order.
ValueId maximum_indices(NodeImport& node, ValueId x, const WindowExtents& window,
                        bool column_major) {
  const Shape shape = node.shape(x);
  const graph::Window& along = window.window;
  const size_t spatial = window.output.size();
  const std::vector<int64_t> taps = row_major_strides(along.kernel);
  std::vector<int64_t> strides = row_major_strides(Shape(shape.begin() + 2, shape.end()));
  if (column_major) {
    int64_t stride = 1;
    for (size_t d = 0; d < spatial; ++d) {
      strides[d] = stride;
      stride *= shape[d + 2];
    }
  }
  const int64_t image = num_elems(Shape(shape.begin() + 2, shape.end()));
  const ValueId positions = window_arg_max(node, x, window);
  auto body = [&](ScalarBody& b, const std::vector<int>& in) {
    auto number = [&](int64_t value) { return b.constant_i64(value, DType::kI64); };
    auto apply = [&](ScalarOp op, int x, int64_t y) { return b.apply(op, x, number(y)); };
    const int first = apply(ScalarOp::kMul, b.axis_index(0), shape[1]);
    int index = apply(ScalarOp::kMul, b.apply(ScalarOp::kAdd, first, b.axis_index(1)), image);
    for (size_t d = 0; d < spatial; ++d) {
      const int tap = apply(ScalarOp::kMod, apply(ScalarOp::kDiv, in[0], taps[d]), along.kernel[d]);
      const int start =
          apply(ScalarOp::kMul, b.axis_index(static_cast<int>(d) + 2), along.strides[d]);
      int at = b.apply(ScalarOp::kAdd, start, apply(ScalarOp::kMul, tap, along.dilations[d]));
      at = apply(ScalarOp::kSub, at, along.pads_begin[d]);
      // In a window that holds nothing above the padding's value, padding may come first.
      at = apply(ScalarOp::kMin, apply(ScalarOp::kMax, at, 0), shape[d + 2] - 1);
      index = b.apply(ScalarOp::kAdd, index, apply(ScalarOp::kMul, at, strides[d]));
    }
    return index;
  };
  return per_element(node.graph, node.part("indices"), {positions}, body);
}

Status import_max_pool(NodeImport& node) {
  CORF_ASSIGN(WindowExtents window, read_pool_window(node));
  if (node.wants_output(1)) {
    constexpr int64_t kMostTaps = int64_t{1} << 32;
    const auto taps = checked_num_elems(window.window.kernel);
    if (!taps.ok() || *taps > kMostTaps) {
      return node.invalid("kernel_shape {} is too large", to_string(window.window.kernel));
    }
    const bool column_major = node.int_attribute("storage_order", 0) != 0;
    node.set_output(1, maximum_indices(node, node.input(0), window, column_major));
  }
  node.set_output(pool(node, node.name(), node.input(0), Combiner::kMax, window));
  return {};
}

/// The channels come last.
Status import_nhwc_max_pool(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  const auto largest = [&](ValueId image) -> Result<ValueId> {
    CORF_ASSIGN(const WindowExtents window, read_pool_window(node, image));
    return pool(node, node.part("largest"), image, Combiner::kMax, window);
  };
  CORF_ASSIGN(const ValueId y, with_channels_first(node, node.input(0), largest));
  node.set_output(y);
  return {};
}

/// How many elements each window of one spatial dimension covers.
std::vector<double> window_counts(const graph::Window& window, size_t dim, int64_t extent,
                                  int64_t num_windows, bool include_padding) {
  const HeldBytes held(sizeof(double) * static_cast<double>(num_windows));
  std::vector<double> counts(num_windows);
  int64_t lo = include_padding ? -window.pads_begin[dim] : 0;
  int64_t hi = include_padding ? extent + window.pads_end[dim] : extent;
  int64_t step = window.dilations[dim];
  for (int64_t o = 0; o < num_windows; ++o) {
    // Elements first + k * step, 0 <= k < kernel, that lie in [lo, hi).
    look_at_budget();
    int64_t first = o * window.strides[dim] - window.pads_begin[dim];
    int64_t begin = std::clamp<int64_t>(ceil_div(lo - first, step), 0, window.kernel[dim]);
    int64_t end = std::clamp<int64_t>(ceil_div(hi - first, step), begin, window.kernel[dim]);
    counts[o] = static_cast<double>(end - begin);
  }
  return counts;
}

/// The sums over their windows' counts: products with a table, one for all dimensions together
/// where it is not too large.
ValueId divide_by_counts(NodeImport& node, const std::string& result, ValueId sum,
                         const std::vector<std::vector<double>>& counts) {
  constexpr int64_t kMostElems = 1 << 20;
  const DType dtype = node.dtype(sum);
  const Shape shape = node.shape(sum);
  const Shape spatial(shape.begin() + 2, shape.end());
  const auto scaled = [&](const std::string& name, ValueId x, const std::string& table_name,
                          const Shape& extents, const auto& reciprocal) {
    const ValueId table =
        node.graph.add_constant(node.part(table_name), filled(dtype, extents, reciprocal));
    return binary(node.graph, name, ScalarOp::kMul, x, table);
  };
  if (num_elems(spatial) <= kMostElems) {
    const std::vector<int64_t> strides = row_major_strides(spatial);
    return scaled(result, sum, "reciprocal_counts", spatial, [&](int64_t i) {
      double reciprocal = 1;
      for (size_t d = 0; d < spatial.size(); ++d) {
        reciprocal /= counts[d][i / strides[d] % spatial[d]];
      }
      return reciprocal;
    });
  }
  for (size_t d = 0; d < spatial.size(); ++d) {
    Shape along(spatial.size(), 1);
    along[d] = spatial[d];
    const std::string name = d + 1 == spatial.size() ? result : node.part(fmt::format("axis{}", d));
    sum = scaled(name, sum, fmt::format("reciprocal_counts{}", d), along,
                 [&](int64_t i) { return 1 / counts[d][i]; });
  }
  return sum;
}

}  // namespace

Result<ValueId> average_pool(NodeImport& node, const std::string& name, ValueId x) {
  CORF_ASSIGN(WindowExtents window, read_pool_window(node, x));
  bool include_padding = node.int_attribute("count_include_pad", 0) != 0;
  Shape shape = node.shape(x);
  std::vector<std::vector<double>> counts;  // of elements covered, by dimension and position
  bool uniform = true;
  for (size_t dim = 0; dim < window.output.size(); ++dim) {
    counts.push_back(
        window_counts(window.window, dim, shape[dim + 2], window.output[dim], include_padding));
    for (double& count : counts.back()) count = std::max(count, 1.0);
    uniform = uniform && std::adjacent_find(counts.back().begin(), counts.back().end(),
                                            std::not_equal_to<>()) == counts.back().end();
  }
  const ValueId sum = pool(node, node.part("sum"), x, Combiner::kSum, window);
  if (uniform) {
    double reciprocal = 1;
    for (const std::vector<double>& along : counts) reciprocal /= along.empty() ? 1 : along[0];
    return multiply(node.graph, name, sum, reciprocal);
  }
  return divide_by_counts(node, name, sum, counts);
}

namespace {

Status import_average_pool(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  CORF_RETURN_IF_ERROR(require_float(node, node.input(0)));
  CORF_ASSIGN(const ValueId y, average_pool(node, node.name(), node.input(0)));
  node.set_output(y);
  return {};
}

/// |x|^p with the powers that are common spelt out.
ValueId abs_power(NodeImport& node, ValueId x, double p) {
  DType dtype = node.dtype(x);
  return per_element(node.graph, node.part("power"), {x},
                     [&](ScalarBody& b, const std::vector<int>& in) {
                       if (p == 2) return b.apply(ScalarOp::kMul, in[0], in[0]);
                       int abs = b.apply(ScalarOp::kAbs, in[0]);
                       return p == 1 ? abs : b.apply(ScalarOp::kPow, abs, number(b, p, dtype));
                     });
}

ValueId root(NodeImport& node, ValueId sum, double p) {
  DType dtype = node.dtype(sum);
  if (p == 1) return sum;
  if (p == 2) return unary(node.graph, node.name(), ScalarOp::kSqrt, sum);
  return per_element(node.graph, node.name(), {sum},
                     [&](ScalarBody& b, const std::vector<int>& in) {
                       return b.apply(ScalarOp::kPow, in[0], number(b, 1 / p, dtype));
                     });
}

/// The exponent, a float in the first version. Errors: kInvalidModel below 1.
Result<double> read_exponent(NodeImport& node) {
  double p = node.opset() < 2 ? node.float_attribute("p", 2)
                              : static_cast<double>(node.int_attribute("p", 2));
  if (!(p >= 1)) return node.invalid("attribute 'p' is {}", p);
  return p;
}

Status import_lp_pool(NodeImport& node) {
  CORF_ASSIGN(WindowExtents window, read_pool_window(node));
  CORF_RETURN_IF_ERROR(require_float(node, node.input(0)));
  CORF_ASSIGN(double p, read_exponent(node));
  ValueId power = abs_power(node, node.input(0), p);
  ValueId sum = pool(node, node.part("sum"), power, Combiner::kSum, window);
  node.set_output(root(node, sum, p));
  return {};
}

Result<std::vector<int>> spatial_axes(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  int rank = node.rank(node.input(0));
  if (rank < 3) return node.invalid("input of rank {}; 3 at least is required", rank);
  std::vector<int> axes(rank - 2);
  std::iota(axes.begin(), axes.end(), 2);
  return axes;
}

Status import_global_average_pool(NodeImport& node) {
  CORF_ASSIGN(auto axes, spatial_axes(node));
  CORF_RETURN_IF_ERROR(require_float(node, node.input(0)));
  node.set_output(mean(node.graph, node.name(), node.input(0), axes));
  return {};
}

Status import_global_max_pool(NodeImport& node) {
  CORF_ASSIGN(auto axes, spatial_axes(node));
  node.set_output(
      graph::reduce(node.graph, node.name(), node.input(0), Combiner::kMax, axes, true));
  return {};
}

Status import_global_lp_pool(NodeImport& node) {
  CORF_ASSIGN(auto axes, spatial_axes(node));
  CORF_RETURN_IF_ERROR(require_float(node, node.input(0)));
  CORF_ASSIGN(double p, read_exponent(node));
  ValueId power = abs_power(node, node.input(0), p);
  ValueId sum = graph::reduce(node.graph, node.part("sum"), power, Combiner::kSum, axes, true);
  node.set_output(root(node, sum, p));
  return {};
}

constexpr Operator kOperators[] = {
    {"AveragePool", 1, import_average_pool},
    {"GlobalAveragePool", 1, import_global_average_pool},
    {"GlobalLpPool", 1, import_global_lp_pool},
    {"GlobalMaxPool", 1, import_global_max_pool},
    {"LpPool", 1, import_lp_pool},
    {"MaxPool", 1, import_max_pool},
    {"com.microsoft.NhwcMaxPool", 0, import_nhwc_max_pool},
};

}  // namespace

std::span<const Operator> pooling_operators() { return kOperators; }

}  // namespace corf::onnx
