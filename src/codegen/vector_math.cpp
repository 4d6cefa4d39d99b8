#include "codegen/vector_math.h"

#include <algorithm>
#include <limits>
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/IntrinsicsX86.h>

#include "codegen/value_types.h"

namespace corf::codegen {

using llvm::ConstantFP;
using llvm::ConstantInt;
using llvm::Type;
using llvm::Value;

Value* VectorMath::constant(Value* like, double value) {
  return ConstantFP::get(like->getType(), value);
}

Type* VectorMath::integer_type(Value* like) {
  return with_lanes(builder_.getInt32Ty(), num_lanes(like->getType()));
}

Value* VectorMath::integer(Value* like, int64_t value) {
  return ConstantInt::get(integer_type(like), static_cast<uint64_t>(value), true);
}

Value* VectorMath::fma(Value* a, Value* b, Value* c) {
  if (isa_.has_fma()) {
    return builder_.CreateIntrinsic(llvm::Intrinsic::fma, {a->getType()}, {a, b, c});
  }
  return builder_.CreateFAdd(builder_.CreateFMul(a, b), c);
}

Value* VectorMath::polynomial(Value* x, std::initializer_list<double> coefficients) {
  const double* next = coefficients.end() - 1;
  Value* result = constant(x, *next);
  while (next != coefficients.begin()) result = fma(result, x, constant(x, *--next));
  return result;
}

Value* VectorMath::clamp(Value* x, double lo, double hi) {
  // The constant in front: a NaN stays (x86 returns the second operand).
  Value* low = constant(x, lo);
  x = builder_.CreateSelect(builder_.CreateFCmpOGT(low, x), low, x);
  Value* high = constant(x, hi);
  return builder_.CreateSelect(builder_.CreateFCmpOLT(high, x), high, x);
}

VectorMath::Reduced VectorMath::reduce(Value* x, int bias) {
  // Adding 1.5 * 2^23 rounds to an integer, which the sum's last bits then hold.
  const double magic = 0x1.8p23 + bias;
  // ln 2 = 355/512 + rest: the product of n and the first part is exact, with or without FMA.
  constexpr double kLn2High = 0.693359375, kLn2Low = -2.1219444005469058e-4;
  Value* sum = fma(x, constant(x, 1.4426950408889634), constant(x, magic));
  Reduced result;
  result.n = builder_.CreateFSub(sum, constant(x, magic));
  result.bits =
      builder_.CreateSub(builder_.CreateBitCast(sum, integer_type(x)), integer(x, 0x4b400000));
  Value* high = fma(result.n, constant(x, -kLn2High), x);
  result.r = fma(result.n, constant(x, -kLn2Low), high);
  return result;
}

Value* VectorMath::power_of_two(Value* like, Value* n) {
  Value* exponent = builder_.CreateAdd(n, integer(like, 127));
  return builder_.CreateBitCast(builder_.CreateShl(exponent, 23), like->getType());
}

Value* VectorMath::scale(Value* value, const Reduced& reduced, Value* nonzero) {
  const int lanes = num_lanes(value->getType());
  if (scales_under_mask(value)) {
    Value* zero = llvm::Constant::getNullValue(value->getType());
    Type* mask_type = builder_.getIntNTy(static_cast<unsigned>(std::max(lanes, 8)));
    Value* mask = llvm::Constant::getAllOnesValue(mask_type);
    if (nonzero) {
      if (lanes == 4) {
        nonzero = builder_.CreateShuffleVector(
            nonzero, llvm::Constant::getNullValue(nonzero->getType()), {0, 1, 2, 3, 4, 5, 6, 7});
      }
      mask = builder_.CreateBitCast(nonzero, mask_type);
    }
    llvm::SmallVector<Value*, 5> args{value, reduced.n, zero, mask};
    if (lanes == 16) {
      args.push_back(builder_.getInt32(4));  // the current rounding mode
      return builder_.CreateIntrinsic(llvm::Intrinsic::x86_avx512_mask_scalef_ps_512, {}, args);
    }
    return builder_.CreateIntrinsic(lanes == 8 ? llvm::Intrinsic::x86_avx512_mask_scalef_ps_256
                                               : llvm::Intrinsic::x86_avx512_mask_scalef_ps_128,
                                    {}, args);
  }
  // In two steps, the first of which is exact: 2^n itself may be out of range.
  Value* half = builder_.CreateAShr(reduced.bits, 1);
  Value* rest = builder_.CreateSub(reduced.bits, half);
  Value* result = builder_.CreateFMul(builder_.CreateFMul(value, power_of_two(value, half)),
                                      power_of_two(value, rest));
  return nonzero ? builder_.CreateSelect(nonzero, result, constant(value, 0)) : result;
}

bool VectorMath::scales_under_mask(Value* value) const {
  const int lanes = num_lanes(value->getType());
  return isa_.isa >= Isa::kAvx512 && (lanes == 16 || lanes == 8 || lanes == 4);
}

// Polynomials: minimax fits by Remez exchange in 40 digits, coefficients rounded to f32.

Value* VectorMath::expm1_quotient(Value* r) {
  return polynomial(r, {0.5, 0.16666537523269653, 0.041666265577077866, 0.008367233909666538,
                        0.0013947574188932776});
}

Value* VectorMath::small_expm1(Value* r) {
  return fma(builder_.CreateFMul(r, r), expm1_quotient(r), r);
}

Value* VectorMath::small_exp(Value* r) {
  Value* one = constant(r, 1);
  return fma(fma(expm1_quotient(r), r, one), r, one);
}

Value* VectorMath::divide_by_one_plus(Value* numerator, Value* e) {
  Value* one = constant(e, 1);
  Value* divisor = builder_.CreateFAdd(one, e);
  if (isa_.isa >= Isa::kAvx512 && num_lanes(divisor->getType()) == 16) {
    // Good to 14 bits; the step below doubles them. It knows the divisor as a sum, unrounded.
    Value* nothing = llvm::Constant::getNullValue(divisor->getType());
    Value* inverse = builder_.CreateIntrinsic(llvm::Intrinsic::x86_avx512_rcp14_ps_512, {},
                                              {divisor, nothing, builder_.getInt16(0xffff)});
    Value* quotient = builder_.CreateFMul(numerator, inverse);
    Value* rest = builder_.CreateFSub(numerator, quotient);
    rest = fma(builder_.CreateFNeg(quotient), e, rest);
    return fma(rest, inverse, quotient);
  }
  // What the sum loses is made good in the quotient.
  Value* lost = builder_.CreateFAdd(builder_.CreateFSub(one, divisor), e);
  Value* quotient = builder_.CreateFDiv(numerator, divisor);
  return fma(builder_.CreateFNeg(quotient), lost, quotient);
}

Value* VectorMath::exp(Value* x) {
  // Beyond these the result is 0 or infinity. Zeros (what masks of attention give) are put in: to
  // underflow costs the processor more than a hundred cycles. Lanes that a mask keeps from being
  // scaled do not underflow, whatever is in them.
  Value* remains = builder_.CreateFCmpUGE(x, constant(x, -104));  // or is a NaN
  if (!scales_under_mask(x)) x = builder_.CreateSelect(remains, x, constant(x, 0));
  Value* high = constant(x, 89);  // in front, so that a NaN stays
  const Reduced reduced = reduce(builder_.CreateSelect(builder_.CreateFCmpOLT(high, x), high, x));
  return scale(small_exp(reduced.r), reduced, remains);
}

Value* VectorMath::sigmoid(Value* x) {
  // With e = exp(-|x|), which cannot overflow: 1 / (1 + e), or e / (1 + e) for negative x.
  Value* one = constant(x, 1);
  Value* negative = builder_.CreateFNeg(builder_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x));
  Value* low = constant(x, -104);  // in front, so that a NaN stays
  negative = builder_.CreateSelect(builder_.CreateFCmpOGT(low, negative), low, negative);
  Value* e;
  if (scales_under_mask(x)) {
    const Reduced reduced = reduce(negative);
    e = scale(small_exp(reduced.r), reduced);
  } else {
    // With its exponent's bias, 2^(n + 64) is in range: one product rounds what is left.
    const Reduced reduced = reduce(negative, 127 + 64);
    Value* power = builder_.CreateBitCast(builder_.CreateShl(reduced.bits, 23), x->getType());
    e = builder_.CreateFMul(builder_.CreateFMul(small_exp(reduced.r), power), constant(x, 0x1p-64));
  }
  // By the sign's bit, which selects by itself.
  Value* is_negative =
      builder_.CreateICmpSLT(builder_.CreateBitCast(x, integer_type(x)), integer(x, 0));
  return divide_by_one_plus(builder_.CreateSelect(is_negative, e, one), e);
}

Value* VectorMath::tanh(Value* x) {
  // With m = exp(2|x|) - 1, accurate also near 0: m / (m + 2). From |x| = 10 on it is 1.
  Value* magnitude = builder_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x);
  const Reduced reduced = reduce(clamp(builder_.CreateFAdd(magnitude, magnitude), -1, 20));
  Value* power = power_of_two(x, reduced.bits);
  Value* m = fma(small_expm1(reduced.r), power, builder_.CreateFSub(power, constant(x, 1)));
  Value* result = builder_.CreateFDiv(m, builder_.CreateFAdd(m, constant(x, 2)));
  return builder_.CreateBinaryIntrinsic(llvm::Intrinsic::copysign, result, x);
}

Value* VectorMath::erf(Value* x) {
  Value* magnitude = builder_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x);
  // |x| < 1: x + x p(x^2), p(t) = erf(sqrt t) / sqrt t - 1; relative error below 2^-29.
  Value* small = fma(x,
                     polynomial(builder_.CreateFMul(x, x),
                                {0.12837910652160644, -0.3761262595653534, 0.1128358542919159,
                                 -0.026853812858462334, 0.005188327748328447,
                                 -0.0008010193705558777, 7.853861461626366e-05}),
                     x);
  // Beyond: 1 - w(|x|)^8, w the eighth root of 1 - erf, whose last bits do not weigh; error below
  // 2^-25. From 4 on it is 1.
  Value* most = constant(x, 4.2);  // in front, so that a NaN stays
  Value* w = polynomial(
      builder_.CreateSelect(builder_.CreateFCmpOLT(most, magnitude), most, magnitude),
      {1.0008346915264468, -0.14506050236497438, -0.0614264974397215, -0.011373425688653974,
       0.012925798667625597, -0.0024697150633319122, 0.00014984768805822313});
  w = builder_.CreateFMul(w, w);
  w = builder_.CreateFMul(w, w);
  Value* large = builder_.CreateBinaryIntrinsic(llvm::Intrinsic::copysign,
                                                fma(builder_.CreateFNeg(w), w, constant(x, 1)), x);
  return builder_.CreateSelect(builder_.CreateFCmpOLT(magnitude, constant(x, 1)), small, large);
}

VectorMath::Normalized VectorMath::normalize(Value* x) {
  Value* bits = builder_.CreateBitCast(x, integer_type(x));
  Value* e = builder_.CreateAShr(builder_.CreateSub(bits, integer(x, 0x3f3504f3)), 23);
  Value* m = builder_.CreateSub(bits, builder_.CreateShl(e, 23));
  return {e, builder_.CreateBitCast(m, x->getType())};
}

Value* VectorMath::log(Value* x) {
  // Denormals are scaled into the normal range first.
  Value* is_denormal = builder_.CreateFCmpOLT(x, constant(x, 0x1p-126));
  Value* normal =
      builder_.CreateSelect(is_denormal, builder_.CreateFMul(x, constant(x, 0x1p23)), x);
  auto [e, m] = normalize(normal);
  e = builder_.CreateSub(e, builder_.CreateSelect(is_denormal, integer(x, 23), integer(x, 0)));
  Value* exponent = builder_.CreateSIToFP(e, x->getType());
  Value* f = builder_.CreateFSub(m, constant(x, 1));
  Value* square = builder_.CreateFMul(f, f);
  // log(1 + f) = f - f^2 / 2 + f^3 p(f); relative error below 2^-30.
  Value* p = polynomial(f, {0.3333331346511841, -0.25000008940696716, 0.2000211775302887,
                            -0.1666799634695053, 0.14219562709331512, -0.12405592948198318,
                            0.118880994617939, -0.11675606667995453, 0.06746715307235718});
  Value* rest = builder_.CreateFMul(builder_.CreateFMul(square, f), p);
  rest = fma(exponent, constant(x, -2.1219444005469058e-4), rest);
  rest = fma(square, constant(x, -0.5), rest);
  Value* result = builder_.CreateFAdd(f, rest);
  result = fma(exponent, constant(x, 0.693359375), result);
  auto* infinity = ConstantFP::getInfinity(x->getType());
  auto choose = [&](Value* condition, Value* value) {
    result = builder_.CreateSelect(condition, value, result);
  };
  choose(builder_.CreateFCmpUGE(x, infinity), x);  // infinity and NaN
  choose(builder_.CreateFCmpOLT(x, constant(x, 0)), ConstantFP::getNaN(x->getType()));
  choose(builder_.CreateFCmpOEQ(x, constant(x, 0)), ConstantFP::getInfinity(x->getType(), true));
  return result;
}

Value* VectorMath::is_large_angle(Value* x) {
  // Up to there the products of n and the first parts of pi / 2 are exact, or fused.
  const double limit = isa_.has_fma() ? 0x1p40 : 0x1p20;
  Value* magnitude = builder_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x);
  return builder_.CreateFCmpUGE(magnitude, constant(x, limit));
}

VectorMath::Angle VectorMath::turn(Value* x) {
  const int lanes = num_lanes(x->getType());
  Value* wide = builder_.CreateFPExt(x, with_lanes(builder_.getDoubleTy(), lanes));
  // As in reduce(): the sum's last bits hold n.
  constexpr double kMagic = 0x1.8p52;
  Value* sum = fma(wide, constant(wide, 0x1.45f306dc9c883p-1), constant(wide, kMagic));
  Value* n = builder_.CreateFSub(sum, constant(wide, kMagic));
  Value* r = wide;
  // pi / 2 in parts: of 53 bits, or of 33, whose products with n < 2^20 are exact.
  const std::initializer_list<double> fused = {0x1.921fb54442d18p0, 0x1.1a62633145c07p-54};
  const std::initializer_list<double> exact = {0x1.921fb544p0, 0x1.0b4611a6p-34,
                                               0x1.3198a2e037073p-69};
  for (const double part : isa_.has_fma() ? fused : exact) r = fma(n, constant(n, -part), r);
  r = builder_.CreateFPTrunc(r, x->getType());

  Angle angle;
  Type* long_type = with_lanes(builder_.getInt64Ty(), lanes);
  angle.n = builder_.CreateTrunc(builder_.CreateBitCast(sum, long_type), integer_type(x));
  // Relative errors below 2^-27 and 2^-33.
  Value* square = builder_.CreateFMul(r, r);
  angle.sine = fma(
      builder_.CreateFMul(r, square),
      polynomial(square, {-0.16666655242443085, 0.00833216030150652, -0.00019515218446031213}), r);
  angle.cosine =
      fma(builder_.CreateFMul(square, square),
          polynomial(square, {0.04166664555668831, -0.0013887315290048718, 2.4433082217001356e-05}),
          fma(square, constant(x, -0.5), constant(x, 1)));
  return angle;
}

Value* VectorMath::sine_of(const Angle& angle, Value* n) {
  Value* is_odd =
      builder_.CreateICmpNE(builder_.CreateAnd(n, 1), llvm::Constant::getNullValue(n->getType()));
  Value* magnitude = builder_.CreateSelect(is_odd, angle.cosine, angle.sine);
  Value* sign = builder_.CreateShl(builder_.CreateAnd(n, 2), 30);
  Value* bits = builder_.CreateXor(builder_.CreateBitCast(magnitude, n->getType()), sign);
  return builder_.CreateBitCast(bits, magnitude->getType());
}

Value* VectorMath::sin(Value* x) {
  // Of |x|, so that a zero's sign comes back.
  const Angle angle = turn(builder_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x));
  Value* sign = builder_.CreateAnd(builder_.CreateBitCast(x, integer_type(x)),
                                   integer(x, std::numeric_limits<int32_t>::min()));
  Value* sine = builder_.CreateBitCast(sine_of(angle, angle.n), integer_type(x));
  return builder_.CreateBitCast(builder_.CreateXor(sine, sign), x->getType());
}

Value* VectorMath::cos(Value* x) {
  const Angle angle = turn(x);
  return sine_of(angle, builder_.CreateAdd(angle.n, integer(x, 1)));
}

Value* VectorMath::is_positive_zero(Value* x) {
  return builder_.CreateICmpEQ(builder_.CreateBitCast(x, integer_type(x)), integer(x, 0));
}

Value* VectorMath::is_special_power(Value* x, Value* y) {
  auto* infinity = ConstantFP::getInfinity(x->getType());
  Value* magnitude = builder_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, y);
  Value* usual = builder_.CreateAnd(builder_.CreateFCmpOGE(x, constant(x, 0x1p-126)),
                                    builder_.CreateFCmpOLT(x, infinity));
  usual = builder_.CreateAnd(usual, builder_.CreateFCmpOLT(magnitude, infinity));
  Value* zero = builder_.CreateAnd(is_positive_zero(x), builder_.CreateFCmpOGT(y, constant(y, 0)));
  return builder_.CreateNot(builder_.CreateOr(usual, zero));
}

Value* VectorMath::pow(Value* x, Value* y) {
  // 2^(y log2 x), the exponent in doubles: of 150, a float keeps 16 bits behind the point.
  Value* zero = is_positive_zero(x);
  const auto [e, m] = normalize(builder_.CreateSelect(zero, constant(x, 1), x));
  Type* wide_type = with_lanes(builder_.getDoubleTy(), num_lanes(x->getType()));
  Value* wide = builder_.CreateFPExt(m, wide_type);
  // log2 m = t p(t^2), t = (m - 1) / (m + 1); relative error below 2^-37.
  Value* t = builder_.CreateFDiv(builder_.CreateFSub(wide, constant(wide, 1)),
                                 builder_.CreateFAdd(wide, constant(wide, 1)));
  Value* p = polynomial(builder_.CreateFMul(t, t),
                        {2.8853900817900837, 0.9617966733483948, 0.577083583600874,
                         0.41167280592101263, 0.34072841479102006});
  Value* log2 = fma(t, p, builder_.CreateSIToFP(e, wide_type));
  // Beyond these the result is infinity or 0.
  Value* exponent = clamp(builder_.CreateFMul(builder_.CreateFPExt(y, wide_type), log2), -200, 200);
  constexpr double kMagic = 0x1.8p52;  // as in reduce()
  Value* sum = builder_.CreateFAdd(exponent, constant(wide, kMagic));
  Value* n = builder_.CreateFSub(sum, constant(wide, kMagic));
  Value* r =
      builder_.CreateFMul(builder_.CreateFSub(exponent, n), constant(wide, 0.6931471805599453));
  Type* long_type = with_lanes(builder_.getInt64Ty(), num_lanes(x->getType()));
  Reduced reduced;
  reduced.n = builder_.CreateFPTrunc(n, x->getType());
  reduced.bits = builder_.CreateTrunc(builder_.CreateBitCast(sum, long_type), integer_type(x));
  reduced.r = builder_.CreateFPTrunc(r, x->getType());
  return builder_.CreateSelect(zero, constant(x, 0), scale(small_exp(reduced.r), reduced));
}

}  // namespace corf::codegen
