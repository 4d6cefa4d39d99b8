#include "target/calibration_kernels.h"

#include <immintrin.h>

namespace corf {
namespace {

// Accumulators: enough to hide the latency of a multiply-add on two units, few enough to stay in
// registers beside the two factors.
constexpr int kAccumulators512 = 24, kAccumulators256 = 12, kAccumulators128 = 12;
constexpr int kSums = 8;
constexpr float kFactor = 0.999f, kTerm = 0.001f;

__attribute__((target("avx512f,avx512dq"))) float multiply_add_avx512(int64_t iterations) {
  const __m512 factor = _mm512_set1_ps(kFactor), term = _mm512_set1_ps(kTerm);
  __m512 acc[kAccumulators512];
#pragma GCC unroll 24
  for (int i = 0; i < kAccumulators512; ++i) acc[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 24
    for (int i = 0; i < kAccumulators512; ++i) acc[i] = _mm512_fmadd_ps(acc[i], factor, term);
  }
  __m512 total = acc[0];
#pragma GCC unroll 24
  for (int i = 1; i < kAccumulators512; ++i) total = _mm512_add_ps(total, acc[i]);
  return _mm512_cvtss_f32(total);
}

__attribute__((target("avx2,fma"))) float multiply_add_avx2(int64_t iterations) {
  const __m256 factor = _mm256_set1_ps(kFactor), term = _mm256_set1_ps(kTerm);
  __m256 acc[kAccumulators256];
#pragma GCC unroll 12
  for (int i = 0; i < kAccumulators256; ++i) acc[i] = _mm256_set1_ps(static_cast<float>(i));
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < kAccumulators256; ++i) acc[i] = _mm256_fmadd_ps(acc[i], factor, term);
  }
  __m256 total = acc[0];
#pragma GCC unroll 12
  for (int i = 1; i < kAccumulators256; ++i) total = _mm256_add_ps(total, acc[i]);
  return _mm256_cvtss_f32(total);
}

float multiply_add_sse2(int64_t iterations) {
  const __m128 factor = _mm_set1_ps(kFactor), term = _mm_set1_ps(kTerm);
  __m128 acc[kAccumulators128];
#pragma GCC unroll 12
  for (int i = 0; i < kAccumulators128; ++i) acc[i] = _mm_set1_ps(static_cast<float>(i));
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < kAccumulators128; ++i) {
      acc[i] = _mm_add_ps(_mm_mul_ps(acc[i], factor), term);
    }
  }
  __m128 total = acc[0];
#pragma GCC unroll 12
  for (int i = 1; i < kAccumulators128; ++i) total = _mm_add_ps(total, acc[i]);
  return _mm_cvtss_f32(total);
}

__attribute__((target("avx512f,avx512dq"))) float sum_avx512(const float* data, int64_t elems) {
  __m512 acc[kSums] = {};
  for (int64_t at = 0; at < elems; at += 16 * kSums) {
#pragma GCC unroll 8
    for (int i = 0; i < kSums; ++i) {
      acc[i] = _mm512_add_ps(acc[i], _mm512_load_ps(data + at + 16 * i));
    }
  }
#pragma GCC unroll 8
  for (int i = 1; i < kSums; ++i) acc[0] = _mm512_add_ps(acc[0], acc[i]);
  alignas(64) float lanes[16];
  _mm512_store_ps(lanes, acc[0]);
  float total = 0;
  for (const float lane : lanes) total += lane;
  return total;
}

__attribute__((target("avx2"))) float sum_avx2(const float* data, int64_t elems) {
  __m256 acc[kSums] = {};
  for (int64_t at = 0; at < elems; at += 8 * kSums) {
#pragma GCC unroll 8
    for (int i = 0; i < kSums; ++i) {
      acc[i] = _mm256_add_ps(acc[i], _mm256_load_ps(data + at + 8 * i));
    }
  }
#pragma GCC unroll 8
  for (int i = 1; i < kSums; ++i) acc[0] = _mm256_add_ps(acc[0], acc[i]);
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, acc[0]);
  float total = 0;
  for (const float lane : lanes) total += lane;
  return total;
}

float sum_sse2(const float* data, int64_t elems) {
  __m128 acc[kSums] = {};
  for (int64_t at = 0; at < elems; at += 4 * kSums) {
#pragma GCC unroll 8
    for (int i = 0; i < kSums; ++i) acc[i] = _mm_add_ps(acc[i], _mm_load_ps(data + at + 4 * i));
  }
#pragma GCC unroll 8
  for (int i = 1; i < kSums; ++i) acc[0] = _mm_add_ps(acc[0], acc[i]);
  alignas(16) float lanes[4];
  _mm_store_ps(lanes, acc[0]);
  return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

/// What LDTILECFG reads: bytes of a row and rows of each register.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

__attribute__((target("amx-tile,amx-bf16"))) void multiply_matrices_amx(int64_t iterations) {
  static const TileShapes shapes;
  alignas(64) static const uint16_t factors[4][512] = {};
  _tile_loadconfig(&shapes);
  for (int64_t i = 0; i < iterations; ++i) {
    _tile_loadd(4, factors[0], 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, factors[1], 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    _tile_loadd(6, factors[2], 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(2, 5, 6);
    _tile_loadd(7, factors[3], 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
}
constexpr int64_t kProductsAmx = 8;

}  // namespace

CalibrationKernels calibration_kernels(Isa isa) {
  switch (isa) {
    case Isa::kAmx:
      return {multiply_add_avx512, 2 * 16 * kAccumulators512, sum_avx512, multiply_matrices_amx,
              kProductsAmx};
    case Isa::kAvx512:
    case Isa::kAvx512Vnni:
    case Isa::kAvx512Bf16:
      return {multiply_add_avx512, 2 * 16 * kAccumulators512, sum_avx512};
    case Isa::kAvx2:
    case Isa::kAvx2Vnni:
      return {multiply_add_avx2, 2 * 8 * kAccumulators256, sum_avx2};
    case Isa::kSse2:
      break;
  }
  return {multiply_add_sse2, 2 * 4 * kAccumulators128, sum_sse2};
}

}  // namespace corf
