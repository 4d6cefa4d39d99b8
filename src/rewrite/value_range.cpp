#include "rewrite/value_range.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace corf::rewrite {
using graph::ScalarNode;
using graph::ScalarOp;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// 0 * infinity is 0 here: bounds stand for finite numbers as large as one likes.
double times(double a, double b) { return a == 0 || b == 0 ? 0 : a * b; }

ValueRange point(double value) { return {value, value, value == 0 ? kInfinity : std::fabs(value)}; }

ValueRange sum(const ValueRange& a, const ValueRange& b, const FloatFormat& format) {
  ValueRange result{a.low + b.low, a.high + b.high, format.unit()};
  const bool same_sign = std::min(a.low, b.low) >= 0 || std::max(a.high, b.high) <= 0;
  if (same_sign) result.least = std::min(a.least, b.least);
  // A number that is not far smaller than a constant is a multiple of the constant's last digit.
  for (const ValueRange* constant : {&a, &b}) {
    if (constant->low != constant->high) continue;
    const double gap = std::ldexp(constant->most(), -format.digits - 1);
    result.least = std::max(result.least, gap);
  }
  return result;
}

ValueRange product(const ValueRange& a, const ValueRange& b) {
  const auto [low, high] = std::minmax(
      {times(a.low, b.low), times(a.low, b.high), times(a.high, b.low), times(a.high, b.high)});
  return {low, high, times(a.least, b.least)};
}

ValueRange negated(const ValueRange& a) { return {-a.high, -a.low, a.least}; }

}  // namespace

double FloatFormat::unit() const { return std::ldexp(smallest, 1 - digits); }

FloatFormat float_format(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return {53, 0x1p-1022, std::numeric_limits<double>::max()};
    case DType::kF16:
      return {11, 0x1p-14, 65504};
    case DType::kBF16:
      return {8, 0x1p-126, 0x1.fep127};
    default:
      return {24, 0x1p-126, std::numeric_limits<float>::max()};
  }
}

double rounded(double value, DType dtype) {
  const auto single = static_cast<float>(value);
  switch (dtype) {
    case DType::kF64:
      return value;
    case DType::kF16:
      return f16_to_f32(f32_to_f16(single));
    case DType::kBF16:
      return bf16_to_f32(f32_to_bf16(single));
    default:
      return single;
  }
}

bool is_power_of_two(double value) {
  int exponent = 0;
  return std::isfinite(value) && std::fabs(std::frexp(value, &exponent)) == 0.5;
}

double ValueRange::most() const { return std::max(std::fabs(low), std::fabs(high)); }

ValueRange whole_range(DType dtype) {
  if (!is_float(dtype)) return {-kInfinity, kInfinity, 1};
  const FloatFormat format = float_format(dtype);
  return {-format.largest, format.largest, format.unit()};
}

ValueRange range_of(const ScalarNode& node, const ValueRange* a, const ValueRange* b,
                    const ValueRange* c, bool is_square) {
  const ValueRange whole = whole_range(node.dtype);
  if (!is_float(node.dtype)) return node.dtype == DType::kBool ? ValueRange{0, 1, 1} : whole;
  const FloatFormat format = float_format(node.dtype);
  switch (node.op) {
    case ScalarOp::kConstant:
      return std::isfinite(node.f64) ? point(node.f64) : whole;
    case ScalarOp::kAdd:
      return sum(*a, *b, format);
    case ScalarOp::kSub:
      return sum(*a, negated(*b), format);
    case ScalarOp::kMul: {
      ValueRange result = product(*a, *b);
      if (is_square) result.low = std::max(result.low, 0.0);
      return result;
    }
    case ScalarOp::kNeg:
      return negated(*a);
    case ScalarOp::kAbs:
      return {a->low <= 0 && a->high >= 0 ? 0 : std::min(std::fabs(a->low), std::fabs(a->high)),
              a->most(), a->least};
    case ScalarOp::kMin:
      return {std::min(a->low, b->low), std::min(a->high, b->high), std::min(a->least, b->least)};
    case ScalarOp::kMax:
      return {std::max(a->low, b->low), std::max(a->high, b->high), std::min(a->least, b->least)};
    case ScalarOp::kSelect:
      return {std::min(b->low, c->low), std::max(b->high, c->high), std::min(b->least, c->least)};
    case ScalarOp::kExp:
      return {0, whole.high, format.unit()};
    case ScalarOp::kSqrt:
      return {0, std::sqrt(a->high > 0 ? a->high : 0), std::sqrt(a->least)};
    case ScalarOp::kSigmoid:
      return {0, 1, format.unit()};
    case ScalarOp::kTanh:
    case ScalarOp::kErf:
    case ScalarOp::kSin:
    case ScalarOp::kCos:
      return {-1, 1, format.unit()};
    case ScalarOp::kCast:
      return {a->low, a->high, std::max(a->least, format.unit())};
    default:
      return whole;
  }
}

ValueRange within_type(ValueRange range, DType dtype) {
  if (!is_float(dtype)) return range;
  const FloatFormat format = float_format(dtype);
  range.low = std::clamp(range.low, -format.largest, format.largest);
  range.high = std::clamp(range.high, -format.largest, format.largest);
  range.least = std::max(range.least, format.unit());
  if (range.low > 0) range.least = std::max(range.least, range.low);
  if (range.high < 0) range.least = std::max(range.least, -range.high);
  return range;
}

}  // namespace corf::rewrite
