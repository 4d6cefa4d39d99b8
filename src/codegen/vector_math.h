#pragma once
#include <initializer_list>
#include <llvm/IR/IRBuilder.h>

#include "codegen/isa_traits.h"

namespace corf::codegen {

/// Elementary functions of f32 (scalar or vector) as straight-line code. Infinities, NaN, signed
/// zeros and denormals as IEEE-754 and the C library have them. `has_fma` selects fused operations,
/// without which the errors are slightly larger; the bounds hold for both.
class VectorMath {
 public:
  VectorMath(llvm::IRBuilder<>& builder, const IsaTraits& isa) : builder_(builder), isa_(isa) {}

  llvm::Value* exp(llvm::Value* x);      // at most 2 ULP
  llvm::Value* sigmoid(llvm::Value* x);  // at most 2 ULP
  llvm::Value* tanh(llvm::Value* x);     // at most 4 ULP
  llvm::Value* erf(llvm::Value* x);      // at most 4 ULP
  llvm::Value* log(llvm::Value* x);      // at most 2 ULP
  llvm::Value* sin(llvm::Value* x);      // at most 2 ULP, where is_large_angle does not hold
  llvm::Value* cos(llvm::Value* x);      // at most 2 ULP, likewise
  /// True of infinities and NaN too.
  llvm::Value* is_large_angle(llvm::Value* x);
  /// x to the power of y, at most 2 ULP, where is_special_power does not hold.
  llvm::Value* pow(llvm::Value* x, llvm::Value* y);
  /// Of what is no positive normal number, or to a power that is no number. A power of 0 is special
  /// only for -0 and where it is not to 0.
  llvm::Value* is_special_power(llvm::Value* x, llvm::Value* y);

 private:
  llvm::Value* constant(llvm::Value* like, double value);
  llvm::Value* integer(llvm::Value* like, int64_t value);
  llvm::Type* integer_type(llvm::Value* like);
  /// a * b + c.
  llvm::Value* fma(llvm::Value* a, llvm::Value* b, llvm::Value* c);
  /// coefficients[0] + x * (coefficients[1] + ...).
  llvm::Value* polynomial(llvm::Value* x, std::initializer_list<double> coefficients);
  llvm::Value* clamp(llvm::Value* x, double lo, double hi);

  /// x = n * ln 2 + r, |r| <= ln 2 / 2, for |x| <= 2^20.
  struct Reduced {
    llvm::Value* n;     // as a float
    llvm::Value* bits;  // n + bias as an integer
    llvm::Value* r;
  };
  Reduced reduce(llvm::Value* x, int bias = 0);
  /// value * 2^n, one rounding even where the result is a denormal; |n| <= 250. Where `nonzero`,
  /// if there is one, does not hold, the result is 0.
  llvm::Value* scale(llvm::Value* value, const Reduced& reduced, llvm::Value* nonzero = nullptr);
  /// Whether scale() leaves out what is 0, whatever its operands are there.
  bool scales_under_mask(llvm::Value* value) const;
  /// 2^n as a float for an integer n in [-126, 127].
  llvm::Value* power_of_two(llvm::Value* like, llvm::Value* n);
  /// (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2; the error in e^r - 1 is below 2^-26 of it.
  llvm::Value* expm1_quotient(llvm::Value* r);
  /// (e^r - 1) for |r| <= ln 2 / 2.
  llvm::Value* small_expm1(llvm::Value* r);
  /// e^r for such r.
  llvm::Value* small_exp(llvm::Value* r);
  /// numerator / (1 + e), of 1 or e, without the sum's rounding error; e is between 0 and 1.
  llvm::Value* divide_by_one_plus(llvm::Value* numerator, llvm::Value* e);

  /// x = 2^e m, m in [sqrt(1/2), sqrt(2)), of a positive normal x.
  struct Normalized {
    llvm::Value *e, *m;  // e: integer
  };
  Normalized normalize(llvm::Value* x);
  llvm::Value* is_positive_zero(llvm::Value* x);

  /// x = n * pi / 2 + r, |r| <= pi / 4: `n`, modulo 2^32, and r's sine and cosine.
  struct Angle {
    llvm::Value *n, *sine, *cosine;
  };
  Angle turn(llvm::Value* x);
  /// +-sine where n is even, +-cosine where it is odd: the sine of n * pi / 2 + r.
  llvm::Value* sine_of(const Angle& angle, llvm::Value* n);

  llvm::IRBuilder<>& builder_;
  const IsaTraits& isa_;
};

}  // namespace corf::codegen
