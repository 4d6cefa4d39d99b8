#include <cmath>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/IntrinsicsX86.h>
#include <optional>

#include "codegen/scalar_ops.h"
#include "codegen/value_types.h"

namespace corf::codegen {

using llvm::Constant;
using llvm::ConstantFP;
using llvm::ConstantInt;
using llvm::Type;
using llvm::Value;
using llvm::Intrinsic::ID;

namespace {

bool is_rounded(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16; }

/// The number that a constant is in all lanes.
std::optional<double> number_of(Value* value) {
  auto* constant = llvm::dyn_cast<Constant>(value);
  if (constant && constant->getType()->isVectorTy()) constant = constant->getSplatValue();
  auto* number = llvm::dyn_cast_or_null<ConstantFP>(constant);
  if (!number || !number->getType()->isFloatTy()) return std::nullopt;
  return number->getValueAPF().convertToFloat();
}

/// Of min(max(x, low), high), as ScalarOps writes it: a constant and what it is compared with.
struct Clip {
  double bound = 0;
  Value* value = nullptr;
};
std::optional<Clip> clip_of(Value* value, llvm::CmpInst::Predicate wanted) {
  auto* select = llvm::dyn_cast<llvm::SelectInst>(value);
  auto* wins = select ? llvm::dyn_cast<llvm::FCmpInst>(select->getCondition()) : nullptr;
  if (!wins || wins->getPredicate() != wanted) return std::nullopt;
  const std::optional<double> bound = number_of(wins->getOperand(0));
  if (!bound || select->getTrueValue() != wins->getOperand(0) ||
      select->getFalseValue() != wins->getOperand(1)) {
    return std::nullopt;
  }
  return Clip{*bound, wins->getOperand(1)};
}

/// Whether the value is clipped to what the byte type holds (or is NaN).
bool is_clipped(Value* value, DType to) {
  const bool is_signed = to == DType::kI8;
  const auto high = clip_of(value, llvm::CmpInst::FCMP_OLT);
  if (!high || high->bound > (is_signed ? 127 : 255)) return false;
  const auto low = clip_of(high->value, llvm::CmpInst::FCMP_OGT);
  return low && low->bound >= (is_signed ? -128 : 0);
}

/// min(max(round(x) + zero_point, low), high), as ScalarOps writes it; bounds are integers.
struct Quantized {
  Value* x = nullptr;
  double zero_point = 0, low = 0, high = 0;
};
std::optional<Quantized> quantized(Value* value) {
  Quantized result;
  const auto high = clip_of(value, llvm::CmpInst::FCMP_OLT);
  const auto low = high ? clip_of(high->value, llvm::CmpInst::FCMP_OGT) : std::nullopt;
  if (!low) return std::nullopt;
  result.low = low->bound;
  result.high = high->bound;
  Value* rounded = low->value;
  if (auto* sum = llvm::dyn_cast<llvm::BinaryOperator>(rounded)) {
    const auto zero_point = number_of(sum->getOperand(1));
    if (sum->getOpcode() != llvm::Instruction::FAdd || !zero_point) return std::nullopt;
    result.zero_point = *zero_point;
    rounded = sum->getOperand(0);
  }
  auto* round = llvm::dyn_cast<llvm::IntrinsicInst>(rounded);
  if (!round || round->getIntrinsicID() != llvm::Intrinsic::roundeven) return std::nullopt;
  result.x = round->getArgOperand(0);
  for (const double number : {result.zero_point, result.low, result.high}) {
    if (number != std::nearbyint(number)) return std::nullopt;
  }
  return result;
}

/// Whether the product with the divisor's reciprocal, corrected by what that leaves over, is
/// rounded to the same integer as the quotient, for all of which this lies from `low` to `high`.
/// The two differ by a unit in the last place at most: floats near each half decide. Source: P.
/// Markstein, Computation of elementary functions on the IBM RISC System/6000 processor, 1990.
bool rounds_as_quotient(float divisor, double low, double high) {
  constexpr float kLeast = 0x1p-100F, kMost = 0x1p100F;  // no product leaves the normal numbers
  constexpr int kNeighbours = 3;
  if (!(divisor >= kLeast && divisor <= kMost)) return false;
  const float reciprocal = 1.0F / divisor;
  for (double half = low - 0.5; half <= high + 0.5; ++half) {
    float x = static_cast<float>(half * divisor);
    for (int i = 0; i < kNeighbours; ++i) x = std::nextafter(x, -INFINITY);
    for (int i = 0; i <= 2 * kNeighbours; ++i, x = std::nextafter(x, INFINITY)) {
      const float quotient = x * reciprocal;
      const float corrected = std::fma(std::fma(-quotient, divisor, x), reciprocal, quotient);
      if (std::nearbyint(corrected) != std::nearbyint(x / divisor)) return false;
    }
  }
  return true;
}

Value* splat_integer(Value* like, int64_t value) {
  return ConstantInt::get(like->getType(), static_cast<uint64_t>(value), true);
}

}  // namespace

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
    if (from == DType::kF32 && (to == DType::kU8 || to == DType::kI8) && is_clipped(value, to)) {
      if (Value* bytes = quantized_bytes(value, to, type)) return bytes;
      if (Value* wide = to_i32(value, Rounding::kToZero)) return builder_.CreateTrunc(wide, type);
    }
    if (num_lanes(value->getType()) > 1) return saturated_integers(value, to, type);
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

/// Towards zero, what is outside of the type to its nearest, NaN to 0: what LLVM's saturating
/// conversions do lane by lane.
Value* ScalarOps::saturated_integers(Value* value, DType to, Type* type) {
  const bool is_signed = is_signed_integer(to);
  const auto bits = static_cast<int>(8 * size_bytes(to)) - (is_signed ? 1 : 0);
  Constant* const least = ConstantFP::get(value->getType(), is_signed ? -std::ldexp(1.0, bits) : 0);
  Constant* const above = ConstantFP::get(value->getType(), std::ldexp(1.0, bits));
  Value* is_above = builder_.CreateFCmpOGE(value, above);
  // NaN is not greater than anything.
  Value* inside = builder_.CreateSelect(builder_.CreateFCmpOGT(value, least), value, least);
  inside = builder_.CreateSelect(is_above, least, inside);
  Type* wide =
      size_bytes(to) >= 4 ? type : with_lanes(builder_.getInt32Ty(), num_lanes(value->getType()));
  Value* result = is_signed || wide != type ? builder_.CreateFPToSI(inside, wide)
                                            : builder_.CreateFPToUI(inside, wide);
  result = builder_.CreateTrunc(result, type);
  const llvm::APInt most = is_signed ? llvm::APInt::getSignedMaxValue(type->getScalarSizeInBits())
                                     : llvm::APInt::getMaxValue(type->getScalarSizeInBits());
  result = builder_.CreateSelect(is_above, ConstantInt::get(type, most), result);
  if (!is_signed) return result;
  return builder_.CreateSelect(builder_.CreateFCmpUNO(value, value), Constant::getNullValue(type),
                               result);
}

/// What is clipped to bytes after it was rounded, with fewer instructions: bounds are integers, so
/// that it may as well be clipped first, and the conversion rounds. Null if the value is no such
/// thing. Of NaN 0 becomes.
Value* ScalarOps::quantized_bytes(Value* clipped, DType to, Type* type) {
  const auto found = quantized(clipped);
  if (!found) return nullptr;
  const bool nan_is_low = to == DType::kU8 && found->low == 0;
  if (found->zero_point != 0 && !nan_is_low) return nullptr;
  const auto number = [&](double value) { return ConstantFP::get(found->x->getType(), value); };
  const auto pick = [&](llvm::CmpInst::Predicate wins, Value* first, Value* second) {
    return builder_.CreateSelect(builder_.CreateFCmp(wins, first, second), first, second);
  };
  // What is too large for i32 becomes the smallest one: as an unsigned number, a large one.
  const bool saturates =
      isa_.has_saturating_stores() && nan_is_low && found->high == 255 && found->zero_point >= 0;
  const auto between = [&](Value* x, Value* low, Value* high) {
    x = nan_is_low ? pick(llvm::CmpInst::FCMP_OGT, x, low) : pick(llvm::CmpInst::FCMP_OGT, low, x);
    return high ? pick(llvm::CmpInst::FCMP_OLT, high, x) : x;
  };
  const double low = found->low - found->zero_point, high = found->high - found->zero_point;
  Value* x = found->x;
  auto* division = llvm::dyn_cast<llvm::BinaryOperator>(x);
  const auto divisor = division && division->getOpcode() == llvm::Instruction::FDiv
                           ? number_of(division->getOperand(1))
                           : std::nullopt;
  if (divisor && isa_.has_fma() && rounds_as_quotient(static_cast<float>(*divisor), low, high)) {
    // Within a quarter of a step beyond the bounds, which rounding takes back.
    x = between(division->getOperand(0), number(*divisor * (low - 0.25)),
                number(*divisor * (high + 0.25)));
    Value *reciprocal = number(1.0F / static_cast<float>(*divisor)),
          *quotient = builder_.CreateFMul(x, reciprocal);
    Value* rest = multiply_add(DType::kF32, x, builder_.CreateFNeg(quotient), number(*divisor));
    x = multiply_add(DType::kF32, quotient, rest, reciprocal);
  } else {
    x = between(x, number(low), saturates ? nullptr : number(high));
  }
  Value* wide = to_i32(x, Rounding::kToEven);
  if (!wide) return nullptr;
  if (found->zero_point != 0) {
    wide = builder_.CreateAdd(wide, splat_integer(wide, static_cast<int64_t>(found->zero_point)));
  }
  if (saturates) {
    wide = builder_.CreateBinaryIntrinsic(llvm::Intrinsic::umin, wide, splat_integer(wide, 255));
  }
  return builder_.CreateTrunc(wide, type);
}

/// A vector of f32 within i32 or NaN, of which the smallest i32 becomes, whose bytes but the
/// highest are zeros; null for numbers of lanes that no instruction takes.
Value* ScalarOps::to_i32(Value* value, Rounding rounding) {
  const int lanes = num_lanes(value->getType());
  const bool cuts = rounding == Rounding::kToZero;
  Type* type = with_lanes(builder_.getInt32Ty(), lanes);
  switch (lanes) {
    case 16: {
      constexpr uint32_t kAsTheModeSays = 4;
      return builder_.CreateIntrinsic(
          type,
          cuts ? llvm::Intrinsic::x86_avx512_mask_cvttps2dq_512
               : llvm::Intrinsic::x86_avx512_mask_cvtps2dq_512,
          {value, Constant::getNullValue(type), builder_.getInt16(0xffff),
           builder_.getInt32(kAsTheModeSays)});
    }
    case 8:
      return builder_.CreateIntrinsic(
          type,
          cuts ? llvm::Intrinsic::x86_avx_cvtt_ps2dq_256 : llvm::Intrinsic::x86_avx_cvt_ps2dq_256,
          {value});
    case 4:
      return builder_.CreateIntrinsic(
          type, cuts ? llvm::Intrinsic::x86_sse2_cvttps2dq : llvm::Intrinsic::x86_sse2_cvtps2dq,
          {value});
    default:
      return nullptr;
  }
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
  if (dtype == DType::kBF16) {
    // Registers hold bfloat16 numbers as f32: nothing is left to round.
    const int lanes = num_lanes(value->getType());
    Value* bits = builder_.CreateBitCast(value, with_lanes(builder_.getInt32Ty(), lanes));
    return builder_.CreateTrunc(builder_.CreateLShr(bits, 16),
                                with_lanes(builder_.getInt16Ty(), lanes));
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
    // Of a number that a conversion from f64 has just made, LLVM would make one to f16 directly,
    // for which there is no instruction. Constants stay constants.
    Value* apart =
        llvm::isa<Constant>(f32) ? f32 : builder_.CreateArithmeticFence(f32, f32->getType());
    return builder_.CreateBitCast(
        builder_.CreateFPTrunc(apart, with_lanes(builder_.getHalfTy(), lanes)), i16);
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
