#include <gtest/gtest.h>

#include "tests/loop/programs.h"

namespace corf::loop {
namespace {

struct Fault {
  const char* body;  // of a kernel over x: f32[16], y: f32[16], n: i64[4] and a scratch s: f32[8]
  const char* message;
};

std::string kernel_text(const std::string& body) {
  return "kernel k(x: f32[16], y: f32[16] mut, n: i64[4]) partition part params(p) "
         "scratch(s: f32[8]) {\n" +
         body + "\n}\n";
}

std::string program_text(const std::string& body, int partitions = 2) {
  return "buffer x: f32[16] input 0\nbuffer n: i64[4] input 1\nbuffer y: f32[16] output 0\n" +
         kernel_text(body) + "call k(x, y, n) params(4) partitions " + std::to_string(partitions) +
         " label \"call\"\n";
}

std::string verified(const std::string& text) {
  Result<Program> program = parse_program(text);
  EXPECT_TRUE(program.ok()) << program.error().message;
  if (!program.ok()) return "";
  Status status = verify(*program);
  if (status.ok()) return "sound";
  EXPECT_EQ(status.error().code, ErrorCode::kInternal);
  return status.error().message;
}

TEST(Verify, FaultsOfKernelsAreNamed) {
  const Fault faults[] = {
      {"tile () { %1 = add f32 %0, %0 }", "%0 is not defined here"},
      {"tile () { %0 = const f32 1\n %0 = const f32 2 }", "%0 is assigned twice"},
      {"tile () { loop i in [0, 2) step 1 unroll 1 { %0 = const f32 1 }\n store y[0] = %0 }",
       "%0 is not defined here"},
      {"tile () { %0 = const f32 1\n %0 += %0 }", "%0 is no accumulator"},
      {"tile () { %0 = const f32 1\n loop i in [0, 2) step 1 unroll 1 { acc %1 f32 () = %0 }\n"
       " %1 += %0 }",
       "%1 is not defined here"},
      {"tile (a: 2) { %0 = load f32 x[a]\n acc %1 f32 () = %0 }",
       "axes that the accumulator lacks"},
      {"tile (a: 2) { %0 = const f32 1\n acc %1 f32 () = %0\n %2 = load f32 x[a]\n %1 := %2 }",
       "the value has axes that the accumulator lacks"},
      {"tile (a: 2) { %0 = load f32 x[a]\n %1 = const f32 0\n acc %2 f32 () = %1\n %2 += %0 }",
       "an axis over which the update does not repeat"},
      {"tile (a: 2) { %0 = const f32 1\n acc %1 f32 () = %0\n %2 = load f32 x[a]\n %1 += %0 * %2 }",
       "an axis over which the update does not repeat"},
      {"tile (a: 2) { %0 = const f32 1\n acc %1 f32 (a) = %0\n %1 += %0 over (a) }",
       "repeats over an axis of its accumulator"},
      {"tile (a: 2) { %0 = const f32 1\n acc %1 f32 () = %0\n %1 += %0 over (p) }",
       "is no axis of the tile"},
      {"tile (a: 2, b: 2) { %0 = table f32 (a, b) [1, 2, 3] }", "a value for each point"},
      {"tile (a: 2, b: 2) { %0 = table f32 (b, a) [1, 2, 3, 4] }", "not in the tile's order"},
      {"tile (a: 2 vector) { %0 = table f32 (a) [1, 2] }", "varies along the vector axis"},
      {"tile (a: 2) { %0 = table i64 (a) [1, 2] }", "a table is f32 or f64"},
      {"tile (a: 2) { %0 = table f32 (a) [0.1, 2] }", "not exact in its type"},
      {"tile (a: 2) { %0 = table f64 (a) [inf, 2] }", "not exact in its type"},
      {"tile (a: 2) { }\n tile (b: 2) { %0 = table f32 (a) [1, 2] }", "no axis of the tile"},
      {"tile (a: 2 vector, b: 2 vector) { }", "more than one vector axis"},
      {"tile (a: 0) { }", "a tile's axis is empty"},
      {"for i in [0, 2) step 0 { }", "a loop's step is below 1"},
      {"for i in [0, 2) step 1 { }\n for j in [0, i) step 1 { }", "variable 'i' is not in scope"},
      {"tile (a: 2) { }\n tile (b: 2) { %0 = load f32 x[a] }", "variable 'a' is not in scope"},
      {"tile () { %0 = load f64 x[0] }", "register and buffer differ in type: f64 and f32"},
      {"tile () { %0 = const i64 1\n store y[0] = %0 }", "value and buffer differ in type"},
      {"tile () { %0 = const f32 1\n store x[0] = %0 }", "store into a buffer that is only read"},
      {"tile (a: 2) { %0 = load f32 x[a]\n store y[0] = %0 }", "several values are stored"},
      {"tile () { %0 = const f32 1\n %1 = const f64 1\n %2 = add f32 %0, %1 }",
       "takes and gives one type of numbers"},
      {"tile () { %0 = const f32 1\n %1 = less f32 %0, %0 }", "gives bool"},
      {"tile () { %0 = const i64 1\n %1 = exp i64 %0 }", "takes and gives one float type"},
      {"tile () { %0 = const f32 1\n %1 = and f32 %0, %0 }", "integers or bool"},
      {"tile () { %0 = const f32 1\n %1 = select f32 %0, %0, %0 }", "takes a bool"},
      {"tile () { %0 = const f32 1\n bind j = %0 }", "only an integer can be bound"},
      {"tile (a: 2) { %0 = const f32 1\n %1 = reduce sum f32 %0 over a }",
       "the argument lacks the reduced axis"},
      {"for i in [0, 2) step 1 { tile (a: 2) { %0 = load f32 x[a]\n"
       " %1 = reduce sum f32 %0 over i } }",
       "is no axis of the tile"},
      {"tile (a: 2) { %0 = const f32 1\n acc %1 f32 (a, a) = %0 }", "an axis is listed twice"},
      {"tile () { %0 = const f32 1\n acc %1 f32 () = %0\n %1 max= %0 * %0 }",
       "only a sum takes two factors"},
      {"tile () { %0 = const f64 1\n %1 = const f32 1\n acc %2 f32 () = %1\n %2 += %0 }",
       "does not fit the accumulator"},
      {"tile (a: 2) { loop i in [0, a) step 1 unroll 1 { } }", "bounds vary over the tile"},
      {"tile () { loop i in [0, 2) step 1 unroll 0 { } }", "unrolled less than once"},
      {"tile (a: 2) { prefetch x[a] }", "a prefetch varies over the tile"},
      {"tile (a: 4) { %0 = load f32 x[a + 13] }",
       "offsets 13 to 16 leave the buffer's 16 elements"},
      {"tile (a: 4) { %0 = load f32 s[a*3] }", "offsets 0 to 9 leave the buffer's 8 elements"},
      {"for i in [0, 9) step 4 { tile (a: 4) { %0 = load f32 x[i*2 + a - 1] } }",
       "offsets -1 to 18 leave"},
      {"for i in [part*8, part*8 + 9) step 1 { tile () { %0 = load f32 x[i] } }", "in partition 1"},
      {"for i in [0, p) step 1 { tile () { %0 = load i64 n[i + 1] } }", "offsets 1 to 4 leave"},
  };
  for (const Fault& fault : faults) {
    SCOPED_TRACE(fault.body);
    const std::string message = verified(program_text(fault.body));
    EXPECT_NE(message.find(fault.message), std::string::npos) << message;
    EXPECT_NE(message.find("kernel 'k'"), std::string::npos) << message;
  }
}

TEST(Verify, SoundKernelsPass) {
  const char* const bodies[] = {
      "",
      // Guards and loops whose bounds vary may keep addresses inside where bounds cannot tell.
      "tile (a: 4) { %0 = load f32 x[a + 13] guard(0 <= a < 3) padding 0 }",
      "for i in [0, 20) step 1 { for j in [i, 16) step 1 { tile () { %0 = load f32 x[i] } } }",
      "for i in [part*8, part*8 + 8) step 1 { tile () { %0 = load f32 x[i] } }",
      "for i in [0, 9) step 4 { tile (a: 4) { %0 = load f32 x[i + a] } }",
      "tile () { %0 = load i64 n[0]\n bind j = %0\n %1 = load f32 x[j] }",
      // A hint may point anywhere.
      "for i in [0, 9) step 1 { tile (a: 4) { prefetch x[i*100 + 16] } }",
      // Axes of one point may be missing from the offset.
      "tile (a: 1) { %0 = load f32 x[a]\n store y[0] = %0 }",
      // Loops side by side may reuse no variable, but registers are the tile's own.
      "tile () { %0 = const f32 1\n store y[0] = %0 }\n tile () { %0 = const f32 2\n"
      " store y[1] = %0 }",
  };
  for (const char* body : bodies) {
    SCOPED_TRACE(body);
    EXPECT_EQ(verified(program_text(body)), "sound");
  }
}

TEST(Verify, FactorsMayBeNarrowerThanTheAccumulator) {
  EXPECT_EQ(verified("buffer x: i8[16] input 0\nbuffer y: i32[1] output 0\n"
                     "kernel k(x: i8[16], y: i32[1] mut) partition part {\n"
                     "tile (a: 16) { %0 = load i8 x[a]\n %1 = const i32 0\n"
                     " acc %2 i32 () = %1\n %2 += %0 * %0 over (a)\n store y[0] = %2 } }\n"
                     "call k(x, y) partitions 1"),
            "sound");
}

TEST(Verify, FaultsOfCallsAreNamed) {
  const std::string head =
      "buffer x: f32[16] input 0\nbuffer t: f32[16] arena\nbuffer y: f32[16] output 0\n"
      "buffer small: f32[8] arena\nbuffer wide: f64[16] arena\n"
      "kernel k(x: f32[16], y: f32[16] mut) partition part params(p) { }\n";
  const Fault faults[] = {
      {"call k(x) params(1) partitions 1", "wrong number of buffers"},
      {"call k(x, y) partitions 1", "wrong number of parameters"},
      {"call k(x, y) params(1) partitions 0", "less than one partition"},
      {"call k(x, small) params(1) partitions 1", "'small' is smaller than 'y'"},
      {"call k(x, wide) params(1) partitions 1", "'wide' has not the type of 'y'"},
      {"call k(x, x) params(1) partitions 1", "writes 'x', which is not to be written"},
      {"call k(t, y) params(1) partitions 1", "reads 't' before it is written"},
      {"routine \"r\"(x: 5x5) -> (y: 1)", "smaller than the operand"},
      {"routine \"r\"(x: 1) -> (x: 1)", "which is not to be written"},
      {"buffer z: f32[1] input 0", "the position is used twice"},
      {"buffer z: f32[1] output 77", "the position is out of range"},
      {"kernel k() partition part { }", "two kernels are called 'k'"},
  };
  for (const Fault& fault : faults) {
    SCOPED_TRACE(fault.body);
    const std::string message = verified(head + fault.body);
    EXPECT_NE(message.find(fault.message), std::string::npos) << message;
  }
  EXPECT_EQ(verified(head + "call k(x, t) params(1) partitions 1\n"
                            "call k(t, y) params(1) partitions 4\n"),
            "sound");
}

TEST(Verify, NamesAndNumbersOfBuiltKernels) {
  Result<Kernel> kernel = parse_kernel(kernel_text("tile (a: 2) { %0 = load f32 x[a] }"));
  ASSERT_TRUE(kernel.ok());
  const auto fault_of = [&](const auto& change) {
    Kernel changed = *kernel;
    change(changed);
    Status status = verify(changed);
    return status.ok() ? std::string("sound") : status.error().message;
  };
  EXPECT_EQ(fault_of([](Kernel&) {}), "sound");
  EXPECT_NE(fault_of([](Kernel& k) { k.var_names[2] = "part"; }).find("two variables"),
            std::string::npos);
  EXPECT_NE(fault_of([](Kernel& k) { k.var_names[2] = "a b"; }).find("no identifier"),
            std::string::npos);
  EXPECT_NE(fault_of([](Kernel& k) { k.var_names[2] = "mod"; }).find("no identifier"),
            std::string::npos);
  EXPECT_NE(fault_of([](Kernel& k) { k.var_names.pop_back(); }).find("has no name"),
            std::string::npos);
  EXPECT_NE(fault_of([](Kernel& k) { k.num_params = 9; }).find("has no name"), std::string::npos);
  EXPECT_NE(fault_of([](Kernel& k) { k.scratch[0].name = "x"; }).find("two buffers"),
            std::string::npos);
  EXPECT_NE(fault_of([](Kernel& k) {
              auto& let = std::get<TileLet>(std::get<Tile>(k.body[0]).body[0]);
              std::get<TileLoad>(let.value).buffer = 17;
            }).find("no such buffer"),
            std::string::npos);
  EXPECT_NE(fault_of([](Kernel& k) {
              std::get<TileLet>(std::get<Tile>(k.body[0]).body[0]).reg = -3;
            }).find("out of range"),
            std::string::npos);
}

}  // namespace
}  // namespace corf::loop
