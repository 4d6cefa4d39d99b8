#include "target/machine.h"

#include <algorithm>
#include <array>
#include <cpuid.h>
#include <cstring>
#include <sys/syscall.h>
#include <unistd.h>

namespace corf {
namespace {

struct CpuidRegisters {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

/// All zero where the CPU lacks the leaf.
CpuidRegisters cpuid(unsigned leaf, unsigned subleaf = 0) {
  CpuidRegisters r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

bool bit(unsigned value, int position) { return (value >> position & 1) != 0; }

__attribute__((target("xsave"))) uint64_t enabled_register_state() {
  return static_cast<uint64_t>(__builtin_ia32_xgetbv(0));
}

/// The registers of the matrix unit are saved for a process only once it has asked for them.
bool may_use_matrix_unit() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Isa detect_best_isa() {
  constexpr uint64_t kYmmState = 0x6, kZmmState = 0xe6, kTileState = 0x60000;
  const CpuidRegisters basic = cpuid(1);
  const bool osxsave = bit(basic.ecx, 27), avx = bit(basic.ecx, 28), fma = bit(basic.ecx, 12);
  if (!osxsave || !avx || !fma) return Isa::kSse2;
  const uint64_t state = enabled_register_state();
  const CpuidRegisters extended = cpuid(7);
  const bool avx2 = bit(extended.ebx, 5);
  if (!avx2 || (state & kYmmState) != kYmmState) return Isa::kSse2;
  const bool avx_vnni = bit(cpuid(7, 1).eax, 4);
  const bool f = bit(extended.ebx, 16), dq = bit(extended.ebx, 17), bw = bit(extended.ebx, 30),
             vl = bit(extended.ebx, 31);
  if (!f || !dq || !bw || !vl || (state & kZmmState) != kZmmState) {
    return avx_vnni ? Isa::kAvx2Vnni : Isa::kAvx2;
  }
  const bool has_avx512_vnni = bit(extended.ecx, 11);
  if (!has_avx512_vnni) return Isa::kAvx512;
  const bool vbmi = bit(extended.ecx, 1), vector_bf16 = bit(cpuid(7, 1).eax, 5);
  if (!vbmi || !vector_bf16) return Isa::kAvx512Vnni;
  const bool tiles = bit(extended.edx, 24), bf16 = bit(extended.edx, 22);
  if (tiles && bf16 && (state & kTileState) == kTileState && may_use_matrix_unit()) {
    return Isa::kAmx;
  }
  return Isa::kAvx512Bf16;
}

std::string cpu_brand() {
  std::array<char, 49> text{};
  for (unsigned part = 0; part < 3; ++part) {
    const CpuidRegisters r = cpuid(0x80000002u + part);
    std::memcpy(text.data() + 16 * part, &r, 16);
  }
  std::string name(text.data());
  const size_t first = name.find_first_not_of(' ');
  if (first == std::string::npos) return "unknown";
  return name.substr(first, name.find_last_not_of(' ') - first + 1);
}

/// Replaces the sizes that the CPU describes; leaves the others as they are.
void read_cache_sizes(Machine& machine) {
  // AMD describes its caches in the same format under another leaf.
  const bool amd_topology = bit(cpuid(0x80000001u).ecx, 22);
  const unsigned leaf = cpuid(4).eax != 0 ? 4u : amd_topology ? 0x8000001du : 0u;
  if (leaf == 0) return;
  constexpr unsigned kNone = 0, kInstruction = 2;
  for (unsigned subleaf = 0; subleaf < 16; ++subleaf) {
    const CpuidRegisters r = cpuid(leaf, subleaf);
    const unsigned type = r.eax & 0x1f, level = r.eax >> 5 & 0x7;
    if (type == kNone) break;
    if (type == kInstruction) continue;
    const int64_t line = (r.ebx & 0xfff) + 1, partitions = (r.ebx >> 12 & 0x3ff) + 1,
                  ways = (r.ebx >> 22) + 1, sets = static_cast<int64_t>(r.ecx) + 1;
    const int64_t size = line * partitions * ways * sets;
    if (level == 1) machine.l1_bytes = size;
    if (level == 2) machine.l2_bytes = size;
    if (level == 3) machine.l3_bytes = size;
  }
}

}  // namespace

std::string_view to_string(Isa isa) {
  switch (isa) {
    case Isa::kSse2:
      return "sse2";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx2Vnni:
      return "avx2vnni";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Vnni:
      return "avx512vnni";
    case Isa::kAvx512Bf16:
      return "avx512bf16";
    case Isa::kAmx:
      return "amx";
  }
  return "unknown";
}

std::optional<Isa> parse_isa(std::string_view text) {
  for (const Isa isa : kIsas) {
    if (text == to_string(isa)) return isa;
  }
  return std::nullopt;
}

Isa best_isa() {
  static const Isa best = detect_best_isa();
  return best;
}

bool has_isa(Isa isa) {
  // Beside the widest: a CPU with the wide vectors need not have the narrow products of bytes.
  static const bool has_avx_vnni = bit(cpuid(7, 1).eax, 4);
  if (isa == Isa::kAvx2Vnni && !has_avx_vnni) return false;
  return isa <= best_isa();
}

double Machine::cycle_ns() const { return 4.0 * double(f32_lanes()) / fma_gflops_core; }

double Machine::matrix_product_cycles(double independent) const {
  // The latency is about that of three products and a half.
  constexpr double kUnmeasured = 30, kHidesLatency = 3.5, kFromSecondLevel = 1.5;
  const bool measured = matrix_product_ns > 0 && fma_gflops_core > 0;
  const double cycles = measured ? kFromSecondLevel * matrix_product_ns / cycle_ns() : kUnmeasured;
  return cycles * std::max(1.0, kHidesLatency / independent);
}

double Machine::constants_gbps(int64_t all_bytes) const {
  // What a kernel sees of a bandwidth, since it does not read all the time.
  constexpr double kOfL2 = 0.4, kOfL3 = 0.9, kOfMemory = 0.76;
  const double from_memory = kOfMemory * dram_gbps_all;
  if (keeps_near(all_bytes)) return std::max(from_memory, threads * kOfL2 * l2_gbps_core);
  if (2 * all_bytes <= l3_bytes) return std::max(from_memory, threads * kOfL3 * l3_gbps_core);
  return from_memory;
}

double Machine::panel_cycles(double bytes, double passes) const {
  constexpr double kShareOfBandwidth = 0.4;
  if (8 * bytes <= double(l2_bytes) || l2_gbps_core <= 0 || fma_gflops_core <= 0) return 0;
  return bytes * passes / (kShareOfBandwidth * l2_gbps_core) / cycle_ns();
}

Machine detect_machine(int threads, std::optional<Isa> isa) {
  Machine machine;
  machine.isa = isa.value_or(best_isa());
  machine.threads = std::max(threads, 1);
  machine.cpu_name = cpu_brand();
  read_cache_sizes(machine);
  // A virtual machine reports the whole socket's L3 (hundreds of MiB) however few of the socket's
  // cores it has; what a core can count on is about its own share.
  constexpr int64_t kMaxL3OfCore = int64_t{8} << 20;
  machine.l3_bytes = std::min(machine.l3_bytes, kMaxL3OfCore * std::max(machine.threads, 2));
  machine.l3_bytes = std::max(machine.l3_bytes, machine.l2_bytes);
  return machine;
}

}  // namespace corf
