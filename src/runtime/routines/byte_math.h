#pragma once
#include <cstdint>

#include "target/machine.h"

/// Products of bytes for routines, exact in i32 on every instruction set.
namespace corf::runtime {

/// How floats stand as bytes: (byte - zero_point) * scale.
struct ByteScale {
  float scale = 1;
  int32_t zero_point = 0;
};

/// As DynamicQuantizeLinear has it: the range of x and 0 on 256 steps. Of zeros alone, scale 1.
ByteScale byte_scale_of(const float* x, int64_t count);

/// bytes[i] = saturate(round(x[i] / scale) + zero_point), to even; a NaN becomes 0. Returns the
/// bytes' sum.
int32_t quantize(const float* x, int64_t count, const ByteScale& scale, uint8_t* bytes);

/// Steps of a sum whose weights lie side by side.
constexpr int64_t kByteSteps = 4;

/// acc[n][j] += sum over k of x[n][k] * weights[j / kPanel][k / 4][j % kPanel][k % 4], for n <
/// rows, k < depth (a multiple of 4) and the columns of so many panels, each `panel_bytes` behind
/// the last one.
void add_byte_products(int64_t rows, int32_t* const* acc, const uint8_t* const* x, int64_t depth,
                       const int8_t* weights, int64_t panel_bytes, int64_t panels);
/// The same on an instruction set that the CPU has.
decltype(&add_byte_products) add_byte_products_on(Isa isa);

}  // namespace corf::runtime
