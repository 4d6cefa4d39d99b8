#include "target/machine.h"

#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <string>

namespace corf {
namespace {

TEST(Isa, NamesParseBack) {
  for (const Isa isa : kIsas) {
    EXPECT_EQ(parse_isa(to_string(isa)), isa);
  }
  EXPECT_EQ(parse_isa("neon"), std::nullopt);
  EXPECT_EQ(parse_isa(""), std::nullopt);
}

/// The kernel lists only what CPU and operating system offer together.
std::string cpu_flags() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("flags", 0) == 0) return line + " ";
  }
  return "";
}

TEST(Isa, BestIsWhatTheKernelLists) {
  const std::string flags = cpu_flags();
  if (flags.empty()) GTEST_SKIP() << "no /proc/cpuinfo";
  const auto has = [&](const std::string& flag) {
    return flags.find(" " + flag + " ") != std::string::npos;
  };
  const bool avx2 = has("avx2") && has("fma");
  const bool avx512 =
      avx2 && has("avx512f") && has("avx512bw") && has("avx512dq") && has("avx512vl");
  // Whether the system lets a process use the matrix unit is not among the flags.
  const bool amx = avx512 && has("amx_tile") && has("amx_bf16");
  EXPECT_EQ(has_isa(Isa::kAvx512), avx512);
  EXPECT_LE(has_isa(Isa::kAmx), amx);
  EXPECT_EQ(has_isa(Isa::kAvx2), avx2);
  EXPECT_TRUE(has_isa(Isa::kSse2));
  if (has_isa(Isa::kAmx)) return;
  EXPECT_EQ(has_isa(Isa::kAvx2Vnni), avx2 && has("avx_vnni"));
  const bool vnni = avx512 && has("avx512_vnni");
  EXPECT_EQ(has_isa(Isa::kAvx512Vnni), vnni);
  EXPECT_EQ(has_isa(Isa::kAvx512Bf16), vnni && has("avx512_bf16") && has("avx512vbmi"));
  EXPECT_EQ(without_byte_products(best_isa()), avx512 ? Isa::kAvx512
                                               : avx2 ? Isa::kAvx2
                                                      : Isa::kSse2);
}

TEST(Machine, DescribesTheIsaAskedFor) {
  const Machine machine = detect_machine(3, Isa::kAvx2);
  EXPECT_EQ(machine.threads, 3);
  EXPECT_EQ(machine.isa, Isa::kAvx2);
  EXPECT_EQ(machine.f32_lanes(), 8);
  EXPECT_EQ(machine.num_vector_registers(), 16);
  EXPECT_FALSE(machine.cpu_name.empty());
  EXPECT_EQ(machine.fma_gflops_core, 0);
  EXPECT_EQ(detect_machine(1).isa, best_isa());
}

TEST(Machine, CachesMatchTheKernelAndAreInOrder) {
  const Machine machine = detect_machine(2);
  EXPECT_GE(machine.l1_bytes, 8 << 10);
  EXPECT_GE(machine.l2_bytes, machine.l1_bytes);
  EXPECT_GE(machine.l3_bytes, machine.l2_bytes);
  // Virtual machines report the whole socket's L3 however few cores they have.
  EXPECT_LE(machine.l3_bytes, std::max<int64_t>(16 << 20, machine.l2_bytes));
  for (int index = 0; index < 4; ++index) {
    const std::string folder =
        "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    int level = 0;
    int64_t kib = 0;
    std::string type;
    std::ifstream(folder + "level") >> level;
    std::ifstream(folder + "type") >> type;
    std::ifstream(folder + "size") >> kib;
    if (type == "Instruction" || kib == 0) continue;
    if (level == 1 || level == 2) {
      EXPECT_EQ(level == 1 ? machine.l1_bytes : machine.l2_bytes, kib << 10);
    }
  }
}

}  // namespace
}  // namespace corf
