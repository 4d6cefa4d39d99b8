#include "runtime/routines/wide_math.h"

#include <bit>

#include "target/machine.h"

namespace corf::runtime {
namespace {

#define CORF_INLINE [[gnu::always_inline]] inline

/// e^x within 2 units in the last place; 0 below -87, infinite above 88.
/// Source: Cody and Waite, Software Manual for the Elementary Functions, chapter 6.
CORF_INLINE float exponential(float x) {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  // Added and taken away, it leaves the nearest integer, which is in its low bits in between.
  constexpr float kRound = 0x1.8p23f;
  const float within = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
  const float shifted = within * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (within - n * kLn2High) - n * kLn2Low;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * (r * r) + r + 1.0f;
  const float power = std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) << 23) + 0x3f800000u);
  const float result = p * power;
  return x < -87.0f ? 0.0f : x > 88.0f ? __builtin_inff() : result;
}

CORF_INLINE float hyperbolic_tangent(float x) {
  const float square = x * x;
  // The series about 0, where the quotient below would cancel.
  float p = -1382.0f / 155925;
  p = p * square + 62.0f / 2835;
  p = p * square - 17.0f / 315;
  p = p * square + 2.0f / 15;
  p = p * square - 1.0f / 3;
  const float near_zero = x + x * square * p;
  const float far = 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
  return square < 0.1f ? near_zero : far;
}

CORF_INLINE void add_product_loop(float* __restrict acc, int64_t count, const float* x,
                                  int64_t depth, const float* weights, int64_t stride) {
  int64_t k = 0;
  // Eight rows at a time: acc is read and written once for all of them.
  for (; k + 8 <= depth; k += 8) {
    const float* row = weights + k * stride;
    const float x0 = x[k], x1 = x[k + 1], x2 = x[k + 2], x3 = x[k + 3];
    const float x4 = x[k + 4], x5 = x[k + 5], x6 = x[k + 6], x7 = x[k + 7];
    for (int64_t j = 0; j < count; ++j) {
      const float* at = row + j;
      const float low =
          (x0 * at[0] + x1 * at[stride]) + (x2 * at[2 * stride] + x3 * at[3 * stride]);
      const float high =
          (x4 * at[4 * stride] + x5 * at[5 * stride]) + (x6 * at[6 * stride] + x7 * at[7 * stride]);
      acc[j] += low + high;
    }
  }
  for (; k < depth; ++k) {
    const float factor = x[k];
    const float* row = weights + k * stride;
    for (int64_t j = 0; j < count; ++j) acc[j] += factor * row[j];
  }
}

CORF_INLINE void sigmoid_loop(float* x, int64_t count) {
  for (int64_t j = 0; j < count; ++j) x[j] = 1.0f / (1.0f + exponential(-x[j]));
}

CORF_INLINE void tanh_loop(float* x, int64_t count) {
  for (int64_t j = 0; j < count; ++j) x[j] = hyperbolic_tangent(x[j]);
}

/// The loops for one instruction set.
struct Loops {
  decltype(&corf::runtime::add_product) add_product;
  decltype(&apply_sigmoid) sigmoid, tanh;
};

#define CORF_LOOPS(name, target)                                                             \
  struct name {                                                                              \
    target static void add_product(float* acc, int64_t count, const float* x, int64_t depth, \
                                   const float* weights, int64_t stride) {                   \
      add_product_loop(acc, count, x, depth, weights, stride);                               \
    }                                                                                        \
    target static void sigmoid(float* x, int64_t count) { sigmoid_loop(x, count); }          \
    target static void tanh(float* x, int64_t count) { tanh_loop(x, count); }                \
    static constexpr Loops kLoops = {add_product, sigmoid, tanh};                            \
  };
CORF_LOOPS(Sse2Loops, )
CORF_LOOPS(Avx2Loops, [[gnu::target("avx2")]])
CORF_LOOPS(Avx512Loops, [[gnu::target("avx512f,avx512vl,avx512dq,prefer-vector-width=512")]])
#undef CORF_LOOPS
#undef CORF_INLINE

const Loops& loops() {
  static const Loops& widest = has_isa(Isa::kAvx512) ? Avx512Loops::kLoops
                               : has_isa(Isa::kAvx2) ? Avx2Loops::kLoops
                                                     : Sse2Loops::kLoops;
  return widest;
}

}  // namespace

void add_product(float* acc, int64_t count, const float* x, int64_t depth, const float* weights,
                 int64_t stride) {
  loops().add_product(acc, count, x, depth, weights, stride);
}

void apply_sigmoid(float* x, int64_t count) { loops().sigmoid(x, count); }

void apply_tanh(float* x, int64_t count) { loops().tanh(x, count); }

}  // namespace corf::runtime
