#include "graph/scalar_types.h"

#include <algorithm>

namespace corf::graph {

std::string_view type_fault(ScalarOp op, DType result, std::span<const DType> args) {
  const auto all_are = [&](DType dtype, size_t first = 0) {
    return std::all_of(args.begin() + first, args.end(), [&](DType d) { return d == dtype; });
  };
  const bool is_bool = result == DType::kBool;
  switch (op) {
    case ScalarOp::kOperand:
    case ScalarOp::kConstant:
    case ScalarOp::kIndex:
      return "this operation cannot be applied";
    case ScalarOp::kCast:
      return "";
    case ScalarOp::kTruncate:
      return result == DType::kBF16 && args[0] == DType::kF32 ? "" : "takes f32 and gives bf16";
    case ScalarOp::kLess:
    case ScalarOp::kLessEqual:
    case ScalarOp::kEqual:
      return is_bool && all_are(args[0]) ? "" : "a comparison takes equal types and gives bool";
    case ScalarOp::kIsNan:
    case ScalarOp::kIsInf:
      return is_bool && is_float(args[0]) ? "" : "a test takes a float and gives bool";
    case ScalarOp::kAnd:
    case ScalarOp::kOr:
    case ScalarOp::kXor:
    case ScalarOp::kNot:
      return !is_float(result) && all_are(result) ? "" : "takes and gives integers or bool";
    case ScalarOp::kShiftLeft:
    case ScalarOp::kShiftRight:
      return is_integer(result) && all_are(result) ? "" : "takes and gives one integer type";
    case ScalarOp::kSelect:
      return args[0] == DType::kBool && all_are(result, 1) ? ""
                                                           : "takes a bool and two of its type";
    case ScalarOp::kAdd:
    case ScalarOp::kSub:
    case ScalarOp::kMul:
    case ScalarOp::kDiv:
    case ScalarOp::kMin:
    case ScalarOp::kMax:
    case ScalarOp::kMod:
    case ScalarOp::kFmod:
    case ScalarOp::kPow:
    case ScalarOp::kNeg:
    case ScalarOp::kAbs:
    case ScalarOp::kSign:
    case ScalarOp::kFloor:
    case ScalarOp::kCeil:
    case ScalarOp::kRoundEven:
      return !is_bool && all_are(result) ? "" : "takes and gives one type of numbers";
    default:
      return is_float(result) && all_are(result) ? "" : "takes and gives one float type";
  }
}

}  // namespace corf::graph
