#pragma once
#include <string>
#include <string_view>

#include "target/machine.h"

namespace corf::codegen {

/// What code generation asks about an instruction set.
struct IsaTraits {
  Isa isa = Isa::kSse2;

  std::string_view cpu() const {
    return isa >= Isa::kAvx512 ? "x86-64-v4" : isa >= Isa::kAvx2 ? "x86-64-v3" : "x86-64";
  }
  /// What the instruction set has beyond the CPU's name.
  std::string_view features() const {
    switch (isa) {
      case Isa::kAvx2Vnni:
        return "+avxvnni";
      case Isa::kAvx512Vnni:
        return "+avx512vnni";
      case Isa::kAvx512Bf16:
        return "+avx512vnni,+avx512bf16,+avx512vbmi";
      case Isa::kAmx:
        return "+avx512vnni,+avx512bf16,+avx512vbmi,+amx-tile,+amx-bf16";
      default:
        return "";
    }
  }
  /// Products of four bytes by four, added up to an i32 (vpdpbusd).
  bool has_byte_products() const { return corf::has_byte_products(isa); }
  /// Products of two bfloat16 numbers by two, added up to an f32 (vdpbf16ps).
  bool has_bf16_products() const { return corf::has_bf16_products(isa); }
  /// Looks into tables of 128 bytes in two registers (vpermi2b).
  bool has_byte_tables() const { return corf::has_byte_tables(isa); }
  int f32_lanes() const { return isa >= Isa::kAvx512 ? 16 : isa >= Isa::kAvx2 ? 8 : 4; }
  bool has_matrix_unit() const { return isa == Isa::kAmx; }
  bool has_fma() const { return isa != Isa::kSse2; }
  /// Rounding instructions (SSE4.1); without them LLVM would call the C library.
  bool has_rounding() const { return isa != Isa::kSse2; }
  bool has_f16_conversion() const { return isa != Isa::kSse2; }
  /// Whether stores under a mask run at full speed: AVX2's take AMD's processors up to Zen 3 twelve
  /// cycles each (instruction tables of A. Fog).
  bool has_masked_stores() const { return isa >= Isa::kAvx512; }
  /// Whether vectors of i32 are saturated to unsigned bytes as they are stored (vpmovusdb).
  bool has_saturating_stores() const { return isa >= Isa::kAvx512; }
  /// Whether vectors of elements of this size are loaded under a mask at full speed, and stored
  /// under one at all.
  bool has_masks(int64_t elem_bytes) const {
    return isa >= Isa::kAvx512 || (isa >= Isa::kAvx2 && elem_bytes >= 4);
  }
};

}  // namespace corf::codegen
