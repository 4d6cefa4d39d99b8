// Samples of an image at places that data decides: deformable convolutions, regions of interest.
#include <algorithm>

#include "onnx/compose.h"
#include "onnx/indices.h"
#include "onnx/windows.h"

namespace corf::onnx {
namespace {

using graph::Combiner;
using index::AxisKind;
using index::Expr;

/// For coordinates along a dimension of an image, the two pixels beside each in a new last
/// dimension: where they are (i64), and their weights.
struct Taps {
  ValueId position = -1, weight = -1;
};

/// What lies beyond the image: zeros, or the outer pixels as far as one pixel away from them.
enum class Border : uint8_t { kZeros, kOuterPixel };

class TapBody {
 public:
  TapBody(ScalarBody& body, Border border, int64_t extent, int place, int tap)
      : b_(body), dtype_(body.nodes[place].dtype) {
    const double last = static_cast<double>(extent) - 1;
    int inside = -1;
    if (border == Border::kOuterPixel) {
      inside = between(place, -1, last + 1);
      place = clamped(place, 0, last);
    }
    const int first = b_.apply(ScalarOp::kFloor, place);
    const int fraction = b_.apply(ScalarOp::kSub, place, first);
    const int rest = b_.apply(ScalarOp::kSub, real(1), fraction);
    const int pixel = b_.apply(ScalarOp::kAdd, first, tap);
    // Of the outer pixel's neighbour beyond the image the weight is 0.
    if (border == Border::kZeros) inside = between(pixel, 0, last);
    const int is_first = b_.apply(ScalarOp::kEqual, tap, real(0));
    const int share = b_.apply(ScalarOp::kSelect, is_first, rest, fraction);
    weight_ = b_.apply(ScalarOp::kSelect, inside, share, real(0));
    pixel_ = clamped(pixel, 0, last);
  }
  int weight() const { return weight_; }
  int position() { return b_.cast(pixel_, DType::kI64); }

 private:
  int real(double value) { return b_.constant(value, dtype_); }
  int clamped(int x, double low, double high) {
    return b_.apply(ScalarOp::kMin, b_.apply(ScalarOp::kMax, x, real(low)), real(high));
  }
  int between(int x, double low, double high) {
    return b_.apply(ScalarOp::kAnd, b_.apply(ScalarOp::kLessEqual, real(low), x),
                    b_.apply(ScalarOp::kLessEqual, x, real(high)));
  }

  ScalarBody& b_;
  DType dtype_;
  int weight_ = -1, pixel_ = -1;
};

Taps add_taps(NodeImport& node, const std::string& suffix, ValueId places, int64_t extent,
              Border border) {
  Shape column = node.shape(places);
  column.push_back(1);
  const DType dtype = node.dtype(places);
  places = reshape(node.graph, node.part(suffix + "_places"), places, column);
  const ValueId numbers = node.graph.add_constant(
      node.part(suffix + "_taps"),
      filled(dtype, {2}, [](int64_t tap) { return static_cast<double>(tap); }));
  const auto table = [&](const char* name, bool is_weight) {
    return per_element(node.graph, node.part(suffix + name), {places, numbers},
                       [&](ScalarBody& b, const std::vector<int>& in) {
                         TapBody taps(b, border, extent, in[0], in[1]);
                         return is_weight ? taps.weight() : taps.position();
                       });
  };
  return {table("_position", false), table("_weight", true)};
}

/// A number from a table of taps, which has a dimension for each of `axes`.
graph::Operand read_at(const std::vector<int>& axes) {
  graph::Operand operand;
  for (int axis : axes) operand.map.exprs.push_back(Expr::variable(axis));
  return operand;
}

/// The pixel that an operand of the same compute node holds.
Expr held_pixel(const graph::Compute& compute, int operand, int64_t extent) {
  const Expr held = Expr::variable(static_cast<int>(compute.space.axes.size()) + operand);
  return max(Expr(0), min(held, Expr(extent - 1)));
}

/// x [batch, channels, height, width] at taps [batch, groups, taps, oh, ow, 2] each way, times the
/// mask [batch, groups, taps, oh, ow] if there is one: [batch, channels, taps, oh, ow].
ValueId sampled(NodeImport& node, ValueId x, const Taps& rows, const Taps& columns, ValueId mask) {
  const Shape image = node.shape(x), at = node.shape(rows.position);
  graph::Compute compute;
  for (const auto& [name, extent] :
       {std::pair("n", image[0]), {"c", image[1]}, {"k", at[2]}, {"oh", at[3]}, {"ow", at[4]}}) {
    compute.space.axes.push_back({name, extent, AxisKind::kParallel});
  }
  for (const char* name : {"row", "column"}) {
    compute.space.axes.push_back({name, 2, AxisKind::kReduction});
  }
  const auto table = [&](std::vector<int> last) {
    graph::Operand operand = read_at({0, 1, 2, 3, 4});
    operand.map.exprs[1] = floor_div(Expr::variable(1), Expr(image[1] / at[1]));
    for (int axis : last) operand.map.exprs.push_back(Expr::variable(axis));
    return operand;
  };
  graph::Operand pixel = read_at({0, 1});
  pixel.map.exprs.push_back(held_pixel(compute, 3, image[2]));
  pixel.map.exprs.push_back(held_pixel(compute, 4, image[3]));
  std::vector<ValueId> inputs = {x, rows.weight, columns.weight, rows.position, columns.position};
  compute.operands = {pixel, table({5}), table({6}), table({5}), table({6})};
  ScalarBody& body = compute.body;
  int value = body.operand(0, node.dtype(x));
  value = body.apply(ScalarOp::kMul, value, body.operand(1, node.dtype(x)));
  value = body.apply(ScalarOp::kMul, value, body.operand(2, node.dtype(x)));
  if (mask >= 0) {
    inputs.push_back(mask);
    compute.operands.push_back(table({}));
    value = body.apply(ScalarOp::kMul, value, body.operand(5, node.dtype(x)));
  }
  compute.combiner = Combiner::kSum;
  return node.graph.add_compute(node.part("samples"), std::move(compute), inputs);
}

/// What DeformConv's inputs are, [batch, channels, height, width] and so on.
struct DeformableConvolution {
  Shape x, w;
  int64_t groups = 1, offset_groups = 1, taps = 1;
  WindowExtents window;
};

Result<DeformableConvolution> read_deformable(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  DeformableConvolution conv;
  conv.x = node.shape(node.input(0));
  conv.w = node.shape(node.input(1));
  conv.groups = node.int_attribute("group", 1);
  conv.offset_groups = node.int_attribute("offset_group", 1);
  if (conv.x.size() != 4 || conv.w.size() != 4) {
    return node.unsupported("images of rank {}; 4 is supported", conv.x.size());
  }
  const bool fits = num_elems(conv.x) > 0 && num_elems(conv.w) > 0 && conv.groups >= 1 &&
                    conv.groups <= conv.w[0] && conv.w[0] % conv.groups == 0 &&
                    conv.x[1] % conv.groups == 0 && conv.x[1] / conv.groups == conv.w[1] &&
                    conv.offset_groups >= 1 && conv.offset_groups <= conv.x[1] &&
                    conv.x[1] % conv.offset_groups == 0;
  if (!fits) {
    return node.invalid("input {} and weights {} do not fit with {} groups", to_string(conv.x),
                        to_string(conv.w), conv.groups);
  }
  conv.taps = conv.w[2] * conv.w[3];
  CORF_ASSIGN(conv.window,
              read_window(node, {conv.x[2], conv.x[3]}, {conv.w[2], conv.w[3]}, false));
  const Shape places = {conv.x[0], conv.offset_groups * conv.taps, conv.window.output[0],
                        conv.window.output[1]};
  Shape offsets = places;
  offsets[1] *= 2;
  if (node.shape(node.input(2)) != offsets ||
      (node.has(4) && node.shape(node.input(4)) != places) ||
      (node.has(3) && node.shape(node.input(3)) != Shape{conv.w[0]})) {
    return node.invalid("offsets {} where {} is expected, or mask or bias do not fit",
                        to_string(node.shape(node.input(2))), to_string(offsets));
  }
  return conv;
}

/// Where the taps of each window are along a dimension (0: rows), offsets added.
ValueId tap_places(NodeImport& node, const DeformableConvolution& conv, ValueId offsets,
                   size_t dimension) {
  const graph::Window& window = conv.window.window;
  const int64_t points = conv.window.output[dimension];
  const auto place = [&](int64_t i) {
    const int64_t tap = i / points, point = i % points;
    const int64_t step = dimension == 0 ? tap / conv.w[3] : tap % conv.w[3];
    return static_cast<double>(point * window.strides[dimension] - window.pads_begin[dimension] +
                               step * window.dilations[dimension]);
  };
  const Shape grid = dimension == 0 ? Shape{conv.taps, points, 1} : Shape{conv.taps, 1, points};
  const char* const name = dimension == 0 ? "row" : "column";
  const ValueId regular = node.graph.add_constant(node.part(fmt::format("{}_grid", name)),
                                                  filled(node.dtype(offsets), grid, place));
  const auto at = static_cast<int64_t>(dimension);
  const ValueId part =
      slice(node.graph, node.part(fmt::format("{}_part", name)), offsets, 3, at, at + 1);
  Shape flat = node.shape(part);
  flat.erase(flat.begin() + 3);
  const ValueId moved = reshape(node.graph, node.part(fmt::format("{}_offsets", name)), part, flat);
  return binary(node.graph, node.part(fmt::format("{}_at", name)), ScalarOp::kAdd, moved, regular);
}

/// Samples of the image for each tap, then a product with the weights.
Status import_deform_conv(NodeImport& node) {
  CORF_ASSIGN(const DeformableConvolution conv, read_deformable(node));
  const int64_t batch = conv.x[0], height = conv.window.output[0], width = conv.window.output[1];
  const ValueId offsets = reshape(node.graph, node.part("offsets"), node.input(2),
                                  {batch, conv.offset_groups, conv.taps, 2, height, width});
  const Taps rows =
      add_taps(node, "row", tap_places(node, conv, offsets, 0), conv.x[2], Border::kZeros);
  const Taps columns =
      add_taps(node, "column", tap_places(node, conv, offsets, 1), conv.x[3], Border::kZeros);
  const ValueId mask = node.has(4) ? reshape(node.graph, node.part("mask"), node.input(4),
                                             {batch, conv.offset_groups, conv.taps, height, width})
                                   : -1;
  const ValueId samples = sampled(node, node.input(0), rows, columns, mask);
  const int64_t terms = conv.w[1] * conv.taps, outputs = conv.w[0] / conv.groups;
  const ValueId terms_by_group =
      reshape(node.graph, node.part("terms"), samples, {batch, conv.groups, terms, height * width});
  const ValueId weights =
      reshape(node.graph, node.part("weights"), node.input(1), {conv.groups, outputs, terms});
  const ValueId product = graph::matmul(node.graph, node.part("product"), weights, terms_by_group);
  ValueId y = reshape(node.graph, node.part("image"), product, {batch, conv.w[0], height, width});
  if (node.has(3)) {
    const ValueId bias = reshape(node.graph, node.part("bias"), node.input(3), {conv.w[0], 1, 1});
    y = binary(node.graph, node.name(), ScalarOp::kAdd, y, bias);
  }
  node.set_output(y);
  return {};
}

/// How RoiAlign samples a region.
struct RegionSampling {
  int64_t height = 1, width = 1;
  int64_t samples = 0;  // each way for each element of the result; 0: as the region's size asks for
  double scale = 1;
  bool half_pixel = true, is_largest = false;
};

Result<RegionSampling> read_region_sampling(NodeImport& node) {
  RegionSampling how;
  how.height = node.int_attribute("output_height", 1);
  how.width = node.int_attribute("output_width", 1);
  how.samples = node.int_attribute("sampling_ratio", 0);
  how.scale = node.float_attribute("spatial_scale", 1);
  const std::string mode = node.string_attribute("mode", "avg");
  const std::string transform = node.string_attribute(
      "coordinate_transformation_mode", node.opset() < 16 ? "output_half_pixel" : "half_pixel");
  how.half_pixel = transform == "half_pixel";
  how.is_largest = mode == "max";
  if ((mode != "avg" && mode != "max") || (!how.half_pixel && transform != "output_half_pixel")) {
    return node.invalid("unknown mode '{}' or coordinate_transformation_mode '{}'", mode,
                        transform);
  }
  constexpr int64_t kMost = 1 << 16;
  if (how.height < 1 || how.width < 1 || how.samples < 0 || how.height > kMost ||
      how.width > kMost || how.samples > kMost) {
    return node.invalid("a size of {}x{} or a sampling_ratio of {}", how.height, how.width,
                        how.samples);
  }
  return how;
}

/// Where the samples of each region are along a dimension, [regions, results, samples]; `first` and
/// `last` are columns of the regions' table.
ValueId sample_places(NodeImport& node, const RegionSampling& how, const char* name,
                      int64_t results, int64_t first, int64_t last) {
  const ValueId regions = node.input(1);
  const int64_t count = node.shape(regions)[0];
  const DType dtype = node.dtype(regions);
  const auto column = [&](const char* which, int64_t at) {
    const ValueId part =
        slice(node.graph, node.part(fmt::format("{}_{}", name, which)), regions, 1, at, at + 1);
    return reshape(node.graph, node.part(fmt::format("{}_{}s", name, which)), part, {count, 1, 1});
  };
  const auto samples = static_cast<double>(how.samples);
  // In steps of a result's share of the region.
  const ValueId steps = node.graph.add_constant(
      node.part(fmt::format("{}_steps", name)),
      filled(dtype, {1, results, how.samples}, [&](int64_t i) {
        const auto result = static_cast<double>(i / how.samples);
        return result + (static_cast<double>(i % how.samples) + 0.5) / samples;
      }));
  return per_element(node.graph, node.part(fmt::format("{}_at", name)),
                     {column("first", first), column("last", last), steps},
                     [&](ScalarBody& b, const std::vector<int>& in) {
                       const auto real = [&](double value) { return b.constant(value, dtype); };
                       const auto end = [&](int x) {
                         const int scaled = b.apply(ScalarOp::kMul, x, real(how.scale));
                         return b.apply(ScalarOp::kSub, scaled, real(how.half_pixel ? 0.5 : 0));
                       };
                       const int begin = end(in[0]);
                       int size = b.apply(ScalarOp::kSub, end(in[1]), begin);
                       if (!how.half_pixel) size = b.apply(ScalarOp::kMax, size, real(1));
                       const int share =
                           b.apply(ScalarOp::kDiv, size, real(static_cast<double>(results)));
                       return b.apply(ScalarOp::kAdd, begin, b.apply(ScalarOp::kMul, in[2], share));
                     });
}

/// Averages, or the largest weighted pixels, of each region's parts: inputs x, regions (x1, y1, x2,
/// y2), the image of each.
Status import_roi_align(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  CORF_ASSIGN(const RegionSampling how, read_region_sampling(node));
  const ValueId x = node.input(0);
  const Shape image = node.shape(x), regions = node.shape(node.input(1));
  if (image.size() != 4 || num_elems(image) == 0 || regions.size() != 2 || regions[1] != 4 ||
      node.shape(node.input(2)) != Shape{regions[0]}) {
    return node.invalid("images {}, regions {} and their images {} do not fit", to_string(image),
                        to_string(regions), to_string(node.shape(node.input(2))));
  }
  if (how.samples == 0) {
    CORF_RETURN_IF_ERROR(require_same_type(node, {x, node.input(1)}));
    graph::Opaque routine{"RoiAlign",
                          {{"scale", how.scale},
                           {"half_pixel", int64_t{how.half_pixel}},
                           {"largest", int64_t{how.is_largest}}}};
    node.set_output(
        node.graph.add_opaque(node.name(), std::move(routine), {x, node.input(1), node.input(2)},
                              {{node.dtype(x), {regions[0], image[1], how.height, how.width}}})[0]);
    return {};
  }
  CORF_ASSIGN(const ValueId images, checked_indices(node, "images", node.input(2), {image[0]}));
  const Taps rows = add_taps(node, "row", sample_places(node, how, "row", how.height, 1, 3),
                             image[2], Border::kOuterPixel);
  const Taps columns = add_taps(node, "column", sample_places(node, how, "column", how.width, 0, 2),
                                image[3], Border::kOuterPixel);
  graph::Compute compute;
  for (const auto& [name, extent] :
       {std::pair("r", regions[0]), {"c", image[1]}, {"oh", how.height}, {"ow", how.width}}) {
    compute.space.axes.push_back({name, extent, AxisKind::kParallel});
  }
  for (const auto& [name, extent] : {std::pair("rs", how.samples),
                                     {"rt", int64_t{2}},
                                     {"cs", how.samples},
                                     {"ct", int64_t{2}}}) {
    compute.space.axes.push_back({name, extent, AxisKind::kReduction});
  }
  const Expr held_image = Expr::variable(static_cast<int>(compute.space.axes.size()) + 5);
  graph::Operand pixel;
  pixel.map.exprs = {mod(held_image, Expr(image[0])), Expr::variable(1),
                     held_pixel(compute, 3, image[2]), held_pixel(compute, 4, image[3])};
  const graph::Operand row = read_at({0, 2, 4, 5}), column = read_at({0, 3, 6, 7});
  compute.operands = {pixel, row, column, row, column, read_at({0})};
  ScalarBody& body = compute.body;
  int value = body.operand(0, node.dtype(x));
  value = body.apply(ScalarOp::kMul, value, body.operand(1, node.dtype(x)));
  body.apply(ScalarOp::kMul, value, body.operand(2, node.dtype(x)));
  compute.combiner = how.is_largest ? Combiner::kMax : Combiner::kSum;
  const ValueId all = node.graph.add_compute(
      node.part("samples"), std::move(compute),
      {x, rows.weight, columns.weight, rows.position, columns.position, images});
  const double count = static_cast<double>(how.samples) * static_cast<double>(how.samples);
  node.set_output(how.is_largest ? all : multiply(node.graph, node.part("mean"), all, 1 / count));
  return {};
}

/// Zeros, and the input's elements at their indices in the image that they were pooled from.
Status import_max_unpool(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  const ValueId x = node.input(0), indices = node.input(1);
  const Shape shape = node.shape(x);
  const auto kernel = node.ints_attribute("kernel_shape");
  if (shape.size() < 3 || node.shape(indices) != shape || kernel.size() + 2 != shape.size()) {
    return node.invalid("input {}, indices {} and a kernel of {} dimensions do not fit",
                        to_string(shape), to_string(node.shape(indices)), kernel.size());
  }
  CORF_ASSIGN(const auto strides, positive_ints(node, "strides", kernel.size()));
  const auto pads = node.ints_attribute("pads", std::vector<int64_t>(2 * kernel.size(), 0));
  if (pads.size() != 2 * kernel.size()) return node.invalid("its pads do not fit");
  Shape result = shape;
  for (size_t d = 0; d < kernel.size(); ++d) {
    for (int64_t value : {kernel[d], pads[d], pads[kernel.size() + d], shape[d + 2]}) {
      if (value < 0 || value > kMaxWindowValue) return node.invalid("a window of {}", value);
    }
    result[d + 2] = (shape[d + 2] - 1) * strides[d] + kernel[d] - pads[d] - pads[kernel.size() + d];
    if (result[d + 2] < 1) return node.invalid("dimension {} of its result is empty", d);
  }
  Shape wanted = result;
  if (node.has(2)) {
    CORF_ASSIGN(wanted, node.known_ints(2, "output_shape"));
    bool fits = wanted.size() == result.size();
    for (size_t d = 0; fits && d < wanted.size(); ++d) {
      fits = wanted[d] >= result[d] && wanted[d] <= kMaxWindowValue;
    }
    if (!fits) return node.invalid("output_shape {} for {}", to_string(wanted), to_string(result));
  }
  const auto count = checked_num_elems(result);
  constexpr int64_t kMostElems = int64_t{1} << 40;
  if (!count.ok() || *count > kMostElems || num_elems(shape) == 0) {
    return node.invalid("a result of shape {}", to_string(result));
  }
  const ValueId none = node.graph.add_constant(node.part("zero"), Tensor(node.dtype(x), {1}));
  const ValueId zeros = copy(node.graph, node.part("zeros"),
                             broadcast(node.graph, node.part("all_zeros"), none, {*count}));
  const int64_t elements = num_elems(shape);
  const ValueId flat = node.graph.add_opaque(
      node.part("scattered"),
      {"ScatterElements", {{"axis", int64_t{0}}, {"reduction", std::string("none")}}},
      {zeros, reshape(node.graph, node.part("indices"), indices, {elements}),
       reshape(node.graph, node.part("elements"), x, {elements})},
      {{node.dtype(x), {*count}}})[0];
  ValueId y = reshape(node.graph, node.name(), flat, result);
  if (wanted != result) {
    y = node.graph.add_view(node.part("padded"),
                            graph::Pad{std::vector<int64_t>(wanted.size(), 0), 0}, {y}, wanted);
  }
  node.set_output(y);
  return {};
}

constexpr Operator kOperators[] = {
    {"DeformConv", 19, import_deform_conv},
    {"MaxUnpool", 9, import_max_unpool},
    {"RoiAlign", 10, import_roi_align},
};

}  // namespace

std::span<const Operator> region_operators() { return kOperators; }

}  // namespace corf::onnx
