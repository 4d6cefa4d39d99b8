#include "host/narrow.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace corf::host {
namespace {

/// A float format: sign, exponent and mantissa bits, in this order.
struct Format {
  int exponent_bits, mantissa_bits, bias;
  bool has_infinity;   // and NaNs beside it, as IEEE 754 has them
  bool has_no_minus0;  // the code of -0 is the only NaN
  bool has_nan;
};

Format format_of(int type) {
  switch (type) {
    case kFloat8E4M3FN:
      return {4, 3, 7, false, false, true};
    case kFloat8E4M3FNUZ:
      return {4, 3, 8, false, true, true};
    case kFloat8E5M2:
      return {5, 2, 15, true, false, true};
    case kFloat8E5M2FNUZ:
      return {5, 2, 16, false, true, true};
    default:  // kFloat4E2M1
      return {2, 1, 1, false, false, false};
  }
}

int sign_code(const Format& format) { return 1 << (format.exponent_bits + format.mantissa_bits); }

/// The largest code of a finite value without sign.
int last_finite_code(const Format& format) {
  if (format.has_infinity) return sign_code(format) - (1 << format.mantissa_bits) - 1;
  const bool ends_with_nan = format.has_nan && !format.has_no_minus0;
  return sign_code(format) - (ends_with_nan ? 2 : 1);
}

/// Of a code without sign, as if the format had no infinities and NaNs.
double magnitude(const Format& format, int code) {
  const int exponent = code >> format.mantissa_bits;
  const int mantissa = code & ((1 << format.mantissa_bits) - 1);
  if (exponent == 0) return std::ldexp(mantissa, 1 - format.bias - format.mantissa_bits);
  return std::ldexp((1 << format.mantissa_bits) + mantissa,
                    exponent - format.bias - format.mantissa_bits);
}

double decode_float(const Format& format, uint8_t code) {
  const int sign = sign_code(format);
  const int unsigned_code = code & (sign - 1);
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  if (format.has_no_minus0 && code == sign) return kNan;
  double value = magnitude(format, unsigned_code);
  if (unsigned_code > last_finite_code(format)) {
    const bool is_infinity = format.has_infinity && unsigned_code == last_finite_code(format) + 1;
    value = is_infinity ? std::numeric_limits<double>::infinity() : kNan;
  }
  return (code & sign) != 0 ? -value : value;
}

uint8_t encode_float(const Format& format, double value, bool saturate) {
  const int sign = std::signbit(value) ? sign_code(format) : 0;
  const int last = last_finite_code(format);
  // The quiet NaN of IEEE 754's kind of format, else the only one.
  int nan = sign_code(format);
  if (format.has_infinity) nan -= 2;
  if (format.has_nan && !format.has_infinity && !format.has_no_minus0) nan -= 1;
  if (std::isnan(value)) return static_cast<uint8_t>(nan);
  const double x = std::abs(value);
  int low = 0, high = last + 1;  // the code below x, or x's own, is in [low, high)
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (magnitude(format, middle) <= x ? low : high) = middle;
  }
  const double below = x - magnitude(format, low), above = magnitude(format, low + 1) - x;
  const bool goes_up = std::isinf(x) || above < below || (above == below && low % 2 != 0);
  int code = low + (goes_up ? 1 : 0);
  if (code > last) {
    code = saturate || !format.has_nan ? last : format.has_infinity ? last + 1 : nan;
    if (code == nan && format.has_no_minus0) return static_cast<uint8_t>(nan);
  }
  if (code == 0 && format.has_no_minus0) return 0;
  return static_cast<uint8_t>(code | sign);
}

uint8_t encode_exponent(double value, bool saturate, NarrowRounding rounding) {
  constexpr int kNan = 255, kLast = 254, kBias = 127;
  const double x = std::abs(value);
  if (std::isnan(x)) return kNan;
  if (std::isinf(x)) return saturate ? kLast : kNan;
  if (x == 0) return 0;
  int exponent = 0;
  const double mantissa = std::frexp(x, &exponent) * 2;  // in [1, 2)
  int code = exponent - 1 + kBias;
  const bool goes_up = rounding == NarrowRounding::kUp        ? mantissa > 1
                       : rounding == NarrowRounding::kNearest ? mantissa >= 1.5
                                                              : false;
  code += goes_up ? 1 : 0;
  if (code > kLast) return saturate ? kLast : kNan;
  return static_cast<uint8_t>(std::max(code, 0));
}

}  // namespace

bool is_narrow_integer(int type) {
  return type == kUint4 || type == kInt4 || type == kUint2 || type == kInt2;
}

int narrow_bits(int type) {
  if (type == kUint2 || type == kInt2) return 2;
  return type == kUint4 || type == kInt4 || type == kFloat4E2M1 ? 4 : 8;
}

double decode_narrow(int type, uint8_t code) {
  if (type == kFloat8E8M0) {
    return code == 255 ? std::numeric_limits<double>::quiet_NaN() : std::ldexp(1, code - 127);
  }
  if (!is_narrow_integer(type)) return decode_float(format_of(type), code);
  const int bits = narrow_bits(type);
  const bool is_negative = (type == kInt4 || type == kInt2) && (code >> (bits - 1)) != 0;
  return is_negative ? code - (1 << bits) : code;
}

uint8_t encode_narrow(int type, double value, bool saturate, NarrowRounding rounding) {
  if (type == kFloat8E8M0) return encode_exponent(value, saturate, rounding);
  if (!is_narrow_integer(type)) return encode_float(format_of(type), value, saturate);
  if (!(std::abs(value) < 0x1p62)) return 0;
  const int mask = (1 << narrow_bits(type)) - 1;
  return static_cast<uint8_t>(static_cast<int64_t>(value) & mask);
}

uint8_t quantize_narrow(int type, double value) {
  const int bits = narrow_bits(type);
  const bool is_signed = type == kInt4 || type == kInt2;
  const double least = is_signed ? -(1 << (bits - 1)) : 0;
  const double greatest = is_signed ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
  if (std::isnan(value)) return 0;
  return encode_narrow(type, std::clamp(std::nearbyint(value), least, greatest));
}

}  // namespace corf::host
