#include "graph/scalar_block.h"

#include <cmath>
#include <limits>

#include "support/assert.h"

namespace corf::graph {
namespace {

double min_with_nan(double a, double b) { return std::isnan(a) || a < b ? a : b; }
double max_with_nan(double a, double b) { return std::isnan(a) || a > b ? a : b; }

double sign(double a) {
  if (a > 0) return 1;
  return a < 0 ? -1 : a;  // keeps NaN and zeros
}

double floor_mod(double a, double b) {
  double r = std::fmod(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

int64_t lowest_of(DType dtype) {
  if (!is_signed_integer(dtype)) return 0;
  return std::numeric_limits<int64_t>::min() >> (64 - 8 * size_bytes(dtype));
}
uint64_t highest_of(DType dtype) {
  int unused = static_cast<int>(64 - 8 * size_bytes(dtype)) + is_signed_integer(dtype);
  return std::numeric_limits<uint64_t>::max() >> unused;
}

/// Truncates towards zero and saturates; NaN gives 0.
int64_t to_integer(DType dtype, double value) {
  if (std::isnan(value)) return dtype == DType::kBool;
  if (dtype == DType::kBool) return value != 0;
  if (value <= static_cast<double>(lowest_of(dtype))) return lowest_of(dtype);
  if (value >= static_cast<double>(highest_of(dtype))) {
    return static_cast<int64_t>(highest_of(dtype));
  }
  if (dtype == DType::kU64) return static_cast<int64_t>(static_cast<uint64_t>(value));
  return static_cast<int64_t>(value);
}

uint64_t bits(int64_t value) { return static_cast<uint64_t>(value); }

int64_t integer_pow(int64_t base, int64_t exponent, bool is_unsigned) {
  if (exponent < 0 && !is_unsigned) {
    if (base == 1) return 1;
    if (base == -1) return exponent % 2 == 0 ? 1 : -1;
    return 0;
  }
  uint64_t result = 1, factor = bits(base);
  for (uint64_t e = bits(exponent); e != 0; e >>= 1) {
    if (e & 1) result *= factor;
    factor *= factor;
  }
  return static_cast<int64_t>(result);
}

/// Division by zero gives 0: integers have no other way to tell.
int64_t divide(int64_t a, int64_t b, bool is_unsigned) {
  if (b == 0) return 0;
  if (is_unsigned) return static_cast<int64_t>(bits(a) / bits(b));
  if (b == -1) return static_cast<int64_t>(0 - bits(a));
  return a / b;
}
int64_t remainder(int64_t a, int64_t b, bool is_unsigned) {
  if (b == 0 || b == -1) return is_unsigned && b == -1 ? (bits(a) == bits(b) ? 0 : a) : 0;
  if (is_unsigned) return static_cast<int64_t>(bits(a) % bits(b));
  return a % b;
}
int64_t modulo(int64_t a, int64_t b, bool is_unsigned) {
  int64_t r = remainder(a, b, is_unsigned);
  return !is_unsigned && r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
int64_t shift(int64_t a, int64_t by, bool left, bool is_unsigned) {
  if (by < 0 || by > 63) return !left && !is_unsigned && a < 0 ? -1 : 0;
  if (left) return static_cast<int64_t>(bits(a) << by);
  return is_unsigned ? static_cast<int64_t>(bits(a) >> by) : a >> by;
}

}  // namespace

int64_t wrap_integer(DType dtype, int64_t value) {
  switch (dtype) {
    case DType::kBool:
      return value != 0;
    case DType::kI8:
      return static_cast<int8_t>(value);
    case DType::kU8:
      return static_cast<uint8_t>(value);
    case DType::kI16:
      return static_cast<int16_t>(value);
    case DType::kU16:
      return static_cast<uint16_t>(value);
    case DType::kI32:
      return static_cast<int32_t>(value);
    case DType::kU32:
      return static_cast<uint32_t>(value);
    default:
      return value;
  }
}

double round_float(DType dtype, double value) {
  switch (dtype) {
    case DType::kF32:
      return static_cast<float>(value);
    case DType::kF16:
      return f16_to_f32(f32_to_f16(static_cast<float>(value)));
    case DType::kBF16:
      return bf16_to_f32(f32_to_bf16(static_cast<float>(value)));
    default:
      return value;
  }
}

ScalarBlock::ScalarBlock(const ScalarBody& body, bool round_casts, bool round_operations)
    : body_(body),
      round_casts_(round_casts),
      round_operations_(round_operations),
      columns_(body.nodes.size()) {
  for (size_t i = 0; i < columns_.size(); ++i) {
    const ScalarNode& node = body.nodes[i];
    Lane constant;
    if (is_float(node.dtype)) {
      constant.f = node.f64;
    } else {
      constant.i = wrap_integer(node.dtype, node.i64);
    }
    columns_[i].assign(kBlockElems, constant);
  }
}

void ScalarBlock::run(int64_t num_points) {
  for (size_t i = 0; i < columns_.size(); ++i) {
    const ScalarNode& node = body_.nodes[i];
    Lane* out = columns_[i].data();
    switch (node.op) {
      case ScalarOp::kOperand:
      case ScalarOp::kConstant:
      case ScalarOp::kIndex:
        break;
      case ScalarOp::kCast:
        run_cast(node, out, num_points);
        break;
      case ScalarOp::kSelect: {
        const Lane* condition = column(node.args[0]);
        const Lane* yes = column(node.args[1]);
        const Lane* no = column(node.args[2]);
        for (int64_t p = 0; p < num_points; ++p) out[p] = condition[p].i ? yes[p] : no[p];
        break;
      }
      case ScalarOp::kLess:
      case ScalarOp::kLessEqual:
      case ScalarOp::kEqual:
        run_compare(node, out, num_points);
        break;
      case ScalarOp::kIsNan:
        for (int64_t p = 0; p < num_points; ++p) out[p].i = std::isnan(column(node.args[0])[p].f);
        break;
      case ScalarOp::kIsInf:
        for (int64_t p = 0; p < num_points; ++p) out[p].i = std::isinf(column(node.args[0])[p].f);
        break;
      default:
        if (is_float(node.dtype)) {
          run_float(node, out, num_points);
          if (!round_operations_) break;
          for (int64_t p = 0; p < num_points; ++p) out[p].f = round_float(node.dtype, out[p].f);
        } else {
          run_integer(node, out, num_points);
        }
    }
  }
}

void ScalarBlock::run_cast(const ScalarNode& node, Lane* out, int64_t n) {
  const Lane* a = column(node.args[0]);
  DType from = body_.nodes[node.args[0]].dtype, to = node.dtype;
  if (is_float(from) && is_float(to)) {
    for (int64_t p = 0; p < n; ++p) out[p].f = round_casts_ ? round_float(to, a[p].f) : a[p].f;
  } else if (is_float(from)) {
    for (int64_t p = 0; p < n; ++p) out[p].i = to_integer(to, a[p].f);
  } else if (!is_float(to)) {
    for (int64_t p = 0; p < n; ++p) out[p].i = wrap_integer(to, a[p].i);
  } else if (from == DType::kU64) {
    for (int64_t p = 0; p < n; ++p) out[p].f = static_cast<double>(bits(a[p].i));
  } else {
    for (int64_t p = 0; p < n; ++p) out[p].f = static_cast<double>(a[p].i);
  }
  if (!round_operations_ || !is_float(to)) return;
  for (int64_t p = 0; p < n; ++p) out[p].f = round_float(to, out[p].f);
}

void ScalarBlock::run_compare(const ScalarNode& node, Lane* out, int64_t n) {
  const Lane* a = column(node.args[0]);
  const Lane* b = column(node.args[1]);
  auto compare = [&](auto value) {
    switch (node.op) {
      case ScalarOp::kLess:
        for (int64_t p = 0; p < n; ++p) out[p].i = value(a[p]) < value(b[p]);
        break;
      case ScalarOp::kLessEqual:
        for (int64_t p = 0; p < n; ++p) out[p].i = value(a[p]) <= value(b[p]);
        break;
      default:
        for (int64_t p = 0; p < n; ++p) out[p].i = value(a[p]) == value(b[p]);
    }
  };
  DType dtype = body_.nodes[node.args[0]].dtype;
  if (is_float(dtype)) {
    compare([](Lane lane) { return lane.f; });
  } else if (dtype == DType::kU64) {
    compare([](Lane lane) { return bits(lane.i); });
  } else {
    compare([](Lane lane) { return lane.i; });
  }
}

void ScalarBlock::run_float(const ScalarNode& node, Lane* out, int64_t n) {
  const Lane* a = column(node.args[0]);
  const Lane* b = num_args(node.op) > 1 ? column(node.args[1]) : nullptr;
  auto one = [&](auto function) {
    for (int64_t p = 0; p < n; ++p) out[p].f = function(a[p].f);
  };
  auto two = [&](auto function) {
    for (int64_t p = 0; p < n; ++p) out[p].f = function(a[p].f, b[p].f);
  };
  switch (node.op) {
    case ScalarOp::kAdd:
      return two([](double x, double y) { return x + y; });
    case ScalarOp::kSub:
      return two([](double x, double y) { return x - y; });
    case ScalarOp::kMul:
      return two([](double x, double y) { return x * y; });
    case ScalarOp::kDiv:
      return two([](double x, double y) { return x / y; });
    case ScalarOp::kMin:
      return two(min_with_nan);
    case ScalarOp::kMax:
      return two(max_with_nan);
    case ScalarOp::kMod:
      return two(floor_mod);
    case ScalarOp::kFmod:
      return two([](double x, double y) { return std::fmod(x, y); });
    case ScalarOp::kPow:
      return two([](double x, double y) { return std::pow(x, y); });
    case ScalarOp::kNeg:
      return one([](double x) { return -x; });
    case ScalarOp::kAbs:
      return one([](double x) { return std::fabs(x); });
    case ScalarOp::kSign:
      return one(sign);
    case ScalarOp::kFloor:
      return one([](double x) { return std::floor(x); });
    case ScalarOp::kCeil:
      return one([](double x) { return std::ceil(x); });
    case ScalarOp::kRoundEven:
      return one([](double x) { return std::nearbyint(x); });
    case ScalarOp::kReciprocal:
      return one([](double x) { return 1 / x; });
    case ScalarOp::kSqrt:
      return one([](double x) { return std::sqrt(x); });
    case ScalarOp::kRsqrt:
      return one([](double x) { return 1 / std::sqrt(x); });
    case ScalarOp::kExp:
      return one([](double x) { return std::exp(x); });
    case ScalarOp::kLog:
      return one([](double x) { return std::log(x); });
    case ScalarOp::kErf:
      return one([](double x) { return std::erf(x); });
    case ScalarOp::kTanh:
      return one([](double x) { return std::tanh(x); });
    case ScalarOp::kSigmoid:
      return one([](double x) { return 1 / (1 + std::exp(-x)); });
    case ScalarOp::kSin:
      return one([](double x) { return std::sin(x); });
    case ScalarOp::kCos:
      return one([](double x) { return std::cos(x); });
    case ScalarOp::kTan:
      return one([](double x) { return std::tan(x); });
    case ScalarOp::kAsin:
      return one([](double x) { return std::asin(x); });
    case ScalarOp::kAcos:
      return one([](double x) { return std::acos(x); });
    case ScalarOp::kAtan:
      return one([](double x) { return std::atan(x); });
    case ScalarOp::kSinh:
      return one([](double x) { return std::sinh(x); });
    case ScalarOp::kCosh:
      return one([](double x) { return std::cosh(x); });
    case ScalarOp::kAsinh:
      return one([](double x) { return std::asinh(x); });
    case ScalarOp::kAcosh:
      return one([](double x) { return std::acosh(x); });
    case ScalarOp::kAtanh:
      return one([](double x) { return std::atanh(x); });
    default:
      CORF_ASSERT(false, "not a scalar operation on floats");
  }
}

void ScalarBlock::run_integer(const ScalarNode& node, Lane* out, int64_t n) {
  const Lane* a = column(node.args[0]);
  const Lane* b = num_args(node.op) > 1 ? column(node.args[1]) : nullptr;
  bool is_unsigned = is_unsigned_integer(node.dtype);
  auto one = [&](auto function) {
    for (int64_t p = 0; p < n; ++p) out[p].i = wrap_integer(node.dtype, function(a[p].i));
  };
  auto two = [&](auto function) {
    for (int64_t p = 0; p < n; ++p) out[p].i = wrap_integer(node.dtype, function(a[p].i, b[p].i));
  };
  auto from_bits = [](uint64_t value) { return static_cast<int64_t>(value); };
  auto less = [&](int64_t x, int64_t y) { return is_unsigned ? bits(x) < bits(y) : x < y; };
  switch (node.op) {
    case ScalarOp::kAdd:
      return two([&](int64_t x, int64_t y) { return from_bits(bits(x) + bits(y)); });
    case ScalarOp::kSub:
      return two([&](int64_t x, int64_t y) { return from_bits(bits(x) - bits(y)); });
    case ScalarOp::kMul:
      return two([&](int64_t x, int64_t y) { return from_bits(bits(x) * bits(y)); });
    case ScalarOp::kDiv:
      return two([&](int64_t x, int64_t y) { return divide(x, y, is_unsigned); });
    case ScalarOp::kMin:
      return two([&](int64_t x, int64_t y) { return less(y, x) ? y : x; });
    case ScalarOp::kMax:
      return two([&](int64_t x, int64_t y) { return less(x, y) ? y : x; });
    case ScalarOp::kMod:
      return two([&](int64_t x, int64_t y) { return modulo(x, y, is_unsigned); });
    case ScalarOp::kFmod:
      return two([&](int64_t x, int64_t y) { return remainder(x, y, is_unsigned); });
    case ScalarOp::kPow:
      return two([&](int64_t x, int64_t y) { return integer_pow(x, y, is_unsigned); });
    case ScalarOp::kNeg:
      return one([&](int64_t x) { return from_bits(0 - bits(x)); });
    case ScalarOp::kAbs:
      return one([&](int64_t x) { return !is_unsigned && x < 0 ? from_bits(0 - bits(x)) : x; });
    case ScalarOp::kSign:
      return one([&](int64_t x) { return is_unsigned ? x != 0 : (x > 0) - (x < 0); });
    case ScalarOp::kAnd:
      return two([](int64_t x, int64_t y) { return x & y; });
    case ScalarOp::kOr:
      return two([](int64_t x, int64_t y) { return x | y; });
    case ScalarOp::kXor:
      return two([](int64_t x, int64_t y) { return x ^ y; });
    case ScalarOp::kNot:
      if (node.dtype == DType::kBool) return one([](int64_t x) { return x == 0; });
      return one([](int64_t x) { return ~x; });
    case ScalarOp::kShiftLeft:
      return two([&](int64_t x, int64_t y) { return shift(x, y, true, is_unsigned); });
    case ScalarOp::kShiftRight:
      return two([&](int64_t x, int64_t y) { return shift(x, y, false, is_unsigned); });
    default:
      CORF_ASSERT(false, "not a scalar operation on integers");
  }
}

}  // namespace corf::graph
