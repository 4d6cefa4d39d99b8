#include <fmt/format.h>
#include <limits>

#include "tests/codegen/compare.h"

namespace corf::codegen {
namespace {

constexpr int kElems = 37;

/// Values where operations differ from each other: zeros, limits, halves, infinities, NaN.
Tensor interesting(DType dtype, uint32_t seed) {
  Tensor tensor(dtype, {kElems});
  std::mt19937 random(seed);
  if (is_float(dtype)) {
    const double inf = std::numeric_limits<double>::infinity();
    const std::vector<double> special = {0.0,   -0.0,  1,       -1,   0.5,  -0.5, 1.5,
                                         2.5,   -2.5,  inf,     -inf, NAN,  1e-3, 3e-6,
                                         127.4, -1e10, 8388609, 3e9,  1e20, -7};
    for (int64_t i = 0; i < kElems; ++i) {
      const auto pick = random() % (2 * special.size());
      tensor.set_f64(i, pick < special.size() ? special[pick]
                                              : (static_cast<double>(random() % 4001) - 2000) / 64);
    }
    return tensor;
  }
  const std::vector<int64_t> special = {0,         1,         -1,        2,        -2,    3,
                                        7,         127,       -128,      255,      32767, -32768,
                                        INT32_MIN, INT32_MAX, INT64_MIN, INT64_MAX};
  for (int64_t i = 0; i < kElems; ++i) {
    const auto pick = random() % (2 * special.size());
    int64_t value =
        pick < special.size() ? special[pick] : static_cast<int64_t>(random() % 21) - 10;
    if (dtype == DType::kBool) value &= 1;
    tensor.set_i64(i, value);
  }
  return tensor;
}

KernelRun elementwise(const std::string& name, const std::string& body,
                      const std::vector<DType>& inputs, DType output) {
  std::string buffers, loads;
  for (size_t i = 0; i < inputs.size(); ++i) {
    buffers += fmt::format("x{}: {}[{}], ", i, to_string(inputs[i]), kElems);
    loads += fmt::format("      %{} = load {} x{}[i]\n", i, to_string(inputs[i]), i);
  }
  KernelRun run;
  run.kernel = parse(fmt::format(R"(
kernel {}({}y: {}[{}] mut) partition part {{
  tile (i: {} vector) {{
{}      %9 = {}
      store y[i] = %9
  }}
}})",
                                 name, buffers, to_string(output), kElems, kElems, loads, body));
  for (size_t i = 0; i < inputs.size(); ++i) {
    run.inputs.push_back(interesting(inputs[i], static_cast<uint32_t>(17 + i)));
  }
  return run;
}

const std::vector<DType> kIntegers = {DType::kI8,  DType::kU8,  DType::kI16, DType::kU16,
                                      DType::kI32, DType::kU32, DType::kI64, DType::kU64};
const std::vector<DType> kFloats = {DType::kF16, DType::kBF16, DType::kF32, DType::kF64};

TEST(Operations, BinaryOnIntegers) {
  for (DType dtype : kIntegers) {
    for (const char* op : {"add", "sub", "mul", "div", "min", "max", "mod", "fmod", "and", "or",
                           "xor", "shift_left", "shift_right"}) {
      expect_as_interpreted(elementwise(fmt::format("{}_{}", op, to_string(dtype)),
                                        fmt::format("{} {} %0, %1", op, to_string(dtype)),
                                        {dtype, dtype}, dtype));
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Operations, PowerOfIntegers) {
  for (DType dtype : {DType::kI32, DType::kI64, DType::kU8}) {
    expect_as_interpreted(
        elementwise("pow", fmt::format("pow {} %0, %1", to_string(dtype)), {dtype, dtype}, dtype));
    if (HasFatalFailure()) return;
  }
}

TEST(Operations, BinaryOnFloats) {
  for (DType dtype : kFloats) {
    for (const char* op : {"add", "sub", "mul", "div", "min", "max", "mod", "fmod"}) {
      expect_as_interpreted(elementwise(fmt::format("{}_{}", op, to_string(dtype)),
                                        fmt::format("{} {} %0, %1", op, to_string(dtype)),
                                        {dtype, dtype}, dtype));
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Operations, UnaryOnFloats) {
  for (DType dtype : kFloats) {
    for (const char* op :
         {"neg", "abs", "sign", "floor", "ceil", "round", "reciprocal", "sqrt", "tan", "asin",
          "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh"}) {
      expect_as_interpreted(elementwise(fmt::format("{}_{}", op, to_string(dtype)),
                                        fmt::format("{} {} %0", op, to_string(dtype)), {dtype},
                                        dtype));
      if (HasFatalFailure()) return;
    }
  }
}

/// Of doubles the C library's; of floats in vector_math_test.
TEST(Operations, FunctionsOfDoubles) {
  expect_as_interpreted(
      elementwise("pow", "pow f64 %0, %1", {DType::kF64, DType::kF64}, DType::kF64));
  for (const char* op : {"sin", "cos"}) {
    expect_as_interpreted(
        elementwise(op, fmt::format("{} f64 %0", op), {DType::kF64}, DType::kF64));
  }
}

TEST(Operations, UnaryOnIntegersAndBooleans) {
  for (DType dtype : kIntegers) {
    for (const char* op : {"neg", "abs", "sign", "not", "floor"}) {
      expect_as_interpreted(elementwise(fmt::format("{}_{}", op, to_string(dtype)),
                                        fmt::format("{} {} %0", op, to_string(dtype)), {dtype},
                                        dtype));
      if (HasFatalFailure()) return;
    }
  }
  expect_as_interpreted(elementwise("not_bool", "not bool %0", {DType::kBool}, DType::kBool));
  for (const char* op : {"and", "or", "xor", "equal"}) {
    expect_as_interpreted(elementwise(op, fmt::format("{} bool %0, %1", op),
                                      {DType::kBool, DType::kBool}, DType::kBool));
  }
}

TEST(Operations, ComparisonsSelectionAndTests) {
  std::vector<DType> all = kIntegers;
  all.insert(all.end(), kFloats.begin(), kFloats.end());
  for (DType dtype : all) {
    for (const char* op : {"less", "less_equal", "equal"}) {
      expect_as_interpreted(elementwise(fmt::format("{}_{}", op, to_string(dtype)),
                                        fmt::format("{} bool %0, %1", op), {dtype, dtype},
                                        DType::kBool));
      if (HasFatalFailure()) return;
    }
    expect_as_interpreted(elementwise("select",
                                      fmt::format("select {} %0, %1, %2", to_string(dtype)),
                                      {DType::kBool, dtype, dtype}, dtype));
  }
  for (DType dtype : kFloats) {
    expect_as_interpreted(elementwise("is_nan", "is_nan bool %0", {dtype}, DType::kBool));
    expect_as_interpreted(elementwise("is_inf", "is_inf bool %0", {dtype}, DType::kBool));
  }
}

TEST(Operations, CastsBetweenAllTypes) {
  std::vector<DType> all = kIntegers;
  all.insert(all.end(), kFloats.begin(), kFloats.end());
  all.push_back(DType::kBool);
  for (DType from : all) {
    for (DType to : all) {
      expect_as_interpreted(elementwise(fmt::format("cast_{}_{}", to_string(from), to_string(to)),
                                        fmt::format("cast {} %0", to_string(to)), {from}, to));
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Operations, MinAndMaxWithConstantsPropagateNan) {
  KernelRun run;
  run.kernel = parse(R"(
kernel clip(x: f32[37], y: f32[37] mut, z: f32[37] mut) partition part {
  tile (i: 37 vector) {
    %lo = const f32 0
    %hi = const f32 6
    %x = load f32 x[i]
    %a = max f32 %x, %lo
    %b = min f32 %hi, %a
    store y[i] = %b
    %c = min f32 %lo, %x
    store z[i] = %c
  }
})");
  run.inputs = {interesting(DType::kF32, 5)};
  expect_as_interpreted(run);
}

/// Rounded, shifted, clipped: of NaN 0 becomes, halves go to even numbers.
TEST(Operations, NumbersAreQuantisedToBytes) {
  struct Bytes {
    const char* type;
    int zero_point, low, high;
    float divisor = 1;
  };
  for (const Bytes& b : {Bytes{"u8", 0, 0, 255},
                         {"u8", 117, 0, 255},
                         {"u8", 255, 0, 255},
                         {"u8", 3, 3, 99},
                         {"u8", 0, 0, 7},
                         {"u8", 9, 0, 30},
                         {"i8", 0, -128, 127},
                         {"i8", -7, -128, 127},
                         {"i8", 0, 0, 127},
                         {"u8", 117, 0, 255, 0.0373908F},
                         {"u8", 0, 0, 255, 3.0F},
                         {"i8", 0, -128, 127, 0.1F},
                         {"u8", 5, 0, 255, 1.9999999F},
                         {"u8", 0, 0, 255, 0x1.fffffep-127F}}) {
    SCOPED_TRACE(fmt::format("{} {} {} {} {}", b.type, b.zero_point, b.low, b.high, b.divisor));
    KernelRun run;
    run.kernel = parse(fmt::format(R"(
kernel quantize(x: f32[37], y: {0}[37] mut) partition part {{
  tile (i: 37 vector) {{
    %x = load f32 x[i]
    %divisor = const f32 {4}
    %quotient = div f32 %x, %divisor
    %round = round f32 %quotient
    %zero = const f32 {1}
    %shifted = add f32 %round, %zero
    %lo = const f32 {2}
    %above = max f32 %shifted, %lo
    %hi = const f32 {3}
    %clipped = min f32 %above, %hi
    %bytes = cast {0} %clipped
    store y[i] = %bytes
  }}
}})",
                                   b.type, b.zero_point, b.low, b.high, b.divisor));
    for (uint32_t seed = 0; seed < 8; ++seed) {
      run.inputs = {interesting(DType::kF32, seed)};
      // Near halves of the divisor's multiples.
      Tensor& x = run.inputs[0];
      std::mt19937 random(seed);
      for (int64_t i = 0; seed >= 4 && i < x.num_elems(); ++i) {
        float near = static_cast<float>((double(random() % 600) - 300 + 0.5) * b.divisor);
        for (auto steps = random() % 4; steps > 0; --steps) near = std::nextafter(near, 0.0F);
        x.set_f64(i, near);
      }
      expect_as_interpreted(run);
      if (HasFailure()) return;
    }
  }
}

TEST(Operations, IntegerUpdatesWrap) {
  for (DType dtype : {DType::kI32, DType::kI64}) {
    KernelRun run;
    run.kernel = parse(fmt::format(R"(
kernel sums(x: {0}[40], w: {0}[40], y: {0}[20] mut, z: {0}[20] mut) partition part {{
  tile (k: 2, i: 20 vector) {{
    %zero = const {0} 0
    acc %sum {0} (i) = %zero
    acc %top {0} (i) = %zero
    %x = load {0} x[k*20 + i]
    %w = load {0} w[k*20 + i]
    %sum += %x * %w over (k)
    %top max= %x over (k)
    store y[i] = %sum
    store z[i] = %top
  }}
}})",
                                   to_string(dtype)));
    run.inputs = {small_integers(dtype, 40, 1, 1000000000),
                  small_integers(dtype, 40, 2, 1000000000)};
    expect_as_interpreted(run);
  }
}

TEST(Operations, EightBitProductsInWideAccumulators) {
  KernelRun run;
  run.kernel = parse(R"(
kernel dot(x: u8[64], w: i8[96], y: i32[48] mut) partition part {
  tile (p: 2, c: 24 vector) {
    %zero = const i32 0
    acc %sum i32 (p, c) = %zero
    loop k in [0, 4) step 1 unroll 1 {
      %x8 = load u8 x[p*4 + k]
      %x = cast i32 %x8
      %w8 = load i8 w[k*24 + c]
      %w = cast i32 %w8
      %sum += %x * %w
    }
    store y[p*24 + c] = %sum
  }
})");
  run.inputs = {small_integers(DType::kU8, 64, 1, 127), small_integers(DType::kI8, 96, 2, 127)};
  expect_as_interpreted(run);
}

}  // namespace
}  // namespace corf::codegen
