#pragma once
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace corf {

/// The vnni sets multiply four bytes by four and add them up in one instruction. kAvx512Bf16: of
/// bfloat16 numbers two by two as well, and tables of 256 bytes are looked into from registers
/// (AVX512-BF16, AVX512-VBMI: Zen 4, Sapphire Rapids and later). kAmx: kAvx512Bf16 and a matrix
/// unit for bfloat16, with which products of f32 factors are taken in three parts each
/// (fusion/matrix.h).
enum class Isa : uint8_t { kSse2, kAvx2, kAvx2Vnni, kAvx512, kAvx512Vnni, kAvx512Bf16, kAmx };
constexpr Isa kIsas[] = {Isa::kSse2,       Isa::kAvx2,       Isa::kAvx2Vnni, Isa::kAvx512,
                         Isa::kAvx512Vnni, Isa::kAvx512Bf16, Isa::kAmx};

/// "sse2", "avx2", "avx2vnni", "avx512", "avx512vnni", "avx512bf16", "amx"
std::string_view to_string(Isa isa);
std::optional<Isa> parse_isa(std::string_view text);
/// Whether the instruction set has products of bytes.
constexpr bool has_byte_products(Isa isa) {
  return isa == Isa::kAvx2Vnni || isa >= Isa::kAvx512Vnni;
}
/// Whether the instruction set has products of bfloat16 numbers in vectors, and looks into tables
/// of bytes in registers.
constexpr bool has_bf16_products(Isa isa) { return isa >= Isa::kAvx512Bf16; }
constexpr bool has_byte_tables(Isa isa) { return isa >= Isa::kAvx512Bf16; }
/// That without products of bytes: f32 code is the same.
constexpr Isa without_byte_products(Isa isa) {
  if (isa == Isa::kAvx2Vnni) return Isa::kAvx2;
  return isa == Isa::kAvx512Vnni || isa == Isa::kAvx512Bf16 ? Isa::kAvx512 : isa;
}
/// The widest that CPU and operating system offer (avx512 needs f, bw, dq, vl; avx2 needs fma).
/// Asks the operating system to let this process use the matrix unit where there is one.
Isa best_isa();
bool has_isa(Isa isa);

/// What plans are made for. Peaks are 0 until calibrated.
struct Machine {
  Isa isa = Isa::kSse2;
  int threads = 1;
  int64_t l1_bytes = 32 << 10, l2_bytes = 1 << 20, l3_bytes = 8 << 20;  // of a core; l3 shared
  std::string cpu_name;

  int vector_bytes() const { return isa >= Isa::kAvx512 ? 64 : isa >= Isa::kAvx2 ? 32 : 16; }
  int num_vector_registers() const { return isa >= Isa::kAvx512 ? 32 : 16; }
  int f32_lanes() const { return vector_bytes() / 4; }
  bool has_matrix_unit() const { return isa == Isa::kAmx; }
  bool has_byte_products() const { return corf::has_byte_products(isa); }

  // Measured by calibrate(): one core alone, and `threads` cores together.
  double fma_gflops_core = 0, fma_gflops_all = 0;
  double tile_gflops_core = 0;   // of a register tile whose factors lie in the first level
  double matrix_product_ns = 0;  // of 16 x 32 by 32 x 16 bfloat16 numbers, all cores at work
  double l1_gbps_core = 0, l2_gbps_core = 0, l3_gbps_core = 0, l3_gbps_all = 0, dram_gbps_all = 0;
  double l2_write_gbps_core = 0, l3_write_gbps_all = 0, dram_write_gbps_all = 0;
  double remote_gbps_core = 0;  // of what another core has just written; 0 with one thread
  double barrier_ns = 0;

  /// Nanoseconds of a cycle, the time of two multiply-adds of a whole vector; fma_gflops_core is
  /// known.
  double cycle_ns() const;
  /// Cycles that a product on the matrix unit takes, of
  /// which so many do not depend on each other.
  double matrix_product_cycles(double independent) const;
  /// GB/s at which all workers together get to constants that a run of the whole model reads once,
  /// if it has so many bytes of them: few enough are still near from the run before; 0 if unknown.
  double constants_gbps(int64_t all_bytes) const;
  /// Whether so many bytes of constants stay in the second level between runs of the model.
  bool keeps_near(int64_t all_bytes) const { return 2 * all_bytes <= threads * l2_bytes; }
  /// Cycles in which the matrix unit waits for a packed operand of so many bytes, over which it
  /// goes so many times: for one that little else drives out of the second level, next to none.
  double panel_cycles(double bytes, double passes) const;
  /// Cycles of products on the matrix unit beside so many cycles in which their panels come from
  /// memory, each fetched while the unit is at work on the one before.
  static double fetched_cycles(double products, double panels) {
    return std::max(products, panels) + kSharedByFetching * std::min(products, panels);
  }
  /// The part of the shorter that does not vanish behind the longer.
  static constexpr double kSharedByFetching = 0.5;
  /// Cycles to split a vector of 16 numbers into parts for the matrix unit.
  static double split_cycles() { return 8; }
};

Machine detect_machine(int threads, std::optional<Isa> isa = std::nullopt);

}  // namespace corf
