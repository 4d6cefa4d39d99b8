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

/// A vector of floats, in the notation that GCC and clang share.
template <int bytes>
using Vector [[gnu::vector_size(bytes), gnu::may_alias]] = float;

/// The tiles that hold most sums beside what they multiply, as generated kernels do.
template <int bytes, int rows>
[[gnu::always_inline]] inline void multiply_tile(const float* left, const float* panel,
                                                 float* result, int64_t steps) {
  using V = Vector<bytes>;
  V sums[rows][2] = {};
  const auto* factors = reinterpret_cast<const V*>(panel);
  for (int64_t step = 0; step < steps; ++step) {
    const V first = factors[2 * step], second = factors[2 * step + 1];
#pragma GCC unroll 14
    for (int row = 0; row < rows; ++row) {
      const float factor = left[row * steps + step];
      sums[row][0] += factor * first;
      sums[row][1] += factor * second;
    }
  }
  auto* results = reinterpret_cast<V*>(result);
#pragma GCC unroll 14
  for (int row = 0; row < rows; ++row) {
    results[2 * row] = sums[row][0];
    results[2 * row + 1] = sums[row][1];
  }
}

template <int bytes>
[[gnu::always_inline]] inline void fill(float* data, int64_t elems) {
  using V = Vector<bytes>;
  auto* vectors = reinterpret_cast<V*>(data);
  const V value = V{} + kTerm;
  const int64_t count = elems * 4 / bytes;
  for (int64_t i = 0; i < count; i += kSums) {
#pragma GCC unroll 8
    for (int j = 0; j < kSums; ++j) vectors[i + j] = value;
  }
}

constexpr int kTileRows512 = 14, kTileRows256 = 6;

__attribute__((target("avx512f,avx512dq"))) void multiply_tile_avx512(const float* left,
                                                                      const float* panel,
                                                                      float* result,
                                                                      int64_t steps) {
  multiply_tile<64, kTileRows512>(left, panel, result, steps);
}
__attribute__((target("avx2,fma"))) void multiply_tile_avx2(const float* left, const float* panel,
                                                            float* result, int64_t steps) {
  multiply_tile<32, kTileRows256>(left, panel, result, steps);
}

__attribute__((target("avx512f,avx512dq"))) void fill_avx512(float* data, int64_t elems) {
  fill<64>(data, elems);
}
__attribute__((target("avx2"))) void fill_avx2(float* data, int64_t elems) {
  fill<32>(data, elems);
}
void fill_sse2(float* data, int64_t elems) { fill<16>(data, elems); }

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
  CalibrationKernels kernels;
  switch (isa) {
    case Isa::kAmx:
      kernels.multiply_matrices = multiply_matrices_amx;
      kernels.products_per_iteration = kProductsAmx;
      [[fallthrough]];
    case Isa::kAvx512:
    case Isa::kAvx512Vnni:
    case Isa::kAvx512Bf16:
      kernels.multiply_add = multiply_add_avx512;
      kernels.flops_per_iteration = 2 * 16 * kAccumulators512;
      kernels.multiply_tile = multiply_tile_avx512;
      kernels.tile_rows = kTileRows512, kernels.tile_columns = 32;
      kernels.sum = sum_avx512;
      kernels.fill = fill_avx512;
      break;
    case Isa::kAvx2:
    case Isa::kAvx2Vnni:
      kernels.multiply_add = multiply_add_avx2;
      kernels.flops_per_iteration = 2 * 8 * kAccumulators256;
      kernels.multiply_tile = multiply_tile_avx2;
      kernels.tile_rows = kTileRows256, kernels.tile_columns = 16;
      kernels.sum = sum_avx2;
      kernels.fill = fill_avx2;
      break;
    case Isa::kSse2:
      kernels.multiply_add = multiply_add_sse2;
      kernels.flops_per_iteration = 2 * 4 * kAccumulators128;
      kernels.sum = sum_sse2;
      kernels.fill = fill_sse2;
      break;
  }
  return kernels;
}

}  // namespace corf
