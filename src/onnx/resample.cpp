#include "onnx/resample.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "support/budget.h"
#include "support/checked.h"

namespace corf::onnx {
namespace {

using index::Expr;

/// The input's coordinate that an output position stands for.
double original_coordinate(const Resampling& how, const ResampledAxis& axis, int64_t position) {
  auto x = static_cast<double>(position);
  auto in = static_cast<double>(axis.input);
  auto out = static_cast<double>(axis.output);
  // With a scale that gives no whole extent, ONNX's reference goes by the extent before rounding.
  double exact = axis.scale * in;
  if (std::abs(exact - out) < 1e-5 * out) exact = out;
  if (how.transform == "asymmetric") return x / axis.scale;
  if (how.transform == "tf_half_pixel_for_nn") return (x + 0.5) / axis.scale;
  if (how.transform == "align_corners") return exact <= 1 ? 0 : x * (in - 1) / (exact - 1);
  if (how.transform == "tf_crop_and_resize") {
    double span = axis.roi_end - axis.roi_begin;
    if (axis.output == 1) return 0.5 * (axis.roi_begin + axis.roi_end) * (in - 1);
    return axis.roi_begin * (in - 1) + x * span * (in - 1) / (exact - 1);
  }
  double half_pixel = (x + 0.5) / axis.scale - 0.5;
  if (how.transform == "pytorch_half_pixel" && axis.output == 1) return 0;
  if (how.transform == "half_pixel_symmetric") {
    // The image's centre stays where rounding the extent has moved it.
    double adjustment = out / exact;
    return in / 2 * (1 - adjustment) + half_pixel;
  }
  return half_pixel;
}

/// A whole number as an integer: one that is beyond any image, or NaN, as a place beyond it.
int64_t to_integer(double whole) {
  constexpr double kFar = 0x1p50;
  return static_cast<int64_t>(std::fmin(std::fmax(whole, -kFar), kFar));
}

int64_t round_coordinate(const std::string& rounding, double x) {
  if (rounding == "floor") return to_integer(std::floor(x));
  if (rounding == "ceil") return to_integer(std::ceil(x));
  if (rounding == "round_prefer_ceil") return to_integer(std::floor(x + 0.5));
  return to_integer(std::ceil(x - 0.5));
}

double cubic_weight(double distance, double a) {
  double x = std::abs(distance);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

/// (multiplier * position + offset) / divisor, rounded down: a coordinate as exact arithmetic.
struct RationalCoordinate {
  int64_t multiplier = 0, offset = 0, divisor = 1;

  int64_t at(int64_t position) const { return floor_div(multiplier * position + offset, divisor); }
};

/// The transform at the scale output / input, rounded as told; nullopt where it is not rational.
std::optional<RationalCoordinate> rational(const Resampling& how, const ResampledAxis& axis,
                                           const std::string& rounding) {
  RationalCoordinate r;
  constexpr int64_t kMaxExtent = int64_t{1} << 24;  // keeps every product inside int64
  if (std::max(axis.input, axis.output) > kMaxExtent) return std::nullopt;
  if (how.transform == "asymmetric") {
    r = {axis.input, 0, axis.output};
  } else if (how.transform == "align_corners" && axis.output > 1) {
    r = {axis.input - 1, 0, axis.output - 1};
  } else if (how.transform == "tf_half_pixel_for_nn") {
    r = {2 * axis.input, axis.input, 2 * axis.output};
  } else if (how.transform.find("half_pixel") != std::string::npos) {
    r = {2 * axis.input, axis.input - axis.output, 2 * axis.output};
  } else {
    return std::nullopt;
  }
  if (rounding == "ceil") r.offset += r.divisor - 1;
  if (rounding.starts_with("round")) {
    r = {2 * r.multiplier, 2 * r.offset + r.divisor, 2 * r.divisor};
    if (rounding == "round_prefer_floor") r.offset -= 1;
  }
  int64_t common = std::gcd(r.multiplier, r.divisor);
  return RationalCoordinate{r.multiplier / common, floor_div(r.offset, common), r.divisor / common};
}

void find_coordinate(AxisTaps& taps, const Resampling& how, const ResampledAxis& axis,
                     const std::string& rounding, int64_t first_tap) {
  auto r = rational(how, axis, rounding);
  if (!r) return;
  bool clamps = false;
  for (int64_t o = 0; o < axis.output; ++o) {
    for (int64_t k = 0; k < taps.num_taps; ++k) {
      int64_t exact = r->at(o) + first_tap + k;
      int64_t inside = std::clamp<int64_t>(exact, 0, axis.input - 1);
      clamps = clamps || exact != inside;
      if (inside != taps.indices[o * taps.num_taps + k]) return;
    }
  }
  RationalCoordinate found = *r;
  int64_t last = axis.input - 1;
  taps.coordinate = [=](const Expr& position, const Expr& tap) -> std::optional<Expr> {
    Expr exact = floor_div(Expr(found.multiplier) * position + found.offset, Expr(found.divisor)) +
                 first_tap + tap;
    return clamps ? min(max(exact, 0), last) : exact;
  };
}

void hold(AxisTaps& taps, const ResampledAxis& axis) {
  constexpr double kTapBytes = sizeof(int64_t) + sizeof(double) + 1;
  taps.held = std::make_shared<HeldBytes>(kTapBytes * static_cast<double>(axis.output) *
                                          static_cast<double>(taps.num_taps));
}

AxisTaps nearest_taps(const Resampling& how, const ResampledAxis& axis) {
  AxisTaps taps;
  hold(taps, axis);
  for (int64_t o = 0; o < axis.output; ++o) {
    look_at_budget();
    int64_t i = round_coordinate(how.rounding, original_coordinate(how, axis, o));
    taps.indices.push_back(std::clamp<int64_t>(i, 0, axis.input - 1));
  }
  taps.weights.assign(taps.indices.size(), 1);
  find_coordinate(taps, how, axis, how.rounding, 0);
  return taps;
}

AxisTaps weighted_taps(const Resampling& how, const ResampledAxis& axis) {
  bool cubic = how.kernel == Resampling::Kernel::kCubic;
  // When shrinking with antialias the kernel is stretched to cover all that it skips.
  double stretch = how.antialias ? std::min(axis.scale, 1.0) : 1.0;
  double radius = cubic ? 2 : 1;
  const int64_t first_tap = to_integer(std::floor(-radius / stretch)) + 1;
  AxisTaps taps;
  taps.num_taps = 2 - 2 * first_tap;
  hold(taps, axis);
  for (int64_t o = 0; o < axis.output; ++o) {
    double x = original_coordinate(how, axis, o);
    const int64_t base = to_integer(std::floor(x));
    double ratio = x - std::floor(x);
    std::vector<double> weights;
    look_at_budget();
    double sum = 0;
    for (int64_t k = 0; k < taps.num_taps; ++k) {
      double distance = (static_cast<double>(first_tap + k) - ratio) * stretch;
      double weight =
          cubic ? cubic_weight(distance, how.cubic_a) : std::max(0.0, 1 - std::abs(distance));
      int64_t i = base + first_tap + k;
      if (how.exclude_outside && (i < 0 || i >= axis.input)) weight = 0;
      sum += weight;
      weights.push_back(weight);
      taps.indices.push_back(std::clamp<int64_t>(i, 0, axis.input - 1));
    }
    bool normalize = how.antialias || how.exclude_outside;
    for (double weight : weights) {
      taps.weights.push_back(normalize && sum != 0 ? weight / sum : weight);
    }
  }
  if (!how.antialias || stretch == 1) find_coordinate(taps, how, axis, "floor", first_tap);
  return taps;
}

}  // namespace

AxisTaps find_taps(const Resampling& how, const ResampledAxis& axis) {
  if (axis.output == 0) return {.is_identity = axis.input == 0};
  AxisTaps taps = how.kernel == Resampling::Kernel::kNearest ? nearest_taps(how, axis)
                                                             : weighted_taps(how, axis);
  bool extrapolates = how.transform == "tf_crop_and_resize";
  taps.is_identity = axis.input == axis.output;
  for (int64_t o = 0; o < axis.output; ++o) {
    double x = original_coordinate(how, axis, o);
    taps.outside.push_back(extrapolates && (x < 0 || x > static_cast<double>(axis.input - 1)));
    for (int64_t k = 0; k < taps.num_taps; ++k) {
      size_t at = o * taps.num_taps + k;
      bool shows = taps.weights[at] == 0 || (taps.weights[at] == 1 && taps.indices[at] == o);
      taps.is_identity = taps.is_identity && shows;
    }
  }
  return taps;
}

}  // namespace corf::onnx
