#include "loop/text.h"

#include <gtest/gtest.h>

#include "tests/loop/programs.h"

namespace corf::loop {
namespace {

TEST(LoopText, GoldenFilesRoundTrip) {
  for (const std::string& name : golden_files()) {
    SCOPED_TRACE(name);
    const std::string text = read_golden(name);
    Result<Program> parsed = parse_program(text);
    ASSERT_TRUE(parsed.ok()) << parsed.error().message;
    Status status = verify(*parsed);
    EXPECT_TRUE(status.ok()) << status.error().message;
    const std::string printed = to_string(*parsed);
    Result<Program> again = parse_program(printed);
    ASSERT_TRUE(again.ok()) << again.error().message << "\n" << printed;
    EXPECT_EQ(to_string(*again), printed);
    EXPECT_TRUE(verify(*again).ok());
    if (name.ends_with("_printed.corf")) {
      EXPECT_EQ(printed, text);
    }
  }
}

TEST(LoopText, KernelPrintsAsItIsWritten) {
  const std::string text =
      "kernel k(x: f32[64], \"a b\": i64[4] mut) partition part params(n, m) "
      "scratch(ring: bf16[32]) {\n"
      "  for i in [part*n, min(8, part*n + 4)) step 2 {\n"
      "    tile (a: 4, b: 8 vector) {\n"
      "      %0 = const f32 -1.5\n"
      "      %1 = const i64 7\n"
      "      %2 = load f32 x[8*a + b] guard(0 <= a + i < 5, -1 <= b < 7) padding -inf\n"
      "      %3 = reduce max f32 %2 over b\n"
      "      acc %4 f32 (a) = %0\n"
      "      loop k in [0, n) step 1 unroll 3 {\n"
      "        prefetch x[8*i + k + 100]\n"
      "        %4 max= %3\n"
      "        %4 += %3 * %3 over (b)\n"
      "        %4 := %3\n"
      "      }\n"
      "      %5 = index i64 a + m\n"
      "      bind at = %5\n"
      "      %6 = mul i64 %5, %1\n"
      "      store \"a b\"[(at mod 4)] = %6 guard(0 <= a < 3)\n"
      "    }\n"
      "  }\n"
      "}\n";
  Result<Kernel> kernel = parse_kernel(text);
  ASSERT_TRUE(kernel.ok()) << kernel.error().message;
  const std::string printed = to_string(*kernel);
  EXPECT_EQ(kernel->num_params, 2);
  EXPECT_EQ(kernel->buffers[1].name, "a b");
  Result<Kernel> again = parse_kernel(printed);
  ASSERT_TRUE(again.ok()) << again.error().message << "\n" << printed;
  EXPECT_EQ(to_string(*again), printed);
  EXPECT_EQ(std::count(printed.begin(), printed.end(), '\n'),
            std::count(text.begin(), text.end(), '\n'));
  const For& loop = std::get<For>(kernel->body[0]);
  EXPECT_EQ(loop.step, 2);
  const Tile& tile = std::get<Tile>(loop.body[0]);
  ASSERT_EQ(tile.body.size(), 10u);
  const auto& load = std::get<TileLoad>(std::get<TileLet>(tile.body[2]).value);
  ASSERT_EQ(load.guards.size(), 2u);
  EXPECT_EQ(load.guards[1].lo, -1);
  EXPECT_EQ(load.padding, -std::numeric_limits<double>::infinity());
}

TEST(LoopText, TablesRoundTrip) {
  const std::string text =
      "kernel k(x: f32[12], y: f32[8] mut) partition part {\n"
      "  tile (a: 2, i: 3, c: 4 vector) {\n"
      "    %0 = const f32 -0\n"
      "    acc %1 f32 (a, c) = %0\n"
      "    %2 = table f32 (a, i) [1, 0, -5.25, 0.5, -1, 2]\n"
      "    %3 = load f32 x[4*i + c]\n"
      "    %1 += %2 * %3 over (i)\n"
      "    store y[4*a + c] = %1\n"
      "  }\n"
      "}\n";
  Result<Kernel> kernel = parse_kernel(text);
  ASSERT_TRUE(kernel.ok()) << kernel.error().message;
  EXPECT_TRUE(verify(*kernel).ok());
  EXPECT_EQ(to_string(*kernel), text);
  const Tile& tile = std::get<Tile>(kernel->body[0]);
  const auto& table = std::get<TileTable>(std::get<TileLet>(tile.body[2]).value);
  EXPECT_EQ(table.axes, (std::vector<int>{tile.axes[0].var, tile.axes[1].var}));
  EXPECT_EQ(table.values, (std::vector<double>{1, 0, -5.25, 0.5, -1, 2}));
}

TEST(LoopText, NamedRegistersAreNumberedAboveTheNumberedOnes) {
  Result<Kernel> kernel = parse_kernel(
      "kernel k(x: f32[1] mut) partition p { tile () { %a = const f32 1\n %7 = add f32 %a, %a\n"
      "store x[0] = %7 } }");
  ASSERT_TRUE(kernel.ok()) << kernel.error().message;
  const Tile& tile = std::get<Tile>(kernel->body[0]);
  EXPECT_EQ(std::get<TileLet>(tile.body[0]).reg, 8);
  EXPECT_EQ(std::get<TileLet>(tile.body[1]).reg, 7);
}

TEST(LoopText, RoutinesAndConstantsRoundTrip) {
  const std::string text =
      "buffer x: f32[32] input 0\n"
      "buffer k: i64[2] constant = 3, -4\n"
      "buffer big: f32[100] constant hash 00ff00ff00ff00ff\n"
      "buffer y: f32[8] output 0\n"
      "\n"
      "routine \"topk\"(x: 4x8, k: scalar) -> (y: 4x2) attributes(axis = -1, mode = \"a\\\"b\", "
      "scale = 1.0, shape = [1, 2], weights = floats[0.5, 2.0]) label \"TopK_1\"\n";
  Result<Program> program = parse_program(text);
  ASSERT_TRUE(program.ok()) << program.error().message;
  EXPECT_EQ(to_string(*program), text);
  EXPECT_EQ(program->buffers[1].data.at_i64(1), -4);
  const auto& call = std::get<RoutineCall>(program->steps[0]);
  EXPECT_EQ(std::get<std::string>(call.attributes.at("mode")), "a\"b");
  EXPECT_EQ(std::get<double>(call.attributes.at("scale")), 1.0);
  EXPECT_TRUE(call.inputs[1].shape.empty());
}

TEST(LoopText, HashTellsDataApart) {
  Tensor a(DType::kF32, {100}), b(DType::kF32, {100});
  EXPECT_EQ(data_hash(a), data_hash(b));
  b.set_f64(99, 1);
  EXPECT_NE(data_hash(a), data_hash(b));
}

struct Fault {
  const char* text;
  const char* message;
};

TEST(LoopText, FaultsHaveLineAndColumn) {
  const Fault faults[] = {
      {"buffer x f32[1] arena", "line 1, column 10: expected ':'"},
      {"buffer x: f33[1] arena", "line 1, column 11: unknown element type 'f33'"},
      {"buffer x: f32[-1] arena", "a size is negative"},
      {"buffer x: f32[99999999999999999999] arena", "a size in elements is too large"},
      {"buffer x: f32[1] arena\nbuffer x: f32[1] arena", "line 2, column 8"},
      {"call k()", "unknown kernel 'k'"},
      {"kernel k() partition p { for i in [0, q) step 1 { } }", "unknown variable 'q'"},
      {"kernel k() partition p { for p in [0, 1) step 1 { } }", "variable 'p' is bound twice"},
      {"kernel k() partition p {\n  tile (c: 4) {\n    %0 = frob f32 %1\n",
       "line 3, column 10: unknown operation"},
      {"kernel k() partition p { tile () { %0 = load f32 x[0] } }", "unknown buffer 'x'"},
      {"kernel k() partition p {", "expected 'tile'"},
      {"kernel k(\"abc", "unterminated"},
      {"buffer x: f64[1] constant = 1e", "'1e' is no number"},
      {"\x01", "expected 'buffer'"},
  };
  for (const Fault& fault : faults) {
    SCOPED_TRACE(fault.text);
    Result<Program> program = parse_program(fault.text);
    ASSERT_FALSE(program.ok());
    EXPECT_EQ(program.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(program.error().message.find(fault.message), std::string::npos)
        << program.error().message;
  }
}

TEST(LoopText, DamagedTextNeverCrashes) {
  const std::string text = read_golden("conv.corf");
  for (size_t i = 0; i < text.size(); ++i) {
    (void)parse_program(text.substr(0, i));
    std::string damaged = text;
    damaged[i] = "{}%[(0z\"-"[i % 9];
    Result<Program> parsed = parse_program(damaged);
    if (parsed.ok()) (void)verify(*parsed);
  }
  const std::string deep = "kernel k() partition p " + std::string(100000, '{');
  EXPECT_FALSE(parse_program(deep).ok());
  std::string nested = "kernel k() partition p {";
  for (int i = 0; i < 5000; ++i) nested += fmt::format("for i{} in [0, 1) step 1 {{", i);
  EXPECT_FALSE(parse_program(nested).ok());
}

}  // namespace
}  // namespace corf::loop
