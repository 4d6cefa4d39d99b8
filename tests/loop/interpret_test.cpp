#include "loop/interpret.h"

#include <cmath>
#include <gtest/gtest.h>

#include "tests/loop/programs.h"

namespace corf::loop {
namespace {

/// A program of one kernel over input x, output y and constant or arena buffers in `more`.
Program one_kernel(const std::string& x, const std::string& y, const std::string& tile,
                   int64_t partitions = 1) {
  return parse("buffer x: " + x + " input 0\nbuffer y: " + y + " output 0\n" + "kernel k(x: " + x +
               ", y: " + y + " mut) partition part {\n" + tile + "\n}\n" +
               "call k(x, y) partitions " + std::to_string(partitions) + " label \"call\"\n");
}

std::vector<Tensor> run(const Program& program, const std::vector<Tensor>& inputs,
                        InterpretReport* report = nullptr) {
  Result<std::vector<Tensor>> outputs = interpret(program, inputs, report);
  EXPECT_TRUE(outputs.ok()) << outputs.error().message;
  return outputs.ok() ? outputs.take() : std::vector<Tensor>{};
}

std::string fault(const Program& program, const std::vector<Tensor>& inputs) {
  Result<std::vector<Tensor>> outputs = interpret(program, inputs);
  EXPECT_FALSE(outputs.ok());
  return outputs.ok() ? "" : outputs.error().message;
}

TEST(Interpret, ConvolutionMatchesItsFormula) {
  Program program = parse(read_golden("conv.corf"));
  Tensor bias = small_integers(16, 3);
  program.buffers[2].data = bias;
  const Tensor x = small_integers(192, 1), w = small_integers(128, 2);
  InterpretReport report;
  const std::vector<Tensor> y = run(program, {x, w}, &report);
  ASSERT_EQ(y.size(), 1u);
  for (int64_t p = 0; p < 24; ++p) {
    for (int64_t c = 0; c < 16; ++c) {
      double sum = bias.at_f64(c);
      for (int64_t k = 0; k < 8; ++k) sum += x.at_f64(p * 8 + k) * w.at_f64(k * 16 + c);
      ASSERT_EQ(y[0].at_f64(p * 16 + c), std::max(sum, 0.0)) << p << " " << c;
    }
  }
  EXPECT_EQ(report.max_stores_per_element[3], 1);
  EXPECT_EQ(report.elements_stored[3], 384);
  EXPECT_EQ(report.elements_stored[0], 0);
}

TEST(Interpret, UpdatesWithTwoFactorsRoundOnce) {
  const Program program = one_kernel("f32[3]", "f32[2]", R"(tile () {
    %a = load f32 x[0]
    %b = load f32 x[1]
    %c = load f32 x[2]
    acc %s f32 () = %c
    %s += %a * %b
    %p = mul f32 %a, %b
    %t = add f32 %p, %c
    store y[0] = %s
    store y[1] = %t
  })");
  const float a = 1 + 0x1p-12f, b = 1 + 0x1p-12f, c = -1;
  const std::vector<Tensor> y =
      run(program, {make_tensor<float>({3}, std::vector<float>{a, b, c})});
  EXPECT_EQ(y[0].data<float>()[0], std::fma(a, b, c));
  EXPECT_EQ(y[0].data<float>()[1], a * b + c);
  EXPECT_NE(y[0].data<float>()[0], y[0].data<float>()[1]);
}

/// An update goes over the axes that it names, also those along which nothing varies.
TEST(Interpret, SumsOverAxesThatNoFactorHas) {
  const Program program = one_kernel("f32[2]", "f32[4]", R"(tile (a: 5, b: 2) {
    %v = load f32 x[b]
    %zero = const f32 0
    %one = const f32 1
    acc %sum f32 (b) = %zero
    acc %product f32 () = %one
    %two = const f32 2
    %sum += %v over (a)
    %product *= %two over (a, b)
    store y[b] = %sum
    store y[2] = %product
    acc %dot f32 () = %zero
    %dot += %v * %two over (a, b)
    store y[3] = %dot
  })");
  const std::vector<float> x = {3, -4};
  const std::vector<Tensor> y = run(program, {make_tensor<float>({2}, x)});
  EXPECT_EQ(y[0].at_f64(0), 15);
  EXPECT_EQ(y[0].at_f64(1), -20);
  EXPECT_EQ(y[0].at_f64(2), 1024);
  EXPECT_EQ(y[0].at_f64(3), -10);
}

TEST(Interpret, ReductionsGoOverTheAxesThatTheUpdateNames) {
  const Program program = one_kernel("f32[24]", "f32[10]", R"(tile (a: 2, b: 3, c: 4 vector) {
    %v = load f32 x[a*12 + b*4 + c]
    %zero = const f32 0
    %big = const f32 -100
    acc %sum f32 (b) = %zero
    acc %max f32 (c) = %big
    %sum += %v over (a, c)
    %max max= %v over (a, b)
    store y[b] = %sum
    store y[3 + c] = %max
    %m = reduce min f32 %v over b
    %n = reduce min f32 %m over c
    %two = reduce product f32 %n over a
    store y[7] = %two
    %i = index i64 a + b
    %f = cast f32 %i
    %g = reduce sum f32 %f over a
    store y[7 + b] = %g guard(1 <= b < 3)
  })");
  const Tensor x = small_integers(24, 5);
  const std::vector<Tensor> y = run(program, {x});
  const auto at = [&](int a, int b, int c) { return x.at_f64(a * 12 + b * 4 + c); };
  double product = 1;
  for (int b = 0; b < 3; ++b) {
    double sum = 0;
    for (int a = 0; a < 2; ++a) {
      for (int c = 0; c < 4; ++c) sum += at(a, b, c);
    }
    EXPECT_EQ(y[0].at_f64(b), sum);
  }
  for (int c = 0; c < 4; ++c) {
    double most = -100;
    for (int i = 0; i < 6; ++i) most = std::max(most, x.at_f64(i * 4 + c));
    EXPECT_EQ(y[0].at_f64(3 + c), most);
  }
  for (int a = 0; a < 2; ++a) {
    double least = 100;
    for (int i = 0; i < 12; ++i) least = std::min(least, x.at_f64(a * 12 + i));
    product *= least;
  }
  EXPECT_EQ(y[0].at_f64(7), product);
  EXPECT_EQ(y[0].at_f64(8), 3);  // (0 + 1) + (1 + 1)
  EXPECT_EQ(y[0].at_f64(9), 5);
}

TEST(Interpret, ScratchHoldsARingOfRows) {
  const Program program = parse(read_golden("ring.corf"));
  const Tensor x = small_integers(24, 9);
  InterpretReport report;
  const std::vector<Tensor> y = run(program, {x}, &report);
  for (int64_t r = 0; r < 6; ++r) {
    for (int64_t c = 0; c < 4; ++c) {
      double sum = 0;
      for (int64_t i = std::max<int64_t>(0, r - 1); i <= std::min<int64_t>(5, r + 1); ++i) {
        sum += x.at_f64(i * 4 + c);
      }
      EXPECT_EQ(y[0].at_f64(r * 4 + c), sum);
    }
  }
  EXPECT_EQ(report.scratch_bytes, 64);
}

TEST(Interpret, GatherBindsAnAddress) {
  const Program program = one_kernel("i64[6]", "i64[6]", R"(tile (i: 6) {
    %at = load i64 x[i]
    bind j = %at
    %v = load i64 x[((j + 1) mod 6)]
    store y[j] = %v
  })");
  const std::vector<int64_t> values = {3, 5, 0, 1, 4, 2};
  const std::vector<Tensor> y = run(program, {make_tensor<int64_t>({6}, values)});
  for (int i = 0; i < 6; ++i) EXPECT_EQ(y[0].at_i64(values[i]), values[(values[i] + 1) % 6]);
}

TEST(Interpret, StateWithTwoPartsIsAssigned) {
  // Arg-max: the first index of the largest value.
  const Program program = one_kernel("f32[8]", "i64[1]", R"(tile () {
    %low = const f32 -inf
    %none = const i64 -1
    acc %best f32 () = %low
    acc %where i64 () = %none
    loop i in [0, 8) step 1 unroll 1 {
      %v = load f32 x[i]
      %i = index i64 i
      %more = less bool %best, %v
      %where2 = select i64 %more, %i, %where
      %best2 = select f32 %more, %v, %best
      %where := %where2
      %best := %best2
    }
    store y[0] = %where
  })");
  const std::vector<float> values = {1, 4, -3, 4, 0, 2, 3.5, -8};
  EXPECT_EQ(run(program, {make_tensor<float>({8}, values)})[0].at_i64(0), 1);
}

TEST(Interpret, IntegersWrapAndDivideTowardsZero) {
  const Program program = one_kernel("i8[2]", "i8[6]", R"(tile () {
    %a = load i8 x[0]
    %b = load i8 x[1]
    %s = add i8 %a, %b
    %d = div i8 %a, %b
    %m = mod i8 %a, %b
    %f = fmod i8 %a, %b
    %z = sub i8 %a, %a
    %q = div i8 %a, %z
    store y[0] = %s
    store y[1] = %d
    store y[2] = %m
    store y[3] = %f
    store y[4] = %q
  })");
  const std::vector<Tensor> y =
      run(program, {make_tensor<int8_t>({2}, std::vector<int8_t>{-128, 3})});
  const int8_t expected[] = {-125, -42, 1, -2, 0};
  for (int i = 0; i < 5; ++i) EXPECT_EQ(y[0].at_i64(i), expected[i]) << i;
  EXPECT_EQ(y[0].at_i64(5), static_cast<int8_t>(0xa5));  // never stored
}

TEST(Interpret, HalfTypesRoundAtEveryOperation) {
  const Program program = one_kernel("bf16[2]", "bf16[1]", R"(tile () {
    %a = load bf16 x[0]
    %b = load bf16 x[1]
    %s = add bf16 %a, %b
    %t = sub bf16 %s, %a
    store y[0] = %t
  })");
  Tensor x(DType::kBF16, {2});
  x.set_f64(0, 256);
  x.set_f64(1, 0.5);
  EXPECT_EQ(run(program, {x})[0].at_f64(0), 0);
}

TEST(Interpret, UnwrittenMemoryIsNaN) {
  const Program program = parse(R"(
buffer x: f32[1] input 0
buffer y: f32[2] output 0
kernel k(x: f32[1], y: f32[2] mut) partition part scratch(s: f32[4]) {
  tile () {
    %v = load f32 s[3]
    store y[0] = %v
  }
}
call k(x, y) partitions 1 label "call"
)");
  const std::vector<Tensor> y = run(program, {small_integers(1, 1)});
  EXPECT_TRUE(std::isnan(y[0].at_f64(0)));
  EXPECT_TRUE(std::isnan(y[0].at_f64(1)));
}

TEST(Interpret, AddressesOutsideAreNamed) {
  const Program program = one_kernel("i64[4]", "i64[4]", R"(tile (i: 4) {
    %at = load i64 x[i]
    bind j = %at
    store y[j] = %at
  })");
  const std::string message =
      fault(program, {make_tensor<int64_t>({4}, std::vector<int64_t>{0, 1, 9, 2})});
  EXPECT_NE(message.find("offset 9 is outside of the buffer's 4 elements"), std::string::npos);
  EXPECT_NE(message.find("store y[j]"), std::string::npos) << message;
  EXPECT_NE(message.find("kernel 'k'"), std::string::npos) << message;
}

TEST(Interpret, PartitionsMayNotTouchWhatOthersWrite) {
  const Program writes = one_kernel("f32[4]", "f32[4]", R"(tile (i: 2) {
    %v = load f32 x[i]
    store y[i + part] = %v
  })",
                                    3);
  EXPECT_NE(fault(writes, {small_integers(4, 1)}).find("partition 0 writes element 1 too"),
            std::string::npos);
  const Program reads = one_kernel("f32[4]", "f32[4]", R"(tile () {
    %v = load f32 y[((part + 1) mod 2)]
    store y[part] = %v
  })",
                                   2);
  EXPECT_NE(fault(reads, {small_integers(4, 1)})
                .find("partition 0 writes element 0, which this one reads"),
            std::string::npos);
  const Program read_before = one_kernel("f32[4]", "f32[4]", R"(tile () {
    %v = load f32 y[1]
    store y[part] = %v guard(1 <= part < 2)
  })",
                                         2);
  EXPECT_NE(fault(read_before, {small_integers(4, 1)}).find("another partition reads element 1"),
            std::string::npos);
}

TEST(Interpret, RepeatedStoresAreCounted) {
  const Program program = one_kernel("f32[4]", "f32[4]", R"(
  for t in [0, 3) step 1 { tile (i: 2) {
    %v = load f32 x[i]
    store y[i] = %v
  } })");
  InterpretReport report;
  run(program, {small_integers(4, 1)}, &report);
  EXPECT_EQ(report.max_stores_per_element[1], 3);
  EXPECT_EQ(report.elements_stored[1], 2);
}

TEST(Interpret, InputsMustFit) {
  const Program program = one_kernel("f32[4]", "f32[4]", "");
  EXPECT_NE(fault(program, {}).find("input 0 ('x') is missing"), std::string::npos);
  EXPECT_NE(fault(program, {small_integers(5, 1)}).find("expected 4 of type f32"),
            std::string::npos);
}

TEST(Interpret, RoutinesAreHandedIn) {
  const Program program = parse(
      "buffer x: f32[4] input 0\nbuffer y: f32[4] output 0\n"
      "routine \"reverse\"(x: 2x2) -> (y: 4) label \"R\"\n");
  Result<std::vector<Tensor>> without = interpret(program, {small_integers(4, 1)});
  ASSERT_FALSE(without.ok());
  EXPECT_EQ(without.error().code, ErrorCode::kUnsupported);
  const Routine reverse = [](const RoutineCall&, const std::vector<Tensor>& in,
                             std::vector<Tensor>& out) -> Status {
    for (int i = 0; i < 4; ++i) out[0].set_f64(i, in[0].at_f64(3 - i));
    return {};
  };
  const Tensor x = small_integers(4, 1);
  Result<std::vector<Tensor>> y = interpret(program, {x}, nullptr, reverse);
  ASSERT_TRUE(y.ok());
  for (int i = 0; i < 4; ++i) EXPECT_EQ((*y)[0].at_f64(i), x.at_f64(3 - i));
}

}  // namespace
}  // namespace corf::loop
