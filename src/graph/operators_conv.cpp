#include <algorithm>

#include "graph/operators.h"
#include "support/assert.h"
#include "support/checked.h"

namespace corf::graph {

using index::Axis;
using index::AxisKind;
using index::Expr;

namespace {

Expr add_axis(Compute& compute, std::string name, int64_t extent, AxisKind kind) {
  compute.space.axes.push_back({std::move(name), extent, kind});
  return Expr::variable(static_cast<int>(compute.space.axes.size()) - 1);
}

/// "oh", "kw" for up to three spatial dimensions, numbered beyond.
std::string axis_name(char kind, size_t dimension, size_t spatial) {
  if (spatial <= 3) return std::string{kind, "dhw"[dimension + 3 - spatial]};
  return std::string{kind} + std::to_string(dimension);
}

void multiply(Compute& compute, DType x, DType w) {
  int a = compute.body.operand(0, x);
  int b = compute.body.operand(1, w);
  compute.body.apply(ScalarOp::kMul, a, b);
  compute.combiner = Combiner::kSum;
}

/// w[..., k] with `dilation - 1` zeros between the taps of each kernel dimension.
ValueId dilate_kernel(Graph& graph, const std::string& name, ValueId w,
                      const std::vector<int64_t>& dilations) {
  const Value& value = graph.values[w];
  Compute compute;
  Operand operand;
  operand.guarded = true;
  for (size_t d = 0; d < value.shape.size(); ++d) {
    int64_t extent = value.shape[d];
    int64_t dilation = d < 2 ? 1 : dilations[d - 2];
    Expr v = add_axis(compute, "d" + std::to_string(d), (extent - 1) * dilation + 1,
                      AxisKind::kParallel);
    // Between the taps the coordinate lies outside of the kernel, which reads as zero.
    operand.map.exprs.push_back(floor_div(v, Expr(dilation)) +
                                Expr(extent) * mod(v, Expr(dilation)));
  }
  compute.operands = {operand};
  compute.body.operand(0, value.dtype);
  return graph.add_compute(name + ":dilated", std::move(compute), {w}, "ConvTranspose");
}

}  // namespace

ValueId conv(Graph& graph, std::string name, ValueId x, ValueId w, const Window& window,
             int64_t groups) {
  const Shape& x_shape = graph.values[x].shape;
  const Shape& w_shape = graph.values[w].shape;
  size_t spatial = window.kernel.size();
  CORF_ASSERT(x_shape.size() == spatial + 2 && w_shape.size() == spatial + 2,
              "a convolution's window has the rank of its image");
  int64_t channels = x_shape[1], outputs = w_shape[0], group_channels = w_shape[1];
  CORF_ASSERT(groups > 0 && channels == group_channels * groups && outputs % groups == 0,
              "a convolution's channels divide into its groups");

  Compute compute;
  Expr n = add_axis(compute, "n", x_shape[0], AxisKind::kParallel);
  Expr m = add_axis(compute, "m", outputs, AxisKind::kParallel);
  std::vector<Expr> out;
  for (size_t i = 0; i < spatial; ++i) {
    int64_t covered = (window.kernel[i] - 1) * window.dilations[i] + 1;
    int64_t room = x_shape[i + 2] + window.pads_begin[i] + window.pads_end[i] - covered;
    CORF_ASSERT(window.kernel[i] == w_shape[i + 2] && room >= 0, "the window fits the image");
    out.push_back(add_axis(compute, axis_name('o', i, spatial), room / window.strides[i] + 1,
                           AxisKind::kParallel));
  }
  bool depthwise = group_channels == 1 && groups > 1;
  Expr c = depthwise ? Expr(0) : add_axis(compute, "c", group_channels, AxisKind::kReduction);
  Expr group = groups == 1 || outputs == 0 ? Expr(0) : floor_div(m, Expr(outputs / groups));

  Operand x_operand, w_operand;
  x_operand.map.exprs = {n, group * Expr(group_channels) + c};
  w_operand.map.exprs = {m, c};
  for (size_t i = 0; i < spatial; ++i) {
    Expr k = add_axis(compute, axis_name('k', i, spatial), window.kernel[i], AxisKind::kReduction);
    x_operand.map.exprs.push_back(Expr(window.strides[i]) * out[i] + Expr(window.dilations[i]) * k -
                                  Expr(window.pads_begin[i]));
    w_operand.map.exprs.push_back(k);
    x_operand.guarded |= window.pads_begin[i] != 0 || window.pads_end[i] != 0;
  }
  compute.operands = {x_operand, w_operand};
  multiply(compute, graph.values[x].dtype, graph.values[w].dtype);
  return graph.add_compute(std::move(name), std::move(compute), {x, w}, "Conv");
}

// Output coordinate o of the unpadded result is stride * q + r. Only the taps stride * j + r reach
// it, from the inputs q - j: so each phase r is a plain convolution of a part of the kernel.
ValueId conv_transpose(Graph& graph, std::string name, ValueId x, ValueId w, const Window& window,
                       int64_t groups, const std::vector<int64_t>& output_extents) {
  size_t spatial = window.kernel.size();
  CORF_ASSERT(graph.values[x].shape.size() == spatial + 2 &&
                  graph.values[w].shape.size() == spatial + 2 && output_extents.size() == spatial,
              "a convolution's window has the rank of its image");
  bool dilated = std::any_of(window.dilations.begin(), window.dilations.end(),
                             [](int64_t dilation) { return dilation != 1; });
  if (dilated) w = dilate_kernel(graph, name, w, window.dilations);
  const Shape x_shape = graph.values[x].shape;
  const Shape w_shape = graph.values[w].shape;
  int64_t channels = x_shape[1], group_outputs = w_shape[1];
  CORF_ASSERT(groups > 0 && channels == w_shape[0] && channels % groups == 0,
              "a convolution's channels divide into its groups");
  int64_t group_channels = channels / groups, outputs = group_outputs * groups;

  Compute compute;
  Expr n = add_axis(compute, "n", x_shape[0], AxisKind::kParallel);
  Expr m = add_axis(compute, "m", outputs, AxisKind::kParallel);
  std::vector<Expr> quotients, remainders;
  Shape joined = {x_shape[0], outputs};
  for (size_t i = 0; i < spatial; ++i) {
    int64_t stride = window.strides[i];
    int64_t quotient = ceil_div(window.pads_begin[i] + output_extents[i], stride);
    std::string q = axis_name('o', i, spatial);
    quotients.push_back(add_axis(compute, q, quotient, AxisKind::kParallel));
    remainders.push_back(add_axis(compute, q + "_phase", stride, AxisKind::kParallel));
    joined.push_back(quotient * stride);
  }
  bool depthwise = group_channels == 1 && groups > 1;
  Expr c = depthwise ? Expr(0) : add_axis(compute, "c", group_channels, AxisKind::kReduction);
  const bool is_split = groups > 1 && group_outputs > 0;
  Expr group = is_split ? floor_div(m, Expr(group_outputs)) : Expr(0);
  Expr channel = group * Expr(group_channels) + c;

  Operand x_operand, w_operand;
  x_operand.map.exprs = {n, channel};
  w_operand.map.exprs = {channel, is_split ? mod(m, Expr(group_outputs)) : m};
  for (size_t i = 0; i < spatial; ++i) {
    int64_t stride = window.strides[i], kernel = w_shape[i + 2];
    int64_t taps = ceil_div(kernel, stride);
    Expr j = add_axis(compute, axis_name('k', i, spatial), taps, AxisKind::kReduction);
    x_operand.map.exprs.push_back(quotients[i] - j);
    w_operand.map.exprs.push_back(Expr(stride) * j + remainders[i]);
    x_operand.guarded |= taps > 1 || joined[i + 2] / stride > x_shape[i + 2];
    w_operand.guarded |= taps * stride > kernel;
  }
  compute.operands = {x_operand, w_operand};
  multiply(compute, graph.values[x].dtype, graph.values[w].dtype);
  ValueId phases = graph.add_compute(name + ":phases", std::move(compute), {x, w}, "ConvTranspose");

  Shape output = {x_shape[0], outputs};
  output.insert(output.end(), output_extents.begin(), output_extents.end());
  if (output == joined) {
    return graph.add_view(std::move(name), Reshape{}, {phases}, joined, "ConvTranspose");
  }
  ValueId whole = graph.add_view(name + ":joined", Reshape{}, {phases}, joined, "ConvTranspose");
  Slice slice{std::vector<int64_t>(output.size(), 0), std::vector<int64_t>(output.size(), 1)};
  for (size_t i = 0; i < spatial; ++i) slice.starts[i + 2] = window.pads_begin[i];
  return graph.add_view(std::move(name), std::move(slice), {whole}, output, "ConvTranspose");
}

}  // namespace corf::graph
