#include "codegen/scalar_ops.h"

#include <limits>
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/MDBuilder.h>
#include <llvm/IR/Module.h>

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

bool is_constant_not_nan(Value* value) {
  if (auto* scalar = llvm::dyn_cast<ConstantFP>(value)) return !scalar->isNaN();
  auto* vector = llvm::dyn_cast<Constant>(value);
  auto* splat = vector && vector->getType()->isVectorTy()
                    ? llvm::dyn_cast_or_null<ConstantFP>(vector->getSplatValue())
                    : nullptr;
  return splat && !splat->isNaN();
}

/// The routine's value for one a and b; b may be null.
Value* call_on_one(llvm::IRBuilder<>& builder, Value* routine, Value* a, Value* b) {
  Type* f64 = builder.getDoubleTy();
  Value* wide_a = builder.CreateFPExt(a, f64);
  Value* wide_b = b ? builder.CreateFPExt(b, f64) : ConstantFP::get(f64, 0.0);
  auto* type = llvm::FunctionType::get(f64, {f64, f64}, false);
  llvm::CallInst* result = builder.CreateCall(type, routine, {wide_a, wide_b});
  result->setDoesNotAccessMemory();
  result->setDoesNotThrow();
  return builder.CreateFPTrunc(result, a->getType());
}

/// The module's function (routine, a, b) that calls the routine lane by lane. It stands apart from
/// kernels, where it would be many times the code of what it is the rare case of.
llvm::Function* function_on_lanes(llvm::Module& module, Type* vector, int active_lanes) {
  const bool single = vector->getScalarType()->isFloatTy();
  const std::string name = "on_" + std::to_string(active_lanes) + "_of_" +
                           std::to_string(num_lanes(vector)) + (single ? "_f32" : "_f64");
  if (llvm::Function* known = module.getFunction(name)) return known;
  llvm::LLVMContext& context = module.getContext();
  auto* type = llvm::FunctionType::get(
      vector, {llvm::PointerType::getUnqual(context), vector, vector}, false);
  auto* function = llvm::Function::Create(type, llvm::GlobalValue::InternalLinkage, name, module);
  function->addFnAttr(llvm::Attribute::NoInline);
  function->setDoesNotAccessMemory();
  llvm::IRBuilder<> builder(llvm::BasicBlock::Create(context, "entry", function));
  Value* result = Constant::getNullValue(vector);
  for (int i = 0; i < active_lanes; ++i) {
    const auto lane = static_cast<uint64_t>(i);
    Value* one = call_on_one(builder, function->getArg(0),
                             builder.CreateExtractElement(function->getArg(1), lane),
                             builder.CreateExtractElement(function->getArg(2), lane));
    result = builder.CreateInsertElement(result, one, lane);
  }
  builder.CreateRet(result);
  return function;
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
    case ScalarOp::kTruncate: {
      llvm::Type* bits = with_lanes(builder_.getInt32Ty(), num_lanes(args[0]->getType()));
      Value* upper = builder_.CreateAnd(builder_.CreateBitCast(args[0], bits), 0xffff0000);
      return builder_.CreateBitCast(upper, args[0]->getType());
    }
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
  return apply_integer(op, dtype, args, active_lanes);
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
    case ScalarOp::kSin:
    case ScalarOp::kCos:
      if (!single) break;
      return unless(math.is_large_angle(a), op == ScalarOp::kSin ? math.sin(a) : math.cos(a),
                    [&] { return call_routine(*routine_of(op), a, nullptr, active_lanes); });
    case ScalarOp::kPow:
      if (!single) break;
      return unless(math.is_special_power(a, b), math.pow(a, b),
                    [&] { return call_routine(MathRoutine::kPow, a, b, active_lanes); });
    default:
      break;
  }
  const auto routine = routine_of(op);
  CORF_ASSERT(routine, "not an operation on floats");
  return call_routine(*routine, a, b, active_lanes);
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
  // Which zero of different signs wins is left open: maxps, a comparison, a blend.
  llvm::FastMathFlags flags;
  flags.setNoSignedZeros();
  return builder_.CreateBinaryIntrinsic(
      is_max ? llvm::Intrinsic::maximum : llvm::Intrinsic::minimum, a, b, flags);
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
  Value* slot =
      builder_.CreateConstGEP1_64(builder_.getPtrTy(), routines_, static_cast<uint64_t>(routine));
  auto* callee = builder_.CreateAlignedLoad(builder_.getPtrTy(), slot, llvm::Align(8));
  callee->setMetadata(llvm::LLVMContext::MD_invariant_load,
                      llvm::MDNode::get(builder_.getContext(), {}));
  if (num_lanes(a->getType()) == 0) return call_on_one(builder_, callee, a, b);
  llvm::Function* on_lanes =
      function_on_lanes(*builder_.GetInsertBlock()->getModule(), a->getType(), active_lanes);
  if (b == nullptr) b = Constant::getNullValue(a->getType());
  return builder_.CreateCall(on_lanes, {callee, a, b});
}

Value* ScalarOps::unless(Value* rare, Value* value, const std::function<Value*()>& otherwise) {
  Value* any = rare->getType()->isVectorTy() ? builder_.CreateOrReduce(rare) : rare;
  llvm::BasicBlock* before = builder_.GetInsertBlock();
  llvm::Function* function = before->getParent();
  auto* inside = llvm::BasicBlock::Create(builder_.getContext(), "rare", function);
  auto* after = llvm::BasicBlock::Create(builder_.getContext(), "usual", function);
  llvm::MDBuilder metadata(builder_.getContext());
  builder_.CreateCondBr(any, inside, after, metadata.createUnlikelyBranchWeights());
  builder_.SetInsertPoint(inside);
  Value* chosen = builder_.CreateSelect(rare, otherwise(), value);
  inside = builder_.GetInsertBlock();
  builder_.CreateBr(after);
  builder_.SetInsertPoint(after);
  llvm::PHINode* result = builder_.CreatePHI(value->getType(), 2);
  result->addIncoming(value, before);
  result->addIncoming(chosen, inside);
  return result;
}

Value* ScalarOps::by_lane(Value* a, Value* b, int active_lanes,
                          const std::function<Value*(Value*, Value*)>& call) {
  if (num_lanes(a->getType()) == 0) return call(a, b);
  Value* result = Constant::getNullValue(a->getType());
  for (int i = 0; i < active_lanes; ++i) {
    const auto lane = static_cast<uint64_t>(i);
    Value* x = builder_.CreateExtractElement(a, lane);
    Value* y = builder_.CreateExtractElement(b, lane);
    result = builder_.CreateInsertElement(result, call(x, y), lane);
  }
  return result;
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

Value* ScalarOps::add_scaled(DType dtype, Value* acc, Value* value, double coefficient) {
  // -0.0 + x is x, even for x = -0.0.
  const auto* start = llvm::dyn_cast<Constant>(acc);
  const bool is_first = start && start->isNegativeZeroValue();
  if (coefficient == 1) return is_first ? value : round_to(builder_.CreateFAdd(acc, value), dtype);
  if (coefficient == -1) {
    return is_first ? builder_.CreateFNeg(value) : round_to(builder_.CreateFSub(acc, value), dtype);
  }
  Value* factor = constant(dtype, coefficient, 0);
  if (auto* type = llvm::dyn_cast<llvm::VectorType>(value->getType())) {
    factor = llvm::ConstantVector::getSplat(type->getElementCount(), llvm::cast<Constant>(factor));
  }
  if (is_first) return round_to(builder_.CreateFMul(value, factor), dtype);
  return multiply_add(dtype, acc, value, factor);
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

}  // namespace corf::codegen
