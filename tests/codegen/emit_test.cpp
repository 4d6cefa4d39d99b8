#include <fmt/format.h>
#include <fstream>
#include <sstream>

#include "codegen/object_image.h"
#include "tests/codegen/compare.h"

namespace corf::codegen {
namespace {

loop::Kernel outer_product(int pixels, int channels, int unroll = 1) {
  return parse(fmt::format(R"(
kernel pointwise(x: f32[{x}], w: f32[{w}], y: f32[{y}] mut) partition part params(rows) {{
  for row in [0, rows) step 1 {{
    tile (p: {p}, c: {c} vector) {{
      %zero = const f32 0
      acc %sum f32 (p, c) = %zero
      loop k in [0, 24) step 1 unroll {u} {{
        %x = load f32 x[row*24*{p} + p*24 + k]
        %w = load f32 w[k*{c} + c]
        %sum += %x * %w
      }}
      store y[row*{p}*{c} + p*{c} + c] = %sum
    }}
  }}
}})",
                           fmt::arg("p", pixels), fmt::arg("c", channels), fmt::arg("u", unroll),
                           fmt::arg("x", 4 * 24 * pixels), fmt::arg("w", 24 * channels),
                           fmt::arg("y", 4 * pixels * channels)));
}

/// Instructions of the only loop that multiplies, by mnemonic, and how often memory of the stack
/// is touched there.
struct InnerLoop {
  std::map<std::string, int> counts;
  int total = 0, stack_accesses = 0;
};
InnerLoop inner_loop(const loop::Kernel& kernel, Isa isa) {
  EmitOptions options;
  options.isa = isa;
  std::string assembly;
  options.assembly = &assembly;
  EXPECT_TRUE(emit({kernel}, options).ok());
  std::istringstream lines(assembly);
  InnerLoop loop;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(".LBB")) {
      if (loop.counts.count("vfmadd231ps")) return loop;
      loop = {};
    }
    std::istringstream words(line);
    std::string mnemonic;
    words >> mnemonic;
    if (mnemonic.empty() || mnemonic[0] == '.' || mnemonic[0] == '#') continue;
    ++loop.counts[mnemonic];
    ++loop.total;
    if (line.find("(%rsp") != std::string::npos) ++loop.stack_accesses;
    // The loop ends at its jump back.
    if (mnemonic[0] == 'j' && loop.counts.count("vfmadd231ps")) return loop;
  }
  return loop;
}

TEST(Emit, OuterProductKeepsItsAccumulatorsInRegisters) {
  const InnerLoop wide = inner_loop(outer_product(8, 48), Isa::kAvx512);
  EXPECT_EQ(wide.counts.at("vfmadd231ps"), 24);
  EXPECT_EQ(wide.counts.at("vbroadcastss"), 8);
  EXPECT_EQ(wide.counts.at("vmovups"), 3);
  EXPECT_EQ(wide.stack_accesses, 0);
  EXPECT_LE(wide.total, 24 + 8 + 3 + 5);

  const InnerLoop narrow = inner_loop(outer_product(6, 16), Isa::kAvx2);
  EXPECT_EQ(narrow.counts.at("vfmadd231ps"), 12);
  EXPECT_EQ(narrow.counts.at("vbroadcastss"), 6);
  EXPECT_EQ(narrow.counts.at("vmovups"), 2);
  EXPECT_EQ(narrow.stack_accesses, 0);
  EXPECT_LE(narrow.total, 12 + 6 + 2 + 5);
}

TEST(Emit, TilesThatFillTheRegistersSpillNone) {
  struct Tile {
    Isa isa;
    int pixels, channels;
  };
  // Two steps of the sum in one block of code are more than registers could take at once; and lanes
  // that do not fill the last vector.
  for (const auto& [isa, pixels, channels] :
       {Tile{Isa::kAvx512, 14, 32}, Tile{Isa::kAvx512, 9, 48}, Tile{Isa::kAvx512, 8, 40},
        Tile{Isa::kAvx512, 8, 36}, Tile{Isa::kAvx512, 28, 16}, Tile{Isa::kAvx512, 12, 20},
        Tile{Isa::kAvx512, 14, 28}, Tile{Isa::kAvx512, 9, 34}, Tile{Isa::kAvx2, 6, 16},
        Tile{Isa::kAvx2, 4, 24}, Tile{Isa::kAvx2, 4, 20}}) {
    const InnerLoop loop = inner_loop(outer_product(pixels, channels, 2), isa);
    EXPECT_EQ(loop.stack_accesses, 0) << to_string(isa) << " " << pixels << " x " << channels;
  }
}

TEST(Emit, DepthwiseLoadsEachColumnOnce) {
  EmitOptions options;
  options.isa = Isa::kAvx512;
  std::string assembly;
  options.assembly = &assembly;
  // The order of the lacking axes does not matter.
  for (const char* axes : {"kh: 3, kw: 3", "kw: 3, kh: 3"}) {
    assembly.clear();
    auto image = emit({parse(fmt::format(R"(
kernel depthwise(x: f32[4032], w: f32[144], y: f32[896] mut) partition part {{
  for ow in [0, 14) step 1 {{
    tile (p: 4, {}, c: 16 vector) {{
      %zero = const f32 0
      acc %sum f32 (p, c) = %zero
      %x = load f32 x[kh*1344 + ow*64 + (p + kw)*16 + c]
      %w = load f32 w[(kh*3 + kw)*16 + c]
      %sum += %x * %w over (kh, kw)
      store y[ow*64 + p*16 + c] = %sum
    }}
  }}
}})",
                                         axes))},
                      options);
    ASSERT_TRUE(image.ok()) << image.error().message;
    int multiplications = 0, stack_accesses = 0;
    std::istringstream lines(assembly);
    for (std::string line; std::getline(lines, line);) {
      if (line.find("vfmadd") != std::string::npos) ++multiplications;
      if (line.find("zmm") != std::string::npos && line.find("(%rsp") != std::string::npos) {
        ++stack_accesses;
      }
    }
    EXPECT_LE(multiplications, 36);  // the first products may be plain
    EXPECT_EQ(stack_accesses, 0);
  }
}

TEST(Emit, TheImageDoesNotDependOnTheThreads) {
  std::vector<loop::Kernel> kernels;
  for (int i = 1; i <= 11; ++i) kernels.push_back(outer_product(i, 3 * i));
  EmitOptions options;
  auto alone = emit(kernels, options);
  options.threads = 3;
  auto together = emit(kernels, options);
  ASSERT_TRUE(alone.ok() && together.ok());
  EXPECT_EQ(alone->bytes, together->bytes);
  ASSERT_EQ(alone->entries.size(), kernels.size());
  for (size_t i = 0; i < kernels.size(); ++i) {
    EXPECT_EQ(alone->entries[i].offset_bytes, together->entries[i].offset_bytes);
  }
}

TEST(Emit, NoKernelsMakeAnEmptyImage) {
  auto image = emit({}, {});
  ASSERT_TRUE(image.ok());
  EXPECT_TRUE(image->entries.empty());
  auto loaded = runtime::load_image(*image);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_TRUE((*loaded)->kernels().empty());
}

TEST(Emit, LlvmIrIsHandedOut) {
  EmitOptions options;
  std::string ir;
  options.llvm_ir = &ir;
  ASSERT_TRUE(emit({outer_product(2, 8)}, options).ok());
  EXPECT_NE(ir.find("define"), std::string::npos);
  EXPECT_NE(ir.find("!alias.scope"), std::string::npos);
}

TEST(ObjectImage, RefusesWhatIsNoObject) {
  runtime::Image image;
  EXPECT_FALSE(append_object("not an object", {}, image).ok());
  EXPECT_FALSE(append_object("", {}, image).ok());
}

TEST(LoadImage, RefusesForeignAndDamagedImages) {
  auto image = emit({outer_product(2, 8)}, {});
  ASSERT_TRUE(image.ok());
  runtime::Image foreign = *image;
  foreign.isa = "vax";
  EXPECT_EQ(runtime::load_image(foreign).error().code, ErrorCode::kInvalidArgument);
  for (int64_t offset : {int64_t{-1}, static_cast<int64_t>(image->bytes.size())}) {
    runtime::Image damaged = *image;
    damaged.entries[0].offset_bytes = offset;
    EXPECT_EQ(runtime::load_image(damaged).error().code, ErrorCode::kInvalidArgument);
  }
  if (!has_isa(Isa::kAvx512)) {
    runtime::Image wide = *image;
    wide.isa = "avx512";
    EXPECT_EQ(runtime::load_image(wide).error().code, ErrorCode::kUnsupported);
  }
}

TEST(LoadImage, CodeIsNeverWritableAndExecutable) {
  auto image = emit({outer_product(2, 8)}, {});
  ASSERT_TRUE(image.ok());
  auto loaded = runtime::load_image(*image);
  ASSERT_TRUE(loaded.ok());
  const auto address = reinterpret_cast<uintptr_t>((*loaded)->kernels()[0]);
  std::ifstream maps("/proc/self/maps");
  bool found = false;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    char access[5] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, access) != 3) continue;
    if (address < begin || address >= end) continue;
    found = true;
    EXPECT_EQ(std::string(access).substr(0, 3), "r-x");
  }
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace corf::codegen
