#include "runtime/routines/byte_math.h"

#include <algorithm>
#include <cstring>
#include <immintrin.h>

#include "runtime/routines/wide_math.h"

namespace corf::runtime {
namespace {

/// The operands of add_byte_products.
struct Products {
  int32_t* const* acc;
  const uint8_t* const* x;
  int64_t depth;
  const int8_t* weights;
  int64_t panel_bytes;
};

int32_t four_bytes(const uint8_t* from) {
  int32_t four;
  std::memcpy(&four, from, sizeof(four));
  return four;
}

void add_panel(const Products& p, int64_t row, int64_t panel) {
  int32_t sums[kPanel] = {};
  const int8_t* weights = p.weights + panel * p.panel_bytes;
  for (int64_t k = 0; k < p.depth; k += kByteSteps, weights += kPanel * kByteSteps) {
    for (int64_t j = 0; j < kPanel; ++j) {
      for (int64_t s = 0; s < kByteSteps; ++s) {
        sums[j] += int32_t{p.x[row][k + s]} * weights[j * kByteSteps + s];
      }
    }
  }
  for (int64_t j = 0; j < kPanel; ++j) p.acc[row][panel * kPanel + j] += sums[j];
}

void add_with_sse2(int64_t rows, const Products& p, int64_t panels) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t panel = 0; panel < panels; ++panel) add_panel(p, row, panel);
  }
}

/// Two rows at most, whose sums of pairs of steps are in registers.
template <int kRows>
[[gnu::target("avx2")]] void add_avx2_panel(const Products& p, int64_t row, int64_t panel) {
  constexpr int kVectors = 4;  // each of four columns, twice
  __m256i sums[kRows][kVectors] = {};
  const int8_t* weights = p.weights + panel * p.panel_bytes;
  for (int64_t k = 0; k < p.depth; k += kByteSteps, weights += kPanel * kByteSteps) {
    __m256i column[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      const auto* from = reinterpret_cast<const __m128i*>(weights) + v;
      column[v] = _mm256_cvtepi8_epi16(_mm_loadu_si128(from));
    }
    for (int n = 0; n < kRows; ++n) {
      const __m256i x = _mm256_cvtepu8_epi16(_mm_set1_epi32(four_bytes(p.x[row + n] + k)));
      for (int v = 0; v < kVectors; ++v) {
        sums[n][v] = _mm256_add_epi32(sums[n][v], _mm256_madd_epi16(x, column[v]));
      }
    }
  }
  for (int n = 0; n < kRows; ++n) {
    for (int v = 0; v < kVectors; v += 2) {
      const __m256i pairs = _mm256_hadd_epi32(sums[n][v], sums[n][v + 1]);
      const __m256i in_order = _mm256_permute4x64_epi64(pairs, 0b11'01'10'00);
      auto* to = reinterpret_cast<__m256i*>(p.acc[row + n] + panel * kPanel + v * 4);
      _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), in_order));
    }
  }
}

void add_with_avx2(int64_t rows, const Products& p, int64_t panels) {
  for (int64_t panel = 0; panel < panels; ++panel) {
    int64_t row = 0;
    for (; row + 2 <= rows; row += 2) add_avx2_panel<2>(p, row, panel);
    if (row < rows) add_avx2_panel<1>(p, row, panel);
  }
}

template <int kRows, int kPanels>
[[gnu::target("avx512f,avx512vnni")]] void add_vnni_panels(const Products& p, int64_t row,
                                                           int64_t panel) {
  __m512i sums[kRows][kPanels];
  const auto place = [&](int n, int v) { return p.acc[row + n] + (panel + v) * kPanel; };
  for (int n = 0; n < kRows; ++n) {
    for (int v = 0; v < kPanels; ++v) std::memcpy(&sums[n][v], place(n, v), sizeof(__m512i));
  }
  const int8_t* weights = p.weights + panel * p.panel_bytes;
  for (int64_t k = 0; k < p.depth; k += kByteSteps, weights += kPanel * kByteSteps) {
    __m512i x[kRows];
    for (int n = 0; n < kRows; ++n) x[n] = _mm512_set1_epi32(four_bytes(p.x[row + n] + k));
    for (int v = 0; v < kPanels; ++v) {
      const __m512i column = _mm512_loadu_si512(weights + v * p.panel_bytes);
      for (int n = 0; n < kRows; ++n) sums[n][v] = _mm512_dpbusd_epi32(sums[n][v], x[n], column);
    }
  }
  for (int n = 0; n < kRows; ++n) {
    for (int v = 0; v < kPanels; ++v) std::memcpy(place(n, v), &sums[n][v], sizeof(__m512i));
  }
}

template <int kRows>
void add_vnni_rows(const Products& p, int64_t row, int64_t panels) {
  // As many sums as the latency of an instruction hides.
  constexpr int kAtOnce = 8 / std::min(kRows, 4);
  int64_t panel = 0;
  for (; panel + kAtOnce <= panels; panel += kAtOnce) {
    add_vnni_panels<kRows, kAtOnce>(p, row, panel);
  }
  for (; panel < panels; ++panel) add_vnni_panels<kRows, 1>(p, row, panel);
}

void add_with_vnni(int64_t rows, const Products& p, int64_t panels) {
  int64_t row = 0;
  for (; row + 8 <= rows; row += 8) add_vnni_rows<8>(p, row, panels);
  for (; row + 4 <= rows; row += 4) add_vnni_rows<4>(p, row, panels);
  for (; row + 2 <= rows; row += 2) add_vnni_rows<2>(p, row, panels);
  if (row < rows) add_vnni_rows<1>(p, row, panels);
}

}  // namespace

ByteScale byte_scale_of(const float* x, int64_t count) {
  float least = 0, most = 0;
  for (int64_t i = 0; i < count; ++i) {
    least = x[i] < least ? x[i] : least;
    most = x[i] > most ? x[i] : most;
  }
  const float span = most - least;
  if (!(span > 0)) return {};
  ByteScale result{span / 255.0f, 0};
  // Added and taken away, it rounds to the nearest integer.
  constexpr float kRound = 0x1.8p23f;
  const float zero_point = (-least / result.scale + kRound) - kRound;
  if (zero_point > 0) result.zero_point = static_cast<int32_t>(std::min(zero_point, 255.0f));
  return result;
}

int32_t quantize(const float* x, int64_t count, const ByteScale& scale, uint8_t* bytes) {
  constexpr float kRound = 0x1.8p23f;
  int32_t sum = 0;
  const auto zero_point = static_cast<float>(scale.zero_point);
  for (int64_t i = 0; i < count; ++i) {
    float y = ((x[i] / scale.scale + kRound) - kRound) + zero_point;
    y = y > 0 ? y : 0;  // of a NaN too
    y = y < 255 ? y : 255;
    const auto byte = static_cast<int32_t>(y);
    bytes[i] = static_cast<uint8_t>(byte);
    sum += byte;
  }
  return sum;
}

namespace {

template <void (*kAdd)(int64_t rows, const Products& products, int64_t panels)>
void add(int64_t rows, int32_t* const* acc, const uint8_t* const* x, int64_t depth,
         const int8_t* weights, int64_t panel_bytes, int64_t panels) {
  kAdd(rows, {acc, x, depth, weights, panel_bytes}, panels);
}

}  // namespace

decltype(&add_byte_products) add_byte_products_on(Isa isa) {
  if (isa >= Isa::kAvx512Vnni) return add<add_with_vnni>;
  return isa == Isa::kSse2 ? add<add_with_sse2> : add<add_with_avx2>;
}

void add_byte_products(int64_t rows, int32_t* const* acc, const uint8_t* const* x, int64_t depth,
                       const int8_t* weights, int64_t panel_bytes, int64_t panels) {
  static const auto widest = add_byte_products_on(has_isa(Isa::kAvx512Vnni) ? Isa::kAvx512Vnni
                                                  : has_isa(Isa::kAvx2)     ? Isa::kAvx2
                                                                            : Isa::kSse2);
  widest(rows, acc, x, depth, weights, panel_bytes, panels);
}

}  // namespace corf::runtime
