#include "runtime/routines/wide_math.h"

#include <bit>
#include <cstring>

#include "target/machine.h"

namespace corf::runtime {
namespace {

// What takes and returns registers is inlined: how they would be passed does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"
#define CORF_INLINE [[gnu::always_inline]] inline
#define CORF_INLINED __attribute__((always_inline))  // of a lambda

/// A register of so many floats. The compiler turns what is written with it into the instructions
/// of the function that it is inlined into.
template <int kLanes>
using Floats [[gnu::vector_size(kLanes * sizeof(float))]] = float;
template <int kLanes>
using Bits [[gnu::vector_size(kLanes * sizeof(float))]] = uint32_t;

template <int kLanes>
CORF_INLINE Floats<kLanes> all(float x) {
  return x - Floats<kLanes>{};
}

/// e^x within 2 units in the last place; 0 below -87, infinite above 88.
/// Source: Cody and Waite, Software Manual for the Elementary Functions, chapter 6.
template <int kLanes>
CORF_INLINE Floats<kLanes> exponential(Floats<kLanes> x) {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  // Added and taken away, it leaves the nearest integer, which is in its low bits in between.
  constexpr float kRound = 0x1.8p23f;
  const Floats<kLanes> least = all<kLanes>(-87.0f), most = all<kLanes>(88.0f);
  Floats<kLanes> within = x < least ? least : x;
  within = within > most ? most : within;
  const Floats<kLanes> shifted = within * kLog2E + kRound;
  const Floats<kLanes> n = shifted - kRound;
  const Floats<kLanes> r = (within - n * kLn2High) - n * kLn2Low;
  Floats<kLanes> p = all<kLanes>(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * (r * r) + r + 1.0f;
  const auto power =
      std::bit_cast<Floats<kLanes>>((std::bit_cast<Bits<kLanes>>(shifted) << 23) + 0x3f800000u);
  const Floats<kLanes> result = x < least ? Floats<kLanes>{} : p * power;
  return x > most ? all<kLanes>(__builtin_inff()) : result;
}

template <int kLanes>
CORF_INLINE Floats<kLanes> hyperbolic_tangent(Floats<kLanes> x) {
  const Floats<kLanes> square = x * x;
  // The series about 0, where the quotient below would cancel.
  Floats<kLanes> p = all<kLanes>(-1382.0f / 155925);
  p = p * square + 62.0f / 2835;
  p = p * square - 17.0f / 315;
  p = p * square + 2.0f / 15;
  p = p * square - 1.0f / 3;
  const Floats<kLanes> near_zero = x + x * square * p;
  const Floats<kLanes> far = 1.0f - 2.0f / (exponential<kLanes>(2.0f * x) + 1.0f);
  return square < 0.1f ? near_zero : far;
}

/// f of each x[j], a register at a time.
template <int kLanes, typename Function>
CORF_INLINE void apply(float* x, int64_t count, Function f) {
  Floats<kLanes> some;
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    std::memcpy(&some, x + j, sizeof(some));
    f(some);
    std::memcpy(x + j, &some, sizeof(some));
  }
  if (j == count) return;
  const size_t rest = static_cast<size_t>(count - j) * sizeof(float);
  some = Floats<kLanes>{};
  std::memcpy(&some, x + j, rest);
  f(some);
  std::memcpy(x + j, &some, rest);
}

/// Sums of kRows rows and kPanels panels in registers.
template <int kLanes, int kRows, int kPanels>
CORF_INLINE void add_tile(float* const* acc, const float* const* x, int64_t depth,
                          const float* weights, int64_t first) {
  constexpr int kVectors = static_cast<int>(kPanel) / kLanes;
  Floats<kLanes> sums[kRows][kPanels * kVectors];
  auto each = [&](auto f) CORF_INLINED {
#pragma GCC unroll 4
    for (int n = 0; n < kRows; ++n) {
#pragma GCC unroll 16
      for (int v = 0; v < kPanels * kVectors; ++v) f(n, v);
    }
  };
  auto place = [&](int n, int v) { return acc[n] + first * kPanel + v * kLanes; };
  each([&](int n, int v)
           CORF_INLINED { std::memcpy(&sums[n][v], place(n, v), sizeof(Floats<kLanes>)); });
  const float* panel = weights + first * depth * kPanel;
  for (int64_t k = 0; k < depth; ++k) {
    each([&](int n, int v) CORF_INLINED {
      Floats<kLanes> column;
      std::memcpy(&column, panel + ((v / kVectors) * depth + k) * kPanel + (v % kVectors) * kLanes,
                  sizeof(Floats<kLanes>));
      sums[n][v] += x[n][k] * column;
    });
  }
  each([&](int n, int v)
           CORF_INLINED { std::memcpy(place(n, v), &sums[n][v], sizeof(Floats<kLanes>)); });
}

/// So many panels; what a few rows read of them is near for the next ones.
template <int kLanes, int kPanels>
CORF_INLINE void add_panels(int64_t rows, float* const* acc, const float* const* x, int64_t depth,
                            const float* weights, int64_t first) {
  // As many sums at a time as there are registers for, so that they do not wait for each other.
  constexpr int kAtOnce = kLanes == 16 ? kPanels : 1;
  int64_t n = 0;
  for (; n + 4 <= rows; n += 4) {
    for (int64_t panel = first; panel < first + kPanels; panel += kAtOnce) {
      add_tile<kLanes, 4, kAtOnce>(acc + n, x + n, depth, weights, panel);
    }
  }
  for (; n + 2 <= rows; n += 2) {
    add_tile<kLanes, 2, kPanels>(acc + n, x + n, depth, weights, first);
  }
  if (n < rows) add_tile<kLanes, 1, kPanels>(acc + n, x + n, depth, weights, first);
}

template <int kLanes>
CORF_INLINE void add_products_loop(int64_t rows, float* const* acc, const float* const* x,
                                   int64_t depth, const float* weights, int64_t panels) {
  int64_t first = 0;
  if (rows == 1 && kLanes == 16) {
    for (; first + 8 <= panels; first += 8) {
      add_panels<kLanes, 8>(rows, acc, x, depth, weights, first);
    }
  }
  if (rows == 1 || kLanes == 16) {
    for (; first + 4 <= panels; first += 4) {
      add_panels<kLanes, 4>(rows, acc, x, depth, weights, first);
    }
  }
  for (; first + 2 <= panels; first += 2) {
    add_panels<kLanes, 2>(rows, acc, x, depth, weights, first);
  }
  if (first < panels) add_panels<kLanes, 1>(rows, acc, x, depth, weights, first);
}

template <int kLanes>
CORF_INLINE void sigmoid_loop(float* x, int64_t count) {
  apply<kLanes>(x, count, [](Floats<kLanes>& v) CORF_INLINED {
    v = 1.0f / (1.0f + exponential<kLanes>(-v));
  });
}

template <int kLanes>
CORF_INLINE void tanh_loop(float* x, int64_t count) {
  apply<kLanes>(x, count,
                [](Floats<kLanes>& v) CORF_INLINED { v = hyperbolic_tangent<kLanes>(v); });
}

template <int kLanes>
CORF_INLINE Floats<kLanes> load(const float* from) {
  Floats<kLanes> some;
  std::memcpy(&some, from, sizeof(some));
  return some;
}
template <int kLanes>
CORF_INLINE void store(float* to, Floats<kLanes> some) {
  std::memcpy(to, &some, sizeof(some));
}
template <int kLanes>
CORF_INLINE Floats<kLanes> sigmoid_of(Floats<kLanes> x) {
  return 1.0f / (1.0f + exponential<kLanes>(-x));
}

template <int kLanes, bool kHasPeepholes>
CORF_INLINE void lstm_loop(const float* sums, const float* bias, const float* peepholes,
                           int64_t gate_elems, float* c, float* h, int64_t count) {
  for (int64_t j = 0; j < count; j += kLanes) {
    const auto gate = [&](int64_t number, Floats<kLanes> seen) CORF_INLINED {
      const int64_t at = number * gate_elems + j;
      Floats<kLanes> sum = load<kLanes>(sums + at) + load<kLanes>(bias + at);
      if (kHasPeepholes && number < 3) sum += load<kLanes>(peepholes + at) * seen;
      return sum;
    };
    const Floats<kLanes> old_c = load<kLanes>(c + j);
    const Floats<kLanes> kept = sigmoid_of<kLanes>(gate(2, old_c)) * old_c;
    const Floats<kLanes> added =
        sigmoid_of<kLanes>(gate(0, old_c)) * hyperbolic_tangent<kLanes>(gate(3, old_c));
    const Floats<kLanes> new_c = kept + added;
    store<kLanes>(c + j, new_c);
    store<kLanes>(h + j, hyperbolic_tangent<kLanes>(new_c) * sigmoid_of<kLanes>(gate(1, new_c)));
  }
}

template <int kLanes>
CORF_INLINE void gru_gates_loop(float* sums, const float* recurrent, int64_t gate_elems,
                                int64_t count) {
  for (int64_t j = 0; j < count; j += kLanes) {
    for (int64_t at : {j, gate_elems + j}) {
      store<kLanes>(sums + at,
                    sigmoid_of<kLanes>(load<kLanes>(sums + at) + load<kLanes>(recurrent + at)));
    }
  }
}

template <int kLanes>
CORF_INLINE void gru_loop(const float* z, const float* candidate, const float* recurrent,
                          const float* h, float* next_h, int64_t count) {
  for (int64_t j = 0; j < count; j += kLanes) {
    const Floats<kLanes> next =
        hyperbolic_tangent<kLanes>(load<kLanes>(candidate + j) + load<kLanes>(recurrent + j));
    const Floats<kLanes> kept = load<kLanes>(z + j);
    const Floats<kLanes> fresh = (1.0f - kept) * next, old = kept * load<kLanes>(h + j);
    store<kLanes>(next_h + j, fresh + old);
  }
}

/// The loops for one instruction set.
struct Loops {
  decltype(&corf::runtime::add_products) add_products;
  decltype(&apply_sigmoid) sigmoid, tanh;
  decltype(&apply_lstm) lstm;
  decltype(&apply_gru_gates) gru_gates;
  decltype(&apply_gru) gru;
};

#define CORF_LOOPS(name, lanes, target)                                                     \
  struct name {                                                                             \
    target static void add_products(int64_t rows, float* const* acc, const float* const* x, \
                                    int64_t depth, const float* weights, int64_t panels) {  \
      add_products_loop<lanes>(rows, acc, x, depth, weights, panels);                       \
    }                                                                                       \
    target static void sigmoid(float* x, int64_t count) { sigmoid_loop<lanes>(x, count); }  \
    target static void tanh(float* x, int64_t count) { tanh_loop<lanes>(x, count); }        \
    target static void lstm(const float* sums, const float* bias, const float* peepholes,   \
                            int64_t gate_elems, float* c, float* h, int64_t count) {        \
      if (peepholes != nullptr) {                                                           \
        lstm_loop<lanes, true>(sums, bias, peepholes, gate_elems, c, h, count);             \
      } else {                                                                              \
        lstm_loop<lanes, false>(sums, bias, peepholes, gate_elems, c, h, count);            \
      }                                                                                     \
    }                                                                                       \
    target static void gru_gates(float* sums, const float* recurrent, int64_t gate_elems,   \
                                 int64_t count) {                                           \
      gru_gates_loop<lanes>(sums, recurrent, gate_elems, count);                            \
    }                                                                                       \
    target static void gru(const float* z, const float* candidate, const float* recurrent,  \
                           const float* h, float* next_h, int64_t count) {                  \
      gru_loop<lanes>(z, candidate, recurrent, h, next_h, count);                           \
    }                                                                                       \
    static constexpr Loops kLoops = {add_products, sigmoid, tanh, lstm, gru_gates, gru};    \
  };
CORF_LOOPS(Sse2Loops, 4, )
CORF_LOOPS(Avx2Loops, 8, [[gnu::target("avx2")]])
#ifdef __clang__  // which would ignore a target with the other compiler's option
#define CORF_AVX512 "avx512f,avx512vl,avx512dq"
#else
#define CORF_AVX512 "avx512f,avx512vl,avx512dq,prefer-vector-width=512"
#endif
CORF_LOOPS(Avx512Loops, 16, [[gnu::target(CORF_AVX512)]])
#undef CORF_AVX512
#undef CORF_LOOPS
#undef CORF_INLINED
#undef CORF_INLINE

const Loops& loops() {
  static const Loops& widest = has_isa(Isa::kAvx512) ? Avx512Loops::kLoops
                               : has_isa(Isa::kAvx2) ? Avx2Loops::kLoops
                                                     : Sse2Loops::kLoops;
  return widest;
}

}  // namespace

void add_products(int64_t rows, float* const* acc, const float* const* x, int64_t depth,
                  const float* weights, int64_t panels) {
  loops().add_products(rows, acc, x, depth, weights, panels);
}

void apply_sigmoid(float* x, int64_t count) { loops().sigmoid(x, count); }

void apply_tanh(float* x, int64_t count) { loops().tanh(x, count); }

void apply_lstm(const float* sums, const float* bias, const float* peepholes, int64_t gate_elems,
                float* c, float* h, int64_t count) {
  loops().lstm(sums, bias, peepholes, gate_elems, c, h, count);
}

void apply_gru_gates(float* sums, const float* recurrent, int64_t gate_elems, int64_t count) {
  loops().gru_gates(sums, recurrent, gate_elems, count);
}

void apply_gru(const float* z, const float* candidate, const float* recurrent, const float* h,
               float* next_h, int64_t count) {
  loops().gru(z, candidate, recurrent, h, next_h, count);
}

}  // namespace corf::runtime
