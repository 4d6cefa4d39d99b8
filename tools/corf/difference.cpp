#include "difference.h"

#include <cmath>
#include <cstring>
#include <fmt/format.h>

#include "settings.h"

namespace corf::command {
namespace {

double from_f16(uint16_t bits) {
  const int exponent = (bits >> 10) & 0x1f, mantissa = bits & 0x3ff;
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 0x1f) return mantissa != 0 ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(mantissa + 1024, exponent - 25);
}

double from_bf16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

double element(const Array& array, size_t i) {
  switch (array.dtype()) {
    case CORF_F16:
      return from_f16(array.data<uint16_t>()[i]);
    case CORF_BF16:
      return from_bf16(array.data<uint16_t>()[i]);
    case CORF_F32:
      return array.data<float>()[i];
    default:
      return array.data<double>()[i];
  }
}

bool is_float(corf_dtype dtype) { return dtype >= CORF_F16 && dtype <= CORF_F64; }

}  // namespace

std::string difference(const Array& actual, const Array& expected, double relative,
                       double absolute) {
  if (actual.dtype() != expected.dtype() || actual.extents() != expected.extents()) {
    return fmt::format("is {} {} instead of {} {}", corf_dtype_name(actual.dtype()),
                       to_text(actual.extents()), corf_dtype_name(expected.dtype()),
                       to_text(expected.extents()));
  }
  if (!is_float(expected.dtype())) {
    const size_t elem_bytes = corf_dtype_size_bytes(expected.dtype());
    for (size_t i = 0; i < expected.num_elems(); ++i) {
      if (std::memcmp(actual.data<char>() + i * elem_bytes, expected.data<char>() + i * elem_bytes,
                      elem_bytes) != 0) {
        return fmt::format("differs at element {}", i);
      }
    }
    return "";
  }
  for (size_t i = 0; i < expected.num_elems(); ++i) {
    const double want = element(expected, i), got = element(actual, i);
    if (want == got || (std::isnan(want) && std::isnan(got))) continue;
    if (!(std::abs(got - want) <= absolute + relative * std::abs(want))) {
      return fmt::format("is {:.9g} instead of {:.9g} at element {}", got, want, i);
    }
  }
  return "";
}

}  // namespace corf::command
