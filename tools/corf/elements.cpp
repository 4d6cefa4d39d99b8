#include "elements.h"

#include <cmath>
#include <cstring>
#include <fmt/format.h>

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

}  // namespace

double float_element(const Array& array, size_t i) {
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

std::string elements_text(const Array& array) {
  std::string text;
  const size_t width = corf_dtype_size_bytes(array.dtype());
  for (size_t i = 0; i < array.num_elems(); ++i) {
    if (i > 0) text += ",";
    if (is_float(array.dtype())) {
      text += fmt::format("{}", float_element(array, i));
      continue;
    }
    const bool is_signed = array.dtype() == CORF_I8 || array.dtype() == CORF_I16 ||
                           array.dtype() == CORF_I32 || array.dtype() == CORF_I64;
    uint64_t bits = 0;
    std::memcpy(&bits, array.data<char>() + i * width, width);
    const int unused = 64 - 8 * static_cast<int>(width);
    const int64_t value = static_cast<int64_t>(bits << unused) >> unused;  // with its sign
    text += is_signed ? fmt::format("{}", value) : fmt::format("{}", bits);
  }
  return text;
}

}  // namespace corf::command
