#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace corf {

/// Element types. Booleans are stored as one byte, 0 or 1.
enum class DType : uint8_t {
  kBool,
  kI8,
  kU8,
  kI16,
  kU16,
  kI32,
  kU32,
  kI64,
  kU64,
  kF16,
  kBF16,
  kF32,
  kF64,
};

int64_t size_bytes(DType dtype);
bool is_float(DType dtype);
bool is_signed_integer(DType dtype);
bool is_unsigned_integer(DType dtype);
/// Booleans excluded.
bool is_integer(DType dtype);

/// "f32", "i64", "bool", ...
std::string_view to_string(DType dtype);
std::optional<DType> parse_dtype(std::string_view text);

float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);
float bf16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value);

}  // namespace corf
