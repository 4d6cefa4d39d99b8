#include "rewrite/rounding.h"

#include <cmath>

namespace corf::rewrite {
namespace {

/// A number that loses no digits in the type.
bool is_normal(double value, const FloatFormat& format) {
  const double magnitude = std::fabs(value);
  return magnitude >= format.smallest && magnitude <= format.largest;
}

/// So far below the largest number that adding it to another never overflows.
bool is_small_addend(double value, const FloatFormat& format) {
  return std::fabs(value) <= std::ldexp(format.largest, -format.digits - 1);
}

}  // namespace

double far_from_end(DType dtype) {
  return std::exp2(std::floor(std::log2(float_format(dtype).largest) + 1) / 4);
}

std::optional<double> merged_factor(double c1, double c2, DType dtype, const Demand& demand) {
  const double product = c1 * c2;
  const FloatFormat format = float_format(dtype);
  if (!is_normal(rounded(product, dtype), format)) return std::nullopt;
  const double first = std::fabs(c1), second = std::fabs(c2);
  if (first == 1 || second == 1) return product;
  if (demand.digits) {
    const bool exact = is_power_of_two(c1) && is_power_of_two(c2) && first > 1 && second > 1;
    return exact ? std::optional(product) : std::nullopt;
  }
  // One enlarges and one reduces: what over- or underflows between them in the model.
  const double hidden = first > 1 ? std::min(first, 1 / second) : std::min(1 / first, second);
  if (hidden > far_from_end(dtype)) return std::nullopt;
  return product;
}

std::optional<double> merged_addend(const ValueRange& x, double c1, double c2, DType dtype,
                                    const Demand& demand) {
  // Numbers of different signs round x to the larger one's digits, which may be their purpose.
  if (demand.digits || (c1 < 0) != (c2 < 0)) return std::nullopt;
  const double sum = c1 + c2;
  if (x.is_rounded && is_normal(sum, float_format(dtype))) return sum;
  const bool is_exact = rounded(sum, dtype) == sum && sum - c1 == c2 && sum - c2 == c1;
  return is_exact ? std::optional(sum) : std::nullopt;
}

std::optional<double> inverse_factor(double c, DType dtype, const Demand& demand) {
  const FloatFormat format = float_format(dtype);
  const double inverse = 1 / c;
  if (!is_normal(c, format) || !is_normal(rounded(inverse, dtype), format)) return std::nullopt;
  const bool counts = demand.digits || demand.spread_over > 0 || demand.absolute;
  if (counts && !is_power_of_two(c)) return std::nullopt;
  return inverse;
}

bool may_distribute(const ValueRange& p, double d, double c, DType dtype, const Demand& demand) {
  const FloatFormat format = float_format(dtype);
  if (!is_small_addend(d * c, format)) return false;
  if (is_power_of_two(c)) {
    // The digits that p * c may lose by underflow are far below those of d * c.
    return std::fabs(c) >= 1 || std::fabs(d * c) >= std::ldexp(format.smallest, format.digits + 1);
  }
  if (demand.digits || !is_normal(d * c, format)) return false;
  return p.is_rounded || (d > 0 ? p.low >= 0 : p.high <= 0);
}

bool may_shift_first(double c, double d, DType dtype, const Demand& demand) {
  const FloatFormat format = float_format(dtype);
  return !demand.digits && is_normal(c, format) &&
         (d == 0 || (is_normal(d / c, format) && is_small_addend(d / c, format)));
}

}  // namespace corf::rewrite
