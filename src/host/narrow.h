#pragma once
#include <cstdint>

#include "tensor/tensor.h"

namespace corf::host {

/// Element types of 8 bits and less that corf does not compute in, by TensorProto.data_type.
enum NarrowType : int {
  kFloat8E4M3FN = 17,
  kFloat8E4M3FNUZ = 18,
  kFloat8E5M2 = 19,
  kFloat8E5M2FNUZ = 20,
  kUint4 = 21,
  kInt4 = 22,
  kFloat4E2M1 = 23,
  kFloat8E8M0 = 24,
  kUint2 = 25,
  kInt2 = 26,
};
inline bool is_narrow(int64_t type) { return type >= kFloat8E4M3FN && type <= kInt2; }
bool is_narrow_integer(int type);
/// Of one element.
int narrow_bits(int type);

/// What an element's bits mean. `code`: those bits, the lowest of a byte.
double decode_narrow(int type, uint8_t code);

enum class NarrowRounding : uint8_t { kNearest, kUp, kDown };  // the last two of E8M0 only
/// Floats: the nearest value, ties to the even code; beyond the largest that value (`saturate`), or
/// what the format has for it. Integers: rounded towards zero, the lowest bits.
/// Source: ONNX's text on Cast.
uint8_t encode_narrow(int type, double value, bool saturate = true,
                      NarrowRounding rounding = NarrowRounding::kUp);
/// The nearest integer of the type's range, ties to even; 0 for NaN.
uint8_t quantize_narrow(int type, double value);

}  // namespace corf::host
