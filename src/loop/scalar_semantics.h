#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "graph/scalar.h"
#include "graph/scalar_block.h"
#include "loop/program.h"
#include "tensor/dtype.h"

/// What scalar operations mean in the interpreter: f32, f16 and bf16 are held as float, integers
/// and booleans as int64 (u64 as its bit pattern), and each result is rounded or wrapped to its
/// type.
namespace corf::loop {

inline bool is_comparison(graph::ScalarOp op) {
  using graph::ScalarOp;
  return op == ScalarOp::kLess || op == ScalarOp::kLessEqual || op == ScalarOp::kEqual;
}

inline float round_to(DType dtype, float value) {
  if (dtype == DType::kF16) return f16_to_f32(f32_to_f16(value));
  if (dtype == DType::kBF16) return bf16_to_f32(f32_to_bf16(value));
  return value;
}
inline double round_to(DType, double value) { return value; }

inline int64_t round_to(DType dtype, int64_t value) { return graph::wrap_integer(dtype, value); }

/// The value cast from a float: truncated and saturated, NaN gives 0.
int64_t float_to_integer(DType dtype, double value);
/// The value of an integer register (u64 is held as a bit pattern).
template <typename T>
T integer_to_float(DType dtype, int64_t value) {
  return dtype == DType::kU64 ? static_cast<T>(static_cast<uint64_t>(value))
                              : static_cast<T>(value);
}

/// An operation on float or double whose result is one; unused arguments are ignored. Functions
/// other than + - * / sqrt and rounding are evaluated in double.
template <typename T>
T apply_float(graph::ScalarOp op, T a, T b);
/// An operation on integers whose result has the same type.
int64_t apply_integer(graph::ScalarOp op, DType dtype, int64_t a, int64_t b);

template <typename T>
bool compare(graph::ScalarOp op, DType dtype, T a, T b) {
  if constexpr (std::is_same_v<T, int64_t>) {
    if (dtype == DType::kU64) {
      const auto ua = static_cast<uint64_t>(a), ub = static_cast<uint64_t>(b);
      return op == graph::ScalarOp::kLess        ? ua < ub
             : op == graph::ScalarOp::kLessEqual ? ua <= ub
                                                 : ua == ub;
    }
  }
  return op == graph::ScalarOp::kLess ? a < b : op == graph::ScalarOp::kLessEqual ? a <= b : a == b;
}

template <typename T>
T min_with_nan(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a)) return a;
    if (std::isnan(b)) return b;
  }
  return b < a ? b : a;
}
template <typename T>
T max_with_nan(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a)) return a;
    if (std::isnan(b)) return b;
  }
  return a < b ? b : a;
}

/// One step of a reduction: `a` is what has been gathered so far.
template <typename T>
T combine(Reduction reduction, DType dtype, T a, T b) {
  using graph::ScalarOp;
  if constexpr (std::is_same_v<T, int64_t>) {
    constexpr ScalarOp kOps[] = {ScalarOp::kAdd, ScalarOp::kMul, ScalarOp::kMin, ScalarOp::kMax};
    return apply_integer(kOps[static_cast<int>(reduction)], dtype, a, b);
  } else {
    switch (reduction) {
      case Reduction::kSum:
        return round_to(dtype, a + b);
      case Reduction::kProduct:
        return round_to(dtype, a * b);
      case Reduction::kMin:
        return min_with_nan(a, b);
      case Reduction::kMax:
        return max_with_nan(a, b);
    }
    return a;
  }
}

}  // namespace corf::loop
