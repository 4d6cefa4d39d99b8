#include <algorithm>
#include <cmath>
#include <numeric>

#include "onnx/compose.h"
#include "onnx/resample.h"

namespace corf::onnx {
namespace {

using index::Expr;

/// What Resize and Upsample ask for, with one entry for each dimension of the input.
struct Request {
  std::vector<int64_t> output;
  std::vector<double> scales;
  std::vector<double> roi_begin, roi_end;  // as fractions of the input's extent
};

Status check_output(const NodeImport& node, const Request& request) {
  auto count = checked_num_elems(request.output);
  if (!count.ok()) return node.invalid("{}", count.error().message);
  constexpr int64_t kMaxElems = int64_t{1} << 32;
  if (*count > kMaxElems) {
    return node.unsupported("an output of shape {} is too large", to_string(request.output));
  }
  Shape from = node.shape(node.input(0));
  for (size_t d = 0; d < from.size(); ++d) {
    if (from[d] == 0 && request.output[d] != 0) return node.invalid("dimension {} is empty", d);
  }
  return {};
}

Status apply_scales(NodeImport& node, const std::vector<double>& scales,
                    const std::vector<int>& axes, Request& request) {
  if (scales.size() != axes.size()) {
    return node.invalid("{} scales for {} axes", scales.size(), axes.size());
  }
  for (size_t i = 0; i < axes.size(); ++i) {
    int64_t& extent = request.output[axes[i]];
    // The product as a float, as other runtimes compute it: 0.7f * 10 is to give 7.
    float product = static_cast<float>(scales[i]) * static_cast<float>(extent);
    if (!(scales[i] > 0) || !(product < 0x1p40F)) {
      return node.invalid("a scale of {}", scales[i]);
    }
    request.scales[axes[i]] = scales[i];
    extent = static_cast<int64_t>(std::floor(product));
  }
  return {};
}

Status apply_sizes(NodeImport& node, const std::vector<int64_t>& sizes,
                   const std::vector<int>& axes, Request& request) {
  if (sizes.size() != axes.size()) {
    return node.invalid("{} sizes for {} axes", sizes.size(), axes.size());
  }
  std::string policy = node.string_attribute("keep_aspect_ratio_policy", "stretch");
  if (policy != "stretch" && policy != "not_larger" && policy != "not_smaller") {
    return node.invalid("unknown keep_aspect_ratio_policy '{}'", policy);
  }
  double common = 0;
  for (size_t i = 0; i < axes.size(); ++i) {
    int64_t extent = request.output[axes[i]];
    constexpr int64_t kMaxExtent = int64_t{1} << 40;
    if (sizes[i] < 0 || sizes[i] > kMaxExtent || extent == 0) {
      return node.invalid("extent {} resized to {}", extent, sizes[i]);
    }
    double scale = static_cast<double>(sizes[i]) / static_cast<double>(extent);
    request.scales[axes[i]] = scale;
    if (i == 0) common = scale;
    common = policy == "not_larger" ? std::min(common, scale) : std::max(common, scale);
  }
  for (size_t i = 0; i < axes.size(); ++i) {
    int64_t& extent = request.output[axes[i]];
    if (policy == "stretch") {
      extent = sizes[i];
      continue;
    }
    const double product = std::floor(common * static_cast<double>(extent) + 0.5);
    if (!(product < 0x1p40)) return node.invalid("extent {} with a scale of {}", extent, common);
    request.scales[axes[i]] = common;
    extent = static_cast<int64_t>(product);
  }
  return {};
}

Result<Request> read_request(NodeImport& node) {
  Shape shape = node.shape(node.input(0));
  int rank = static_cast<int>(shape.size());
  Request request{shape, std::vector<double>(rank, 1), std::vector<double>(rank, 0),
                  std::vector<double>(rank, 1)};
  std::vector<int64_t> wanted_axes(rank);
  std::iota(wanted_axes.begin(), wanted_axes.end(), 0);
  wanted_axes = node.ints_attribute("axes", wanted_axes);
  CORF_RETURN_IF_ERROR(normal_axes(node, wanted_axes, rank));
  std::vector<int> axes;  // in the node's order, which scales and sizes follow
  for (int64_t axis : wanted_axes) axes.push_back(static_cast<int>(axis < 0 ? axis + rank : axis));

  bool upsample = node.op_type() == "Upsample";
  if (upsample && node.opset() < 7) {
    if (rank != 4) return node.invalid("input of rank {}, not 4", rank);
    const double height = node.float_attribute("height_scale", 0);
    const double width = node.float_attribute("width_scale", 0);
    CORF_RETURN_IF_ERROR(apply_scales(node, {1, 1, height, width}, axes, request));
    return request;
  }
  if (upsample && node.opset() < 9) {
    CORF_RETURN_IF_ERROR(apply_scales(node, node.floats_attribute("scales"), axes, request));
    return request;
  }
  int scales_input = upsample || node.opset() < 11 ? 1 : 2;
  auto given = [&](int i) { return node.has(i) && num_elems(node.shape(node.input(i))) > 0; };
  if (scales_input == 2 && given(1)) {
    CORF_ASSIGN(auto roi, node.known_floats(1, "roi"));
    if (roi.size() == 2 * axes.size()) {
      for (size_t i = 0; i < axes.size(); ++i) {
        request.roi_begin[axes[i]] = roi[i];
        request.roi_end[axes[i]] = roi[axes.size() + i];
      }
    }
  }
  if (given(scales_input)) {
    CORF_ASSIGN(auto scales, node.known_floats(scales_input, "scales"));
    CORF_RETURN_IF_ERROR(apply_scales(node, scales, axes, request));
  } else if (given(3)) {
    CORF_ASSIGN(auto sizes, node.known_ints(3, "sizes"));
    CORF_RETURN_IF_ERROR(apply_sizes(node, sizes, axes, request));
  } else {
    return node.invalid("it has neither scales nor sizes");
  }
  return request;
}

Result<Resampling> read_resampling(NodeImport& node) {
  Resampling how;
  bool old = node.op_type() == "Upsample" || node.opset() < 11;
  how.transform =
      node.string_attribute("coordinate_transformation_mode", old ? "asymmetric" : "half_pixel");
  how.rounding = node.string_attribute("nearest_mode", old ? "floor" : "round_prefer_floor");
  how.cubic_a = node.float_attribute("cubic_coeff_a", -0.75);
  how.exclude_outside = node.int_attribute("exclude_outside", 0) != 0;
  how.antialias = node.int_attribute("antialias", 0) != 0;
  std::string mode = node.string_attribute("mode", "nearest");
  if (mode == "nearest") {
    how.kernel = Resampling::Kernel::kNearest;
  } else if (mode == "linear" || mode == "bilinear") {
    how.kernel = Resampling::Kernel::kLinear;
  } else if (mode == "cubic") {
    how.kernel = Resampling::Kernel::kCubic;
  } else {
    return node.invalid("unknown mode '{}'", mode);
  }
  static constexpr std::string_view kTransforms[] = {
      "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
      "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize"};
  static constexpr std::string_view kRoundings[] = {"round_prefer_floor", "round_prefer_ceil",
                                                    "floor", "ceil"};
  if (std::find(std::begin(kTransforms), std::end(kTransforms), how.transform) ==
      std::end(kTransforms)) {
    return node.invalid("unknown coordinate_transformation_mode '{}'", how.transform);
  }
  if (std::find(std::begin(kRoundings), std::end(kRoundings), how.rounding) ==
      std::end(kRoundings)) {
    return node.invalid("unknown nearest_mode '{}'", how.rounding);
  }
  return how;
}

Tensor index_table(const std::vector<int64_t>& indices, Shape shape) {
  return make_tensor<int64_t>(std::move(shape), indices);
}

/// Nearest: one compute operator whose map rounds each coordinate, by arithmetic where that gives
/// the same positions, else through a table.
ValueId resample_nearest(NodeImport& node, const std::vector<AxisTaps>& taps, ValueId x,
                         const Shape& output) {
  graph::Compute compute;
  graph::Operand source;
  std::vector<graph::Operand> tables;
  std::vector<ValueId> inputs = {x};
  int rank = static_cast<int>(output.size());
  for (int d = 0; d < rank; ++d) {
    compute.space.axes.push_back({fmt::format("d{}", d), output[d], index::AxisKind::kParallel});
    if (taps[d].coordinate) {
      source.map.exprs.push_back(*taps[d].coordinate(Expr::variable(d), Expr(0)));
      continue;
    }
    ValueId table = node.graph.add_constant(node.part(fmt::format("positions{}", d)),
                                            index_table(taps[d].indices, {output[d]}));
    int operand = static_cast<int>(inputs.size());
    Expr held = Expr::variable(rank + operand);
    source.map.exprs.push_back(min(max(held, 0), node.shape(x)[d] - 1));
    graph::Operand positions;
    positions.map.exprs = {Expr::variable(d)};
    tables.push_back(positions);
    inputs.push_back(table);
  }
  compute.operands = {source};
  compute.operands.insert(compute.operands.end(), tables.begin(), tables.end());
  compute.body.operand(0, node.dtype(x));
  return node.graph.add_compute(node.name(), std::move(compute), inputs);
}

/// Weighted taps along one dimension: out[.. o ..] = sum over k of weight[o, k] * x[.. at(o, k)
/// ..].
ValueId resample_axis(NodeImport& node, std::string name, const AxisTaps& taps, ValueId x, int axis,
                      int64_t extent) {
  Shape shape = node.shape(x);
  int rank = static_cast<int>(shape.size());
  DType dtype = node.dtype(x);
  Shape table_shape = {extent, taps.num_taps};
  graph::Compute compute;
  for (int d = 0; d < rank; ++d) {
    int64_t axis_extent = d == axis ? extent : shape[d];
    compute.space.axes.push_back({fmt::format("d{}", d), axis_extent, index::AxisKind::kParallel});
  }
  compute.space.axes.push_back({"tap", taps.num_taps, index::AxisKind::kReduction});
  Expr position = Expr::variable(axis);
  Expr tap = Expr::variable(rank);
  graph::Operand source;
  source.map = index::IndexMap::identity(rank);
  graph::Operand weights;
  weights.map.exprs = {position, tap};
  ValueId weight_table = node.graph.add_constant(
      name + "/weights", filled(dtype, table_shape, [&](int64_t i) { return taps.weights[i]; }));
  std::vector<ValueId> inputs = {x, weight_table};
  if (taps.coordinate) {
    source.map.exprs[axis] = *taps.coordinate(position, tap);
    compute.operands = {source, weights};
  } else {
    inputs.push_back(
        node.graph.add_constant(name + "/positions", index_table(taps.indices, table_shape)));
    Expr held = Expr::variable(rank + 1 + 2);
    source.map.exprs[axis] = min(max(held, 0), shape[axis] - 1);
    compute.operands = {source, weights, weights};
  }
  int element = compute.body.operand(0, dtype);
  int weight = compute.body.operand(1, dtype);
  compute.body.apply(ScalarOp::kMul, element, weight);
  compute.combiner = graph::Combiner::kSum;
  return node.graph.add_compute(std::move(name), std::move(compute), inputs);
}

/// Where a position outside of the image is asked for, the extrapolation value.
ValueId extrapolate(NodeImport& node, const std::vector<AxisTaps>& taps, ValueId y, double value) {
  std::vector<ValueId> inputs = {y};
  Shape shape = node.shape(y);
  for (size_t d = 0; d < taps.size(); ++d) {
    if (std::find(taps[d].outside.begin(), taps[d].outside.end(), true) == taps[d].outside.end()) {
      continue;
    }
    Shape column(shape.size() - d, 1);
    column[0] = shape[d];
    Tensor mask = filled(DType::kBool, column, [&](int64_t i) { return taps[d].outside[i]; });
    inputs.push_back(node.graph.add_constant(node.part(fmt::format("outside{}", d)), mask));
  }
  if (inputs.size() == 1) return y;
  DType dtype = node.dtype(y);
  return per_element(node.graph, node.part("extrapolated"), inputs,
                     [&](ScalarBody& b, const std::vector<int>& in) {
                       int outside = in[1];
                       for (size_t i = 2; i < in.size(); ++i) {
                         outside = b.apply(ScalarOp::kOr, outside, in[i]);
                       }
                       return b.apply(ScalarOp::kSelect, outside, number(b, value, dtype), in[0]);
                     });
}

Status import_resize(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  CORF_ASSIGN(Request request, read_request(node));
  CORF_RETURN_IF_ERROR(check_output(node, request));
  CORF_ASSIGN(Resampling how, read_resampling(node));
  Shape from = node.shape(x);
  const bool nearest = how.kernel == Resampling::Kernel::kNearest;
  const DType dtype = node.dtype(x);
  if (!nearest && dtype == DType::kBool) {
    return node.unsupported("only mode 'nearest' is supported for bool");
  }
  const bool is_rounded = !nearest && !is_float(dtype);  // integers, weighed as floats
  if (is_rounded) {
    x = cast(node.graph, node.part("wide"), x, size_bytes(dtype) > 2 ? DType::kF64 : DType::kF32);
  }
  std::vector<AxisTaps> taps;
  bool identity = true;
  for (size_t d = 0; d < from.size(); ++d) {
    taps.push_back(find_taps(how, {from[d], request.output[d], request.scales[d],
                                   request.roi_begin[d], request.roi_end[d]}));
    identity = identity && taps.back().is_identity;
  }
  ValueId y = x;
  if (nearest && !identity) {
    y = resample_nearest(node, taps, x, request.output);
  } else if (!nearest) {
    size_t last = 0;
    for (size_t d = 0; d < taps.size(); ++d) last = taps[d].is_identity ? last : d;
    for (size_t d = 0; d < taps.size(); ++d) {
      if (taps[d].is_identity) continue;
      std::string name = d == last ? node.name() : node.part(fmt::format("axis{}", d));
      y = resample_axis(node, name, taps[d], y, static_cast<int>(d), request.output[d]);
    }
  }
  y = extrapolate(node, taps, y, node.float_attribute("extrapolation_value", 0));
  if (is_rounded) {
    y = per_element(node.graph, node.part("rounded"), {y},
                    [&](ScalarBody& b, const std::vector<int>& in) {
                      return b.cast(b.apply(ScalarOp::kRoundEven, in[0]), dtype);
                    });
  }
  node.set_output(y);
  return {};
}

constexpr Operator kOperators[] = {
    {"Resize", 10, import_resize},
    {"Upsample", 1, import_resize, 9},
};

}  // namespace

std::span<const Operator> resize_operators() { return kOperators; }

}  // namespace corf::onnx
