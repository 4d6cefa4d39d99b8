#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace corf::graph {

/// Operations on one element. Floats follow IEEE-754; min and max propagate NaN; integers wrap;
/// integer division truncates towards zero, kMod has the sign of the divisor, kFmod of the
/// dividend. Comparisons give kBool.
enum class ScalarOp : uint8_t {
  kOperand,   // index: operand number
  kConstant,  // f64 or i64: the value
  kIndex,     // index: axis number; the coordinate as an integer
  kCast,      // to the node's dtype: float to integer truncates and saturates
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMin,
  kMax,
  kMod,
  kFmod,
  kPow,
  kNeg,
  kAbs,
  kSign,
  kFloor,
  kCeil,
  kRoundEven,
  kReciprocal,
  kSqrt,
  kRsqrt,
  kExp,
  kLog,
  kErf,
  kTanh,
  kSigmoid,
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kAsinh,
  kAcosh,
  kAtanh,
  kLess,
  kLessEqual,
  kEqual,
  kAnd,
  kOr,
  kXor,
  kNot,  // logical on kBool, bitwise on integers
  kShiftLeft,
  kShiftRight,
  kSelect,  // args: condition, if true, if false
  kIsNan,
  kIsInf,
  kTruncate,  // f32 to bf16 towards zero: its upper half. In kernels only
};

constexpr int kNumScalarOps = static_cast<int>(ScalarOp::kTruncate) + 1;

std::string_view to_string(ScalarOp op);
std::optional<ScalarOp> parse_scalar_op(std::string_view text);
int num_args(ScalarOp op);

struct ScalarNode {
  ScalarOp op = ScalarOp::kConstant;
  DType dtype = DType::kF32;  // of the result
  std::array<int, 3> args = {-1, -1, -1};
  int index = 0;    // kOperand, kIndex
  double f64 = 0;   // kConstant of a float type
  int64_t i64 = 0;  // kConstant of an integer type or kBool
};

/// A scalar function in static single assignment form; the last node is the result.
class ScalarBody {
 public:
  std::vector<ScalarNode> nodes;

  int operand(int number, DType dtype);
  int constant(double value, DType dtype);
  int constant_i64(int64_t value, DType dtype);
  int axis_index(int axis, DType dtype = DType::kI64);
  int cast(int arg, DType dtype);
  /// The result has the first argument's type; comparisons and tests give kBool, kSelect the type
  /// of its second argument.
  int apply(ScalarOp op, int a, int b = -1, int c = -1);

  DType result_dtype() const { return nodes.back().dtype; }
};

}  // namespace corf::graph
