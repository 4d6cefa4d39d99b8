#include <algorithm>

#include "onnx/compose.h"

namespace corf::onnx {
namespace {

using index::AxisKind;
using index::Expr;

/// How GridSample reads an image between its pixels and beyond its border.
struct Sampling {
  enum class Mode : uint8_t { kNearest, kLinear, kCubic } mode = Mode::kLinear;
  enum class Padding : uint8_t { kZeros, kBorder, kReflection } padding = Padding::kZeros;
  bool align_corners = false;

  /// Pixels along each dimension that a sample is made of.
  int64_t num_taps() const { return mode == Mode::kNearest ? 1 : mode == Mode::kLinear ? 2 : 4; }
  /// Whether pixels have weights: where the nearest one always exists, it is the sample.
  bool is_weighted() const { return mode != Mode::kNearest || padding == Padding::kZeros; }
};

Result<Sampling> read_sampling(NodeImport& node) {
  Sampling how;
  const std::string mode = node.string_attribute("mode", "linear");
  if (mode == "nearest") {
    how.mode = Sampling::Mode::kNearest;
  } else if (mode == "cubic" || mode == "bicubic") {
    how.mode = Sampling::Mode::kCubic;
  } else if (mode != "linear" && mode != "bilinear") {
    return node.invalid("unknown mode '{}'", mode);
  }
  const std::string padding = node.string_attribute("padding_mode", "zeros");
  if (padding == "border") {
    how.padding = Sampling::Padding::kBorder;
  } else if (padding == "reflection") {
    how.padding = Sampling::Padding::kReflection;
  } else if (padding != "zeros") {
    return node.invalid("unknown padding_mode '{}'", padding);
  }
  how.align_corners = node.int_attribute("align_corners", 0) != 0;
  return how;
}

/// The arithmetic along one dimension of `extent` pixels, for tap number `tap` of a sample at the
/// grid's `place` in [-1, 1]; both f32.
class TapArithmetic {
 public:
  TapArithmetic(ScalarBody& body, const Sampling& how, int64_t extent, int place, int tap)
      : b_(body), how_(how), extent_(static_cast<double>(extent)) {
    int pixel = b_.apply(ScalarOp::kAdd, place, number(1));
    if (how.align_corners) {
      pixel = mul(mul(pixel, number(0.5)), number(extent_ - 1));
    } else {
      pixel = mul(b_.apply(ScalarOp::kSub, mul(pixel, number(extent_)), number(1)), number(0.5));
    }
    if (how.mode == Sampling::Mode::kNearest) pixel = b_.apply(ScalarOp::kRoundEven, pixel);
    pixel = how.padding == Sampling::Padding::kBorder ? at_border(pixel) : pad(pixel);
    const int first = b_.apply(ScalarOp::kFloor, pixel);
    fraction_ = b_.apply(ScalarOp::kSub, pixel, first);
    before_ = how.mode == Sampling::Mode::kCubic ? 1 : 0;
    tap_ = b_.apply(ScalarOp::kSub, tap, number(before_));
    position_ = pad(b_.apply(ScalarOp::kAdd, first, tap_));
  }

  /// The tap's pixel, inside of the image.
  int position() { return b_.cast(clamp(position_, 0, extent_ - 1), DType::kI32); }

  /// f32; 0 for pixels outside of an image that zeros surround.
  int weight() {
    int weight = number(1);
    if (how_.mode == Sampling::Mode::kLinear) {
      const int is_first = b_.apply(ScalarOp::kEqual, tap_, number(0));
      const int rest = b_.apply(ScalarOp::kSub, number(1), fraction_);
      weight = b_.apply(ScalarOp::kSelect, is_first, rest, fraction_);
    } else if (how_.mode == Sampling::Mode::kCubic) {
      weight = cubic(b_.apply(ScalarOp::kAbs, b_.apply(ScalarOp::kSub, fraction_, tap_)));
    }
    if (how_.padding != Sampling::Padding::kZeros) return weight;
    const int inside = is_between(position_, 0, extent_ - 1);
    return b_.apply(ScalarOp::kSelect, inside, weight, number(0));
  }

 private:
  int number(double value) { return b_.constant(value, DType::kF32); }
  int mul(int x, int y) { return b_.apply(ScalarOp::kMul, x, y); }
  int clamp(int x, double lo, double hi) {
    return b_.apply(ScalarOp::kMin, b_.apply(ScalarOp::kMax, x, number(lo)), number(hi));
  }
  int is_between(int x, double lo, double hi) {
    return b_.apply(ScalarOp::kAnd, b_.apply(ScalarOp::kLessEqual, number(lo), x),
                    b_.apply(ScalarOp::kLessEqual, x, number(hi)));
  }

  /// The outer pixels' centres and, where the grid's ends are their edges, half a pixel more.
  double lowest() const { return how_.align_corners ? 0 : -0.5; }
  double length() const { return how_.align_corners ? extent_ - 1 : extent_; }

  /// A sample beyond the grid's ends is the outer pixel; up to them it is interpolated, which
  /// matters to a cubic curve: between a pixel's centre and its edge that is not the pixel.
  int at_border(int x) {
    if (how_.mode != Sampling::Mode::kCubic) return clamp(x, 0, extent_ - 1);
    const int inside = is_between(x, lowest(), lowest() + length());
    return b_.apply(ScalarOp::kSelect, inside, x, clamp(x, 0, extent_ - 1));
  }

  int pad(int x) {
    if (how_.padding == Sampling::Padding::kBorder) return clamp(x, 0, extent_ - 1);
    return how_.padding == Sampling::Padding::kReflection ? reflect(x) : x;
  }

  /// Back and forth between the centres of the outer pixels, or between their outer edges.
  int reflect(int x) {
    const double lo = lowest(), length = this->length();
    if (length == 0) return number(lo);
    const int distance = b_.apply(ScalarOp::kAbs, b_.apply(ScalarOp::kSub, x, number(lo)));
    const int rounds = b_.apply(ScalarOp::kFloor, mul(distance, number(0.5 / length)));
    const int rest = b_.apply(ScalarOp::kSub, distance, mul(rounds, number(2 * length)));
    const int back = b_.apply(ScalarOp::kSub, number(2 * length), rest);
    const int nearest = b_.apply(ScalarOp::kMin, rest, back);
    const int reflected = b_.apply(ScalarOp::kAdd, nearest, number(lo));
    return b_.apply(ScalarOp::kSelect, is_between(x, lo, lo + length), x, reflected);
  }

  /// Source: Keys, "Cubic Convolution Interpolation for Digital Image Processing", equation 4, with
  /// a = -0.75.
  int cubic(int distance) {
    constexpr double kA = -0.75;
    auto polynomial = [&](std::initializer_list<double> coefficients) {
      int sum = number(0);
      for (const double c : coefficients) {
        sum = b_.apply(ScalarOp::kAdd, mul(sum, distance), number(c));
      }
      return sum;
    };
    const int near = polynomial({kA + 2, -(kA + 3), 0, 1});
    const int far = polynomial({kA, -5 * kA, 8 * kA, -4 * kA});
    const int is_near = b_.apply(ScalarOp::kLessEqual, distance, number(1));
    return b_.apply(ScalarOp::kSelect, is_near, near, far);
  }

  ScalarBody& b_;
  const Sampling& how_;
  double extent_, before_ = 0;
  int tap_ = -1, fraction_ = -1, position_ = -1;
};

/// Positions (i32) or weights of the taps along one dimension of the image, [n, samples..., taps].
/// The grid's last dimension begins with the image's last.
ValueId tap_table(NodeImport& node, const Sampling& how, size_t dim, bool weights) {
  const ValueId x = node.input(0), grid = node.input(1);
  const size_t spatial = node.shape(x).size() - 2;
  graph::Compute compute;
  graph::Operand places;
  for (size_t d = 0; d <= spatial; ++d) {
    compute.space.axes.push_back({fmt::format("d{}", d), node.shape(grid)[d], AxisKind::kParallel});
    places.map.exprs.push_back(Expr::variable(static_cast<int>(d)));
  }
  places.map.exprs.push_back(Expr(static_cast<int64_t>(spatial - 1 - dim)));
  compute.space.axes.push_back({"tap", how.num_taps(), AxisKind::kParallel});
  compute.operands = {places};
  ScalarBody& body = compute.body;
  const int place = body.cast(body.operand(0, node.dtype(grid)), DType::kF32);
  const int tap = body.cast(body.axis_index(static_cast<int>(spatial) + 1), DType::kF32);
  TapArithmetic along(body, how, node.shape(x)[dim + 2], place, tap);
  if (weights) {
    body.cast(along.weight(), node.dtype(x));
  } else {
    along.position();
  }
  const std::string name = node.part(fmt::format("{}{}", weights ? "weights" : "positions", dim));
  return node.graph.add_compute(name, std::move(compute), {grid}, "GridSample");
}

/// y[n, c, o] = sum over the taps t of x[n, c, position(n, o, t)] * weight(n, o, t)
Status import_grid_sample(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  const ValueId x = node.input(0), grid = node.input(1);
  if (!is_float(node.dtype(x))) return node.unsupported("only images of floats are supported");
  CORF_ASSIGN(const Sampling how, read_sampling(node));
  const Shape image = node.shape(x), samples = node.shape(grid);
  const size_t rank = image.size();
  if (rank < 3 || samples.size() != rank || samples[0] != image[0] ||
      samples.back() != static_cast<int64_t>(rank) - 2) {
    return node.invalid("a grid of shape {} for an image of shape {}", to_string(samples),
                        to_string(image));
  }
  const size_t spatial = rank - 2;
  if (std::any_of(image.begin() + 2, image.end(), [](int64_t extent) { return extent == 0; })) {
    return node.invalid("the image has no pixels");
  }

  graph::Compute compute;
  compute.space.axes = {{"n", image[0], AxisKind::kParallel}, {"c", image[1], AxisKind::kParallel}};
  std::vector<Expr> sample = {Expr::variable(0)};
  for (size_t d = 0; d < spatial; ++d) {
    sample.push_back(Expr::variable(static_cast<int>(compute.space.axes.size())));
    compute.space.axes.push_back({fmt::format("o{}", d), samples[d + 1], AxisKind::kParallel});
  }
  std::vector<graph::Operand> tables;
  for (size_t d = 0; d < spatial; ++d) {
    graph::Operand table;
    table.map.exprs = sample;
    table.map.exprs.push_back(Expr(0));
    if (how.num_taps() > 1) {
      table.map.exprs.back() = Expr::variable(static_cast<int>(compute.space.axes.size()));
      compute.space.axes.push_back({fmt::format("t{}", d), how.num_taps(), AxisKind::kReduction});
    }
    tables.push_back(table);
  }
  if (how.num_taps() > 1) compute.combiner = graph::Combiner::kSum;
  graph::Operand pixel;
  pixel.map.exprs = {Expr::variable(0), Expr::variable(1)};
  std::vector<ValueId> inputs = {x};
  for (size_t d = 0; d < spatial; ++d) {
    const Expr held = Expr::variable(static_cast<int>(compute.space.axes.size() + inputs.size()));
    pixel.map.exprs.push_back(min(max(held, 0), image[d + 2] - 1));  // whatever a NaN became
    inputs.push_back(tap_table(node, how, d, false));
  }
  compute.operands = {pixel};
  compute.operands.insert(compute.operands.end(), tables.begin(), tables.end());
  int value = compute.body.operand(0, node.dtype(x));
  for (size_t d = 0; d < spatial && how.is_weighted(); ++d) {
    const int weight = compute.body.operand(static_cast<int>(inputs.size()), node.dtype(x));
    value = compute.body.apply(ScalarOp::kMul, value, weight);
    inputs.push_back(tap_table(node, how, d, true));
    compute.operands.push_back(tables[d]);
  }
  node.set_output(node.graph.add_compute(node.name(), std::move(compute), inputs, "GridSample"));
  return {};
}

/// The point in [-1, 1] of each position along a dimension.
double normalized(int64_t position, int64_t extent, bool align_corners) {
  const auto p = static_cast<double>(position), n = static_cast<double>(extent);
  if (!align_corners) return (2 * p + 1) / n - 1;
  return extent == 1 ? -1 : 2 * p / (n - 1) - 1;
}

/// grid[n, o, :] = theta[n] (point of o, 1), the point's coordinates from the last dimension on.
Status import_affine_grid(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  const ValueId theta = node.input(0);
  CORF_RETURN_IF_ERROR(require_float(node, theta));
  CORF_ASSIGN(const std::vector<int64_t> size, node.known_ints(1, "size"));
  const bool align_corners = node.int_attribute("align_corners", 0) != 0;
  const auto spatial = static_cast<int64_t>(size.size()) - 2;
  if ((spatial != 2 && spatial != 3) || node.shape(theta) != Shape{size[0], spatial, spatial + 1}) {
    return node.invalid("theta of shape {} for a size of {} numbers", to_string(node.shape(theta)),
                        size.size());
  }
  Shape extents(size.begin() + 2, size.end());
  Shape points_shape = extents;
  points_shape.push_back(spatial + 1);
  if (auto count = checked_num_elems(points_shape); !count.ok()) {
    return node.invalid("{}", count.error().message);
  }
  auto coordinate = [&](int64_t element) {
    const int64_t component = element % (spatial + 1);
    if (component == spatial) return 1.0;
    int64_t rest = element / (spatial + 1);
    for (int64_t d = spatial - 1; d > spatial - 1 - component; --d) rest /= extents[d];
    const int64_t extent = extents[spatial - 1 - component];
    return normalized(rest % extent, extent, align_corners);
  };
  const ValueId points = node.graph.add_constant(
      node.part("points"), filled(node.dtype(theta), points_shape, coordinate));

  graph::Compute compute;
  graph::Operand matrix, point;
  compute.space.axes.push_back({"n", size[0], AxisKind::kParallel});
  for (int64_t d = 0; d < spatial; ++d) {
    point.map.exprs.push_back(Expr::variable(static_cast<int>(compute.space.axes.size())));
    compute.space.axes.push_back({fmt::format("o{}", d), extents[d], AxisKind::kParallel});
  }
  const auto row = static_cast<int>(compute.space.axes.size());
  compute.space.axes.push_back({"row", spatial, AxisKind::kParallel});
  compute.space.axes.push_back({"column", spatial + 1, AxisKind::kReduction});
  matrix.map.exprs = {Expr::variable(0), Expr::variable(row), Expr::variable(row + 1)};
  point.map.exprs.push_back(Expr::variable(row + 1));
  compute.operands = {matrix, point};
  const int a = compute.body.operand(0, node.dtype(theta));
  const int b = compute.body.operand(1, node.dtype(theta));
  compute.body.apply(ScalarOp::kMul, a, b);
  compute.combiner = graph::Combiner::kSum;
  node.set_output(
      node.graph.add_compute(node.name(), std::move(compute), {theta, points}, "AffineGrid"));
  return {};
}

constexpr Operator kOperators[] = {
    {"AffineGrid", 20, import_affine_grid},
    {"GridSample", 16, import_grid_sample},
};

}  // namespace

std::span<const Operator> sampling_operators() { return kOperators; }

}  // namespace corf::onnx
