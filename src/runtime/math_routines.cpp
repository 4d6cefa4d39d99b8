#include "runtime/math_routines.h"

#include <cmath>

namespace corf::runtime {
namespace {

using Routine = double (*)(double, double);

template <double (*kFunction)(double)>
double unary(double x, double) {
  return kFunction(x);
}

KernelContext make_context() {
  KernelContext context;
  const auto set = [&](MathRoutine routine, Routine function) {
    context.math[static_cast<int>(routine)] = function;
  };
  set(MathRoutine::kPow, [](double x, double y) { return std::pow(x, y); });
  set(MathRoutine::kFmod, [](double x, double y) { return std::fmod(x, y); });
  set(MathRoutine::kSin, unary<::sin>);
  set(MathRoutine::kCos, unary<::cos>);
  set(MathRoutine::kTan, unary<::tan>);
  set(MathRoutine::kAsin, unary<::asin>);
  set(MathRoutine::kAcos, unary<::acos>);
  set(MathRoutine::kAtan, unary<::atan>);
  set(MathRoutine::kSinh, unary<::sinh>);
  set(MathRoutine::kCosh, unary<::cosh>);
  set(MathRoutine::kAsinh, unary<::asinh>);
  set(MathRoutine::kAcosh, unary<::acosh>);
  set(MathRoutine::kAtanh, unary<::atanh>);
  set(MathRoutine::kLog, unary<::log>);
  set(MathRoutine::kExp, unary<::exp>);
  set(MathRoutine::kErf, unary<::erf>);
  set(MathRoutine::kTanh, unary<::tanh>);
  return context;
}

}  // namespace

const KernelContext& kernel_context() {
  static const KernelContext context = make_context();
  return context;
}

}  // namespace corf::runtime
