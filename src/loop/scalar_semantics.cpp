#include "loop/scalar_semantics.h"

#include "support/assert.h"
#include "support/checked.h"

namespace corf::loop {
namespace {

using graph::ScalarOp;

double apply_function(ScalarOp op, double a, double b) {
  switch (op) {
    case ScalarOp::kPow:
      return std::pow(a, b);
    case ScalarOp::kRsqrt:
      return 1 / std::sqrt(a);
    case ScalarOp::kExp:
      return std::exp(a);
    case ScalarOp::kLog:
      return std::log(a);
    case ScalarOp::kErf:
      return std::erf(a);
    case ScalarOp::kTanh:
      return std::tanh(a);
    case ScalarOp::kSigmoid:
      return 1 / (1 + std::exp(-a));
    case ScalarOp::kSin:
      return std::sin(a);
    case ScalarOp::kCos:
      return std::cos(a);
    case ScalarOp::kTan:
      return std::tan(a);
    case ScalarOp::kAsin:
      return std::asin(a);
    case ScalarOp::kAcos:
      return std::acos(a);
    case ScalarOp::kAtan:
      return std::atan(a);
    case ScalarOp::kSinh:
      return std::sinh(a);
    case ScalarOp::kCosh:
      return std::cosh(a);
    case ScalarOp::kAsinh:
      return std::asinh(a);
    case ScalarOp::kAcosh:
      return std::acosh(a);
    case ScalarOp::kAtanh:
      return std::atanh(a);
    default:
      CORF_ASSERT(false, "not an operation on floats");
      return 0;
  }
}

}  // namespace

int64_t float_to_integer(DType dtype, double value) {
  if (std::isnan(value)) return dtype == DType::kBool ? 1 : 0;
  if (dtype == DType::kBool) return value != 0;
  value = std::trunc(value);
  const int bits = static_cast<int>(8 * size_bytes(dtype));
  if (is_unsigned_integer(dtype)) {
    if (value <= 0) return 0;
    const uint64_t most = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
    return value >= std::ldexp(1.0, bits) ? static_cast<int64_t>(most)
                                          : static_cast<int64_t>(static_cast<uint64_t>(value));
  }
  const double limit = std::ldexp(1.0, bits - 1);
  const int64_t most = static_cast<int64_t>((uint64_t{1} << (bits - 1)) - 1);
  if (value >= limit) return most;
  return value < -limit ? -most - 1 : static_cast<int64_t>(value);
}

template <typename T>
T apply_float(ScalarOp op, T a, T b) {
  switch (op) {
    case ScalarOp::kAdd:
      return a + b;
    case ScalarOp::kSub:
      return a - b;
    case ScalarOp::kMul:
      return a * b;
    case ScalarOp::kDiv:
      return a / b;
    case ScalarOp::kMin:
      return min_with_nan(a, b);
    case ScalarOp::kMax:
      return max_with_nan(a, b);
    case ScalarOp::kFmod:
      return std::fmod(a, b);
    case ScalarOp::kMod: {
      const T rest = std::fmod(a, b);
      return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
    }
    case ScalarOp::kNeg:
      return -a;
    case ScalarOp::kAbs:
      return std::fabs(a);
    case ScalarOp::kSign:
      return a > 0 ? T{1} : a < 0 ? T{-1} : a;
    case ScalarOp::kFloor:
      return std::floor(a);
    case ScalarOp::kCeil:
      return std::ceil(a);
    case ScalarOp::kRoundEven:
      return std::nearbyint(a);
    case ScalarOp::kReciprocal:
      return 1 / a;
    case ScalarOp::kSqrt:
      return std::sqrt(a);
    default:
      return static_cast<T>(apply_function(op, a, b));
  }
}
template float apply_float(ScalarOp, float, float);
template double apply_float(ScalarOp, double, double);

int64_t apply_integer(ScalarOp op, DType dtype, int64_t a, int64_t b) {
  const auto ua = static_cast<uint64_t>(a), ub = static_cast<uint64_t>(b);
  const bool is_u64 = dtype == DType::kU64;
  const int bits = static_cast<int>(8 * size_bytes(dtype));
  const auto wrapped = [&](uint64_t value) {
    return graph::wrap_integer(dtype, static_cast<int64_t>(value));
  };
  switch (op) {
    case ScalarOp::kAdd:
      return wrapped(ua + ub);
    case ScalarOp::kSub:
      return wrapped(ua - ub);
    case ScalarOp::kMul:
      return wrapped(ua * ub);
    case ScalarOp::kDiv:
      if (b == 0) return 0;
      if (is_u64) return wrapped(ua / ub);
      return b == -1 ? wrapped(0 - ua) : graph::wrap_integer(dtype, a / b);
    case ScalarOp::kMod:
    case ScalarOp::kFmod:
      if (b == 0 || b == -1) return is_u64 && b == -1 ? wrapped(ua % ub) : 0;
      if (is_u64) return wrapped(ua % ub);
      return op == ScalarOp::kMod ? floor_mod(a, b) : a % b;
    case ScalarOp::kMin:
      return compare(ScalarOp::kLess, dtype, b, a) ? b : a;
    case ScalarOp::kMax:
      return compare(ScalarOp::kLess, dtype, a, b) ? b : a;
    case ScalarOp::kPow: {
      if (b < 0 && !is_u64) return a == 1 ? 1 : a == -1 ? (b % 2 == 0 ? 1 : -1) : 0;
      uint64_t result = 1, base = ua;
      for (uint64_t exponent = ub; exponent != 0; exponent >>= 1, base *= base) {
        if (exponent & 1) result *= base;
      }
      return wrapped(result);
    }
    case ScalarOp::kNeg:
      return wrapped(0 - ua);
    case ScalarOp::kAbs:
      return a < 0 && !is_u64 ? wrapped(0 - ua) : a;
    case ScalarOp::kSign:
      return is_u64 ? a != 0 : (a > 0) - (a < 0);
    case ScalarOp::kFloor:
    case ScalarOp::kCeil:
    case ScalarOp::kRoundEven:
      return a;
    case ScalarOp::kAnd:
      return wrapped(ua & ub);
    case ScalarOp::kOr:
      return wrapped(ua | ub);
    case ScalarOp::kXor:
      return wrapped(ua ^ ub);
    case ScalarOp::kNot:
      return dtype == DType::kBool ? a == 0 : wrapped(~ua);
    case ScalarOp::kShiftLeft:
      return ub >= static_cast<uint64_t>(bits) ? 0 : wrapped(ua << ub);
    case ScalarOp::kShiftRight:
      if (is_signed_integer(dtype)) return a >> (ub >= 64 ? 63 : ub);
      return ub >= static_cast<uint64_t>(bits) ? 0 : wrapped(ua >> ub);
    default:
      CORF_ASSERT(false, "not an operation on integers");
      return 0;
  }
}

}  // namespace corf::loop
