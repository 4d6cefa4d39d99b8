#include "codegen/scalar_ops.h"

#include <limits>
#include <llvm/IR/Intrinsics.h>

#include "codegen/value_types.h"
#include "codegen/vector_math.h"
#include "support/assert.h"

namespace corf::codegen {

using graph::ScalarOp;
using llvm::Constant;
using llvm::ConstantFP;
using llvm::ConstantInt;
using llvm::Type;
using llvm::Value;
using llvm::Intrinsic::ID;
using loop::Reduction;
using runtime::MathRoutine;

namespace {

bool is_rounded(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16; }

Value* splat_integer(Value* like, int64_t value) {
  return ConstantInt::get(like->getType(), static_cast<uint64_t>(value), true);
}

bool is_constant_not_nan(Value* value) {
  if (auto* scalar = llvm::dyn_cast<ConstantFP>(value)) return !scalar->isNaN();
  auto* vector = llvm::dyn_cast<Constant>(value);
  auto* splat = vector && vector->getType()->isVectorTy()
                    ? llvm::dyn_cast_or_null<ConstantFP>(vector->getSplatValue())
                    : nullptr;
  return splat && !splat->isNaN();
}

std::optional<MathRoutine> routine_of(ScalarOp op) {
  switch (op) {
    case ScalarOp::kPow:
      return MathRoutine::kPow;
    case ScalarOp::kFmod:
      return MathRoutine::kFmod;
    case ScalarOp::kSin:
      return MathRoutine::kSin;
    case ScalarOp::kCos:
      return MathRoutine::kCos;
    case ScalarOp::kTan:
      return MathRoutine::kTan;
    case ScalarOp::kAsin:
      return MathRoutine::kAsin;
    case ScalarOp::kAcos:
      return MathRoutine::kAcos;
    case ScalarOp::kAtan:
      return MathRoutine::kAtan;
    case ScalarOp::kSinh:
      return MathRoutine::kSinh;
    case ScalarOp::kCosh:
      return MathRoutine::kCosh;
    case ScalarOp::kAsinh:
      return MathRoutine::kAsinh;
    case ScalarOp::kAcosh:
      return MathRoutine::kAcosh;
    case ScalarOp::kAtanh:
      return MathRoutine::kAtanh;
    case ScalarOp::kLog:
      return MathRoutine::kLog;
    case ScalarOp::kExp:
      return MathRoutine::kExp;
    case ScalarOp::kErf:
      return MathRoutine::kErf;
    case ScalarOp::kTanh:
      return MathRoutine::kTanh;
    default:
      return std::nullopt;
  }
}

}  // namespace

Value* ScalarOps::apply(ScalarOp op, DType dtype, DType arg_dtype, std::span<Value* const> args,
                        int active_lanes) {
  switch (op) {
    case ScalarOp::kCast:
      return cast(args[0], arg_dtype, dtype);
    case ScalarOp::kSelect:
      return builder_.CreateSelect(args[0], args[1], args[2]);
    case ScalarOp::kLess:
    case ScalarOp::kLessEqual:
    case ScalarOp::kEqual:
      return compare(op, arg_dtype, args[0], args[1]);
    case ScalarOp::kIsNan:
      if (!is_float(arg_dtype)) return builder_.CreateICmpNE(args[0], args[0]);
      return builder_.CreateFCmpUNO(args[0], args[0]);
    case ScalarOp::kIsInf: {
      if (!is_float(arg_dtype)) return builder_.CreateICmpNE(args[0], args[0]);
      Value* magnitude = builder_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, args[0]);
      return builder_.CreateFCmpOEQ(magnitude, ConstantFP::getInfinity(magnitude->getType()));
    }
    default:
      break;
  }
  if (is_float(dtype)) return round_to(apply_float(op, dtype, args, active_lanes), dtype);
  return apply_integer(op, dtype, args);
}

Value* ScalarOps::apply_float(ScalarOp op, DType dtype, std::span<Value* const> args,
                              int active_lanes) {
  Value* a = args[0];
  Value* b = args.size() > 1 ? args[1] : nullptr;
  const bool single = dtype != DType::kF64;
  VectorMath math(builder_, isa_);
  auto one = [&] { return ConstantFP::get(a->getType(), 1.0); };
  switch (op) {
    case ScalarOp::kAdd:
      return builder_.CreateFAdd(a, b);
    case ScalarOp::kSub:
      return builder_.CreateFSub(a, b);
    case ScalarOp::kMul:
      return builder_.CreateFMul(a, b);
    case ScalarOp::kDiv:
      return builder_.CreateFDiv(a, b);
    case ScalarOp::kMin:
      return min_or_max(false, dtype, a, b);
    case ScalarOp::kMax:
      return min_or_max(true, dtype, a, b);
    case ScalarOp::kMod:
      return float_mod(dtype, a, b, active_lanes);
    case ScalarOp::kNeg:
      return builder_.CreateFNeg(a);
    case ScalarOp::kAbs:
      return builder_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, a);
    case ScalarOp::kSign:
      return sign(a);
    case ScalarOp::kFloor:
    case ScalarOp::kCeil:
    case ScalarOp::kRoundEven:
      return round(op, a);
    case ScalarOp::kReciprocal:
      return builder_.CreateFDiv(one(), a);
    case ScalarOp::kSqrt:
      return builder_.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, a);
    case ScalarOp::kRsqrt:
      return builder_.CreateFDiv(one(), builder_.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, a));
    case ScalarOp::kSigmoid: {
      if (single) return math.sigmoid(a);
      Value* e = call_routine(MathRoutine::kExp, builder_.CreateFNeg(a), nullptr, active_lanes);
      return builder_.CreateFDiv(one(), builder_.CreateFAdd(one(), e));
    }
    case ScalarOp::kExp:
      if (single) return math.exp(a);
      break;
    case ScalarOp::kLog:
      if (single) return math.log(a);
      break;
    case ScalarOp::kErf:
      if (single) return math.erf(a);
      break;
    case ScalarOp::kTanh:
      if (single) return math.tanh(a);
      break;
    default:
      break;
  }
  const auto routine = routine_of(op);
  CORF_ASSERT(routine, "not an operation on floats");
  return call_routine(*routine, a, b, active_lanes);
}

Value* ScalarOps::apply_integer(ScalarOp op, DType dtype, std::span<Value* const> args) {
  Value* a = args[0];
  Value* b = args.size() > 1 ? args[1] : nullptr;
  const bool is_signed = is_signed_integer(dtype);
  auto zero = [&] { return Constant::getNullValue(a->getType()); };
  switch (op) {
    // Of booleans: the result, taken as an integer, is not zero.
    case ScalarOp::kAdd:
      return dtype == DType::kBool ? builder_.CreateOr(a, b) : builder_.CreateAdd(a, b);
    case ScalarOp::kSub:
      return dtype == DType::kBool ? builder_.CreateXor(a, b) : builder_.CreateSub(a, b);
    case ScalarOp::kMul:
      return builder_.CreateMul(a, b);
    case ScalarOp::kMin:
    case ScalarOp::kMax:
      return min_or_max(op == ScalarOp::kMax, dtype, a, b);
    case ScalarOp::kDiv:
      if (dtype == DType::kBool) return builder_.CreateAnd(a, b);
      return divide_integer(op, dtype, a, b);
    case ScalarOp::kMod:
    case ScalarOp::kFmod:
      if (dtype == DType::kBool) return zero();
      return divide_integer(op, dtype, a, b);
    case ScalarOp::kPow:
      return power_integer(dtype, a, b);
    case ScalarOp::kNeg:
      return dtype == DType::kBool ? a : builder_.CreateNeg(a);
    case ScalarOp::kAbs:
      if (!is_signed) return a;
      return builder_.CreateSelect(builder_.CreateICmpSLT(a, zero()), builder_.CreateNeg(a), a);
    case ScalarOp::kSign: {
      Value* positive =
          is_signed ? builder_.CreateICmpSGT(a, zero()) : builder_.CreateICmpNE(a, zero());
      Value* result = builder_.CreateZExt(positive, a->getType());
      if (!is_signed) return result;
      Value* negative = builder_.CreateICmpSLT(a, zero());
      return builder_.CreateSub(result, builder_.CreateZExt(negative, a->getType()));
    }
    case ScalarOp::kFloor:
    case ScalarOp::kCeil:
    case ScalarOp::kRoundEven:
      return a;
    case ScalarOp::kAnd:
      return builder_.CreateAnd(a, b);
    case ScalarOp::kOr:
      return builder_.CreateOr(a, b);
    case ScalarOp::kXor:
      return builder_.CreateXor(a, b);
    case ScalarOp::kNot:
      return builder_.CreateNot(a);
    case ScalarOp::kShiftLeft:
    case ScalarOp::kShiftRight: {
      if (dtype == DType::kBool) return builder_.CreateAnd(a, builder_.CreateNot(b));
      const auto bits = static_cast<int64_t>(a->getType()->getScalarSizeInBits());
      Value* fits = builder_.CreateICmpULT(b, splat_integer(a, bits));
      if (op == ScalarOp::kShiftRight && is_signed) {
        return builder_.CreateAShr(a, builder_.CreateSelect(fits, b, splat_integer(a, bits - 1)));
      }
      Value* amount = builder_.CreateSelect(fits, b, zero());
      Value* shifted = op == ScalarOp::kShiftLeft ? builder_.CreateShl(a, amount)
                                                  : builder_.CreateLShr(a, amount);
      return builder_.CreateSelect(fits, shifted, zero());
    }
    default:
      break;
  }
  CORF_ASSERT(false, "not an operation on integers");
}

Value* ScalarOps::compare(ScalarOp op, DType arg_dtype, Value* a, Value* b) {
  if (is_float(arg_dtype)) {
    return op == ScalarOp::kLess        ? builder_.CreateFCmpOLT(a, b)
           : op == ScalarOp::kLessEqual ? builder_.CreateFCmpOLE(a, b)
                                        : builder_.CreateFCmpOEQ(a, b);
  }
  if (op == ScalarOp::kEqual) return builder_.CreateICmpEQ(a, b);
  if (is_signed_integer(arg_dtype)) {
    return op == ScalarOp::kLess ? builder_.CreateICmpSLT(a, b) : builder_.CreateICmpSLE(a, b);
  }
  return op == ScalarOp::kLess ? builder_.CreateICmpULT(a, b) : builder_.CreateICmpULE(a, b);
}

Value* ScalarOps::divide_integer(ScalarOp op, DType dtype, Value* a, Value* b) {
  Value* zero = Constant::getNullValue(a->getType());
  Value* one = splat_integer(a, 1);
  // The instruction traps on a divisor of zero and on the least integer divided by -1.
  Value* is_zero = builder_.CreateICmpEQ(b, zero);
  if (!is_signed_integer(dtype)) {
    Value* divisor = builder_.CreateSelect(is_zero, one, b);
    Value* result =
        op == ScalarOp::kDiv ? builder_.CreateUDiv(a, divisor) : builder_.CreateURem(a, divisor);
    return builder_.CreateSelect(is_zero, zero, result);
  }
  Value* is_minus_one = builder_.CreateICmpEQ(b, Constant::getAllOnesValue(a->getType()));
  Value* divisor = builder_.CreateSelect(builder_.CreateOr(is_zero, is_minus_one), one, b);
  if (op == ScalarOp::kDiv) {
    Value* quotient = builder_.CreateSDiv(a, divisor);
    quotient = builder_.CreateSelect(is_minus_one, builder_.CreateNeg(a), quotient);
    return builder_.CreateSelect(is_zero, zero, quotient);
  }
  // Modulo 1, which stands in for 0 and -1, is 0.
  Value* remainder = builder_.CreateSRem(a, divisor);
  if (op == ScalarOp::kFmod) return remainder;
  Value* signs_differ = builder_.CreateICmpSLT(builder_.CreateXor(remainder, divisor), zero);
  Value* adjust = builder_.CreateAnd(builder_.CreateICmpNE(remainder, zero), signs_differ);
  return builder_.CreateSelect(adjust, builder_.CreateAdd(remainder, divisor), remainder);
}

Value* ScalarOps::power_integer(DType dtype, Value* a, Value* b) {
  if (dtype == DType::kBool) return builder_.CreateOr(a, builder_.CreateNot(b));
  Value* zero = Constant::getNullValue(a->getType());
  Value* one = splat_integer(a, 1);
  const unsigned bits = a->getType()->getScalarSizeInBits();
  Value* result = one;
  Value* square = a;
  for (unsigned i = 0; i < bits; ++i) {
    Value* bit = builder_.CreateAnd(b, splat_integer(a, static_cast<int64_t>(uint64_t{1} << i)));
    Value* is_set = builder_.CreateICmpNE(bit, zero);
    result = builder_.CreateSelect(is_set, builder_.CreateMul(result, square), result);
    square = builder_.CreateMul(square, square);
  }
  if (!is_signed_integer(dtype)) return result;
  Value* minus_one = Constant::getAllOnesValue(a->getType());
  Value* is_odd = builder_.CreateICmpNE(builder_.CreateAnd(b, one), zero);
  Value* inverse = builder_.CreateSelect(
      builder_.CreateICmpEQ(a, one), one,
      builder_.CreateSelect(builder_.CreateICmpEQ(a, minus_one),
                            builder_.CreateSelect(is_odd, minus_one, one), zero));
  return builder_.CreateSelect(builder_.CreateICmpSLT(b, zero), inverse, result);
}

Value* ScalarOps::min_or_max(bool is_max, DType dtype, Value* a, Value* b) {
  if (!is_float(dtype)) {
    if (dtype == DType::kBool) return is_max ? builder_.CreateOr(a, b) : builder_.CreateAnd(a, b);
    const ID id = is_signed_integer(dtype)
                      ? (is_max ? llvm::Intrinsic::smax : llvm::Intrinsic::smin)
                      : (is_max ? llvm::Intrinsic::umax : llvm::Intrinsic::umin);
    return builder_.CreateBinaryIntrinsic(id, a, b);
  }
  auto pick = [&](Value* first, Value* second) {
    Value* wins =
        is_max ? builder_.CreateFCmpOGT(first, second) : builder_.CreateFCmpOLT(first, second);
    return builder_.CreateSelect(wins, first, second);
  };
  // x86's maxps and minps return the second operand where one is NaN, as this comparison does:
  // with a constant that is not NaN in front, one instruction propagates the other's NaN.
  if (is_constant_not_nan(a)) return pick(a, b);
  if (is_constant_not_nan(b)) return pick(b, a);
  return builder_.CreateSelect(builder_.CreateFCmpUNO(a, a), a, pick(a, b));
}

Value* ScalarOps::round(ScalarOp op, Value* x) {
  if (isa_.has_rounding()) {
    const ID id = op == ScalarOp::kFloor  ? llvm::Intrinsic::floor
                  : op == ScalarOp::kCeil ? llvm::Intrinsic::ceil
                                          : llvm::Intrinsic::roundeven;
    return builder_.CreateUnaryIntrinsic(id, x);
  }
  // Adding 2^(mantissa bits) rounds to an integer; larger magnitudes are integers already.
  const bool single = x->getType()->getScalarType()->isFloatTy();
  Value* magic = ConstantFP::get(x->getType(), single ? 0x1p23 : 0x1p52);
  Value* magnitude = builder_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x);
  Value* rounded = builder_.CreateFSub(builder_.CreateFAdd(magnitude, magic), magic);
  rounded = builder_.CreateBinaryIntrinsic(llvm::Intrinsic::copysign, rounded, x);
  Value* one = ConstantFP::get(x->getType(), 1.0);
  if (op == ScalarOp::kFloor) {
    rounded = builder_.CreateSelect(builder_.CreateFCmpOGT(rounded, x),
                                    builder_.CreateFSub(rounded, one), rounded);
  } else if (op == ScalarOp::kCeil) {
    rounded = builder_.CreateSelect(builder_.CreateFCmpOLT(rounded, x),
                                    builder_.CreateFAdd(rounded, one), rounded);
  }
  rounded = builder_.CreateBinaryIntrinsic(llvm::Intrinsic::copysign, rounded, x);
  return builder_.CreateSelect(builder_.CreateFCmpOLT(magnitude, magic), rounded, x);
}

Value* ScalarOps::sign(Value* x) {
  Value* zero = Constant::getNullValue(x->getType());
  Value* one = ConstantFP::get(x->getType(), 1.0);
  Value* minus_one = ConstantFP::get(x->getType(), -1.0);
  // Zeros and NaN stay as they are.
  Value* low = builder_.CreateSelect(builder_.CreateFCmpOLT(x, zero), minus_one, x);
  return builder_.CreateSelect(builder_.CreateFCmpOGT(x, zero), one, low);
}

Value* ScalarOps::float_mod(DType, Value* a, Value* b, int active_lanes) {
  Value* rest = call_routine(MathRoutine::kFmod, a, b, active_lanes);
  Value* zero = Constant::getNullValue(a->getType());
  Value* signs_differ =
      builder_.CreateXor(builder_.CreateFCmpOLT(rest, zero), builder_.CreateFCmpOLT(b, zero));
  Value* adjust = builder_.CreateAnd(builder_.CreateFCmpUNE(rest, zero), signs_differ);
  return builder_.CreateSelect(adjust, builder_.CreateFAdd(rest, b), rest);
}

Value* ScalarOps::call_routine(MathRoutine routine, Value* a, Value* b, int active_lanes) {
  Type* f64 = builder_.getDoubleTy();
  Type* scalar_type = a->getType()->getScalarType();
  Value* slot =
      builder_.CreateConstGEP1_64(builder_.getPtrTy(), routines_, static_cast<uint64_t>(routine));
  auto* callee = builder_.CreateAlignedLoad(builder_.getPtrTy(), slot, llvm::Align(8));
  callee->setMetadata(llvm::LLVMContext::MD_invariant_load,
                      llvm::MDNode::get(builder_.getContext(), {}));
  auto* type = llvm::FunctionType::get(f64, {f64, f64}, false);
  auto call = [&](Value* x, Value* y) -> Value* {
    Value* wide_x = builder_.CreateFPExt(x, f64);
    Value* wide_y = y ? builder_.CreateFPExt(y, f64) : ConstantFP::get(f64, 0.0);
    auto* result = builder_.CreateCall(type, callee, {wide_x, wide_y});
    result->setDoesNotAccessMemory();
    result->setDoesNotThrow();
    return builder_.CreateFPTrunc(result, scalar_type);
  };
  const int lanes = num_lanes(a->getType());
  if (lanes == 0) return call(a, b);
  Value* result = Constant::getNullValue(a->getType());
  for (int i = 0; i < active_lanes; ++i) {
    const auto lane = static_cast<uint64_t>(i);
    Value* y = b ? builder_.CreateExtractElement(b, lane) : nullptr;
    result =
        builder_.CreateInsertElement(result, call(builder_.CreateExtractElement(a, lane), y), lane);
  }
  return result;
}

Value* ScalarOps::cast(Value* value, DType from, DType to) {
  if (from == to) return value;
  Type* type = with_lanes(register_type(builder_.getContext(), to), num_lanes(value->getType()));
  if (is_float(from)) {
    if (is_float(to)) {
      if (from == DType::kF64)
        value = builder_.CreateFPTrunc(
            value, with_lanes(builder_.getFloatTy(), num_lanes(value->getType())));
      if (to == DType::kF64) return builder_.CreateFPExt(value, type);
      return round_to(value, to);
    }
    if (to == DType::kBool) {
      return builder_.CreateFCmpUNE(value, Constant::getNullValue(value->getType()));
    }
    const ID id = is_signed_integer(to) ? llvm::Intrinsic::fptosi_sat : llvm::Intrinsic::fptoui_sat;
    return builder_.CreateIntrinsic(id, {type, value->getType()}, {value});
  }
  if (is_float(to)) {
    Value* result = is_signed_integer(from) ? builder_.CreateSIToFP(value, type)
                                            : builder_.CreateUIToFP(value, type);
    return round_to(result, to);
  }
  if (to == DType::kBool) {
    return builder_.CreateICmpNE(value, Constant::getNullValue(value->getType()));
  }
  return is_signed_integer(from) ? builder_.CreateSExtOrTrunc(value, type)
                                 : builder_.CreateZExtOrTrunc(value, type);
}

Value* ScalarOps::combine(Reduction reduction, DType dtype, Value* a, Value* b) {
  constexpr ScalarOp kOps[] = {ScalarOp::kAdd, ScalarOp::kMul, ScalarOp::kMin, ScalarOp::kMax};
  Value* args[] = {a, b};
  return apply(kOps[static_cast<int>(reduction)], dtype, dtype, args, 0);
}

Value* ScalarOps::multiply_add(DType dtype, Value* acc, Value* a, Value* b) {
  if (!is_float(dtype)) {
    return combine(Reduction::kSum, dtype, acc, builder_.CreateMul(a, b));
  }
  if (isa_.has_fma()) {
    Value* sum = builder_.CreateIntrinsic(llvm::Intrinsic::fma, {acc->getType()}, {a, b, acc});
    return round_to(sum, dtype);
  }
  Value* product = round_to(builder_.CreateFMul(a, b), dtype);
  return round_to(builder_.CreateFAdd(acc, product), dtype);
}

Constant* ScalarOps::neutral(Reduction reduction, DType dtype) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  switch (reduction) {
    case Reduction::kSum:
      return constant(dtype, -0.0, 0);
    case Reduction::kProduct:
      return constant(dtype, 1, 1);
    case Reduction::kMin:
    case Reduction::kMax:
      break;
  }
  const bool is_max = reduction == Reduction::kMax;
  if (is_float(dtype)) return constant(dtype, is_max ? -kInfinity : kInfinity, 0);
  Type* type = register_type(builder_.getContext(), dtype);
  const unsigned bits = type->getScalarSizeInBits();
  using llvm::APInt;
  const APInt value =
      is_signed_integer(dtype)
          ? (is_max ? APInt::getSignedMinValue(bits) : APInt::getSignedMaxValue(bits))
          : (is_max ? APInt::getMinValue(bits) : APInt::getMaxValue(bits));
  return ConstantInt::get(type, value);
}

Constant* ScalarOps::constant(DType dtype, double f64, int64_t i64) {
  Type* type = register_type(builder_.getContext(), dtype);
  if (dtype == DType::kF16)
    return ConstantFP::get(type, f16_to_f32(f32_to_f16(static_cast<float>(f64))));
  if (dtype == DType::kBF16)
    return ConstantFP::get(type, bf16_to_f32(f32_to_bf16(static_cast<float>(f64))));
  if (is_float(dtype))
    return ConstantFP::get(type, dtype == DType::kF32 ? static_cast<float>(f64) : f64);
  if (dtype == DType::kBool) return ConstantInt::get(type, i64 != 0);
  return ConstantInt::get(type, static_cast<uint64_t>(i64), true);
}

Value* ScalarOps::to_memory(Value* value, DType dtype) {
  if (dtype == DType::kBool) {
    return builder_.CreateZExt(value,
                               with_lanes(builder_.getInt8Ty(), num_lanes(value->getType())));
  }
  return is_rounded(dtype) ? narrow(value, dtype) : value;
}

Value* ScalarOps::from_memory(Value* value, DType dtype) {
  if (dtype == DType::kBool) {
    return builder_.CreateICmpNE(value, Constant::getNullValue(value->getType()));
  }
  return is_rounded(dtype) ? widen(value, dtype) : value;
}

Value* ScalarOps::round_to(Value* value, DType dtype) {
  return is_rounded(dtype) ? widen(narrow(value, dtype), dtype) : value;
}

Value* ScalarOps::narrow(Value* f32, DType dtype) {
  const int lanes = num_lanes(f32->getType());
  Type* i16 = with_lanes(builder_.getInt16Ty(), lanes);
  if (dtype == DType::kF16 && isa_.has_f16_conversion()) {
    return builder_.CreateBitCast(
        builder_.CreateFPTrunc(f32, with_lanes(builder_.getHalfTy(), lanes)), i16);
  }
  Type* i32 = with_lanes(builder_.getInt32Ty(), lanes);
  Value* bits = builder_.CreateBitCast(f32, i32);
  Value* is_nan = builder_.CreateFCmpUNO(f32, f32);
  if (dtype == DType::kBF16) {
    // Round to nearest even by adding just below half a unit, and the kept part's last bit.
    Value* odd = builder_.CreateAnd(builder_.CreateLShr(bits, 16), 1);
    Value* rounded = builder_.CreateAdd(builder_.CreateAdd(bits, splat_integer(bits, 0x7fff)), odd);
    Value* quiet = builder_.CreateOr(bits, splat_integer(bits, 0x00400000));
    return builder_.CreateTrunc(
        builder_.CreateLShr(builder_.CreateSelect(is_nan, quiet, rounded), 16), i16);
  }
  Value* sign = builder_.CreateAnd(builder_.CreateLShr(bits, 16), splat_integer(bits, 0x8000));
  Value* magnitude = builder_.CreateAnd(bits, splat_integer(bits, 0x7fffffff));
  // Normal results: rebias the exponent and round to nearest even; a carry into the exponent is
  // right, also into that of infinity.
  Value* odd = builder_.CreateAnd(builder_.CreateLShr(magnitude, 13), 1);
  Value* rebiased = builder_.CreateAdd(magnitude, splat_integer(bits, -(112 << 23) + 0xfff));
  Value* normal = builder_.CreateLShr(builder_.CreateAdd(rebiased, odd), 13);
  // Denormal results: adding 0.5 leaves the rounded multiple of 2^-24 in the last bits.
  Value* half = ConstantFP::get(f32->getType(), 0.5);
  Value* shifted = builder_.CreateFAdd(builder_.CreateBitCast(magnitude, f32->getType()), half);
  Value* denormal =
      builder_.CreateSub(builder_.CreateBitCast(shifted, i32), splat_integer(bits, 0x3f000000));
  Value* is_denormal = builder_.CreateICmpULT(magnitude, splat_integer(bits, 113 << 23));
  Value* is_infinite = builder_.CreateICmpUGE(magnitude, splat_integer(bits, 0x477ff000));
  Value* result = builder_.CreateSelect(is_denormal, denormal, normal);
  result = builder_.CreateSelect(is_infinite, splat_integer(bits, 0x7c00), result);
  Value* payload = builder_.CreateOr(
      builder_.CreateAnd(builder_.CreateLShr(magnitude, 13), splat_integer(bits, 0x3ff)),
      splat_integer(bits, 0x7e00));
  result = builder_.CreateSelect(is_nan, payload, result);
  return builder_.CreateTrunc(builder_.CreateOr(result, sign), i16);
}

Value* ScalarOps::widen(Value* bits, DType dtype) {
  const int lanes = num_lanes(bits->getType());
  Type* f32 = with_lanes(builder_.getFloatTy(), lanes);
  Type* i32 = with_lanes(builder_.getInt32Ty(), lanes);
  if (dtype == DType::kBF16) {
    return builder_.CreateBitCast(builder_.CreateShl(builder_.CreateZExt(bits, i32), 16), f32);
  }
  if (isa_.has_f16_conversion()) {
    return builder_.CreateFPExt(
        builder_.CreateBitCast(bits, with_lanes(builder_.getHalfTy(), lanes)), f32);
  }
  Value* wide = builder_.CreateZExt(bits, i32);
  Value* sign = builder_.CreateShl(builder_.CreateAnd(wide, splat_integer(wide, 0x8000)), 16);
  Value* magnitude = builder_.CreateAnd(wide, splat_integer(wide, 0x7fff));
  // As f32 bits the value is too small by 2^112, denormals included; the product is exact.
  Value* small = builder_.CreateBitCast(builder_.CreateShl(magnitude, 13), f32);
  Value* scaled =
      builder_.CreateBitCast(builder_.CreateFMul(small, ConstantFP::get(f32, 0x1p112)), i32);
  Value* special =
      builder_.CreateOr(builder_.CreateShl(magnitude, 13), splat_integer(wide, 0x7f800000));
  Value* is_special = builder_.CreateICmpUGE(magnitude, splat_integer(wide, 0x7c00));
  return builder_.CreateBitCast(
      builder_.CreateOr(builder_.CreateSelect(is_special, special, scaled), sign), f32);
}

}  // namespace corf::codegen
