#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/Module.h>

#include "codegen/scalar_ops.h"
#include "codegen/value_types.h"
#include "support/assert.h"

namespace corf::codegen {

using graph::ScalarOp;
using llvm::Constant;
using llvm::ConstantInt;
using llvm::Type;
using llvm::Value;

namespace {

Value* splat_integer(Value* like, int64_t value) {
  return ConstantInt::get(like->getType(), static_cast<uint64_t>(value), true);
}

/// i64 power(i64 base, i64 exponent, i1 exponent is signed): squares and multiplies, wrapping. A
/// negative exponent gives 0 but for bases 1 and -1.
llvm::Function* power_function(llvm::Module& module) {
  constexpr char kName[] = "integer_power";
  if (llvm::Function* known = module.getFunction(kName)) return known;
  llvm::LLVMContext& context = module.getContext();
  llvm::IRBuilder<> builder(context);
  Type* i64 = builder.getInt64Ty();
  auto* type = llvm::FunctionType::get(i64, {i64, i64, builder.getInt1Ty()}, false);
  auto* function = llvm::Function::Create(type, llvm::GlobalValue::InternalLinkage, kName, module);
  function->addFnAttr(llvm::Attribute::NoInline);
  function->setDoesNotAccessMemory();
  Value* base = function->getArg(0);
  Value* exponent = function->getArg(1);
  auto block = [&](const char* name) { return llvm::BasicBlock::Create(context, name, function); };
  llvm::BasicBlock *entry = block("entry"), *negative = block("negative"), *loop = block("loop"),
                   *exit = block("exit");
  Value *zero = builder.getInt64(0), *one = builder.getInt64(1),
        *minus_one = builder.getInt64(~uint64_t{0});
  builder.SetInsertPoint(entry);
  Value* is_negative =
      builder.CreateAnd(builder.CreateICmpSLT(exponent, zero), function->getArg(2));
  builder.CreateCondBr(is_negative, negative, loop);

  builder.SetInsertPoint(negative);
  Value* is_odd = builder.CreateTrunc(exponent, builder.getInt1Ty());
  Value* of_minus_one = builder.CreateSelect(is_odd, minus_one, one);
  Value* otherwise =
      builder.CreateSelect(builder.CreateICmpEQ(base, minus_one), of_minus_one, zero);
  builder.CreateRet(builder.CreateSelect(builder.CreateICmpEQ(base, one), one, otherwise));

  builder.SetInsertPoint(loop);
  llvm::PHINode* result = builder.CreatePHI(i64, 2);
  llvm::PHINode* square = builder.CreatePHI(i64, 2);
  llvm::PHINode* bits = builder.CreatePHI(i64, 2);
  result->addIncoming(one, entry);
  square->addIncoming(base, entry);
  bits->addIncoming(exponent, entry);
  Value* is_set = builder.CreateTrunc(bits, builder.getInt1Ty());
  Value* next = builder.CreateSelect(is_set, builder.CreateMul(result, square), result);
  Value* rest = builder.CreateLShr(bits, 1);
  result->addIncoming(next, loop);
  square->addIncoming(builder.CreateMul(square, square), loop);
  bits->addIncoming(rest, loop);
  builder.CreateCondBr(builder.CreateICmpNE(rest, zero), loop, exit);
  builder.SetInsertPoint(exit);
  builder.CreateRet(next);
  return function;
}

}  // namespace

Value* ScalarOps::apply_integer(ScalarOp op, DType dtype, std::span<Value* const> args,
                                int active_lanes) {
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
      return power_integer(dtype, a, b, active_lanes);
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

Value* ScalarOps::power_integer(DType dtype, Value* a, Value* b, int active_lanes) {
  if (dtype == DType::kBool) return builder_.CreateOr(a, builder_.CreateNot(b));
  llvm::Module* module = builder_.GetInsertBlock()->getModule();
  llvm::Function* function = power_function(*module);
  Type* i64 = builder_.getInt64Ty();
  Type* scalar_type = a->getType()->getScalarType();
  const bool is_signed = is_signed_integer(dtype);
  auto call = [&](Value* base, Value* exponent) -> Value* {
    Value* args[] = {builder_.CreateIntCast(base, i64, is_signed),
                     builder_.CreateIntCast(exponent, i64, is_signed), builder_.getInt1(is_signed)};
    return builder_.CreateTrunc(builder_.CreateCall(function, args), scalar_type);
  };
  return by_lane(a, b, active_lanes, call);
}

}  // namespace corf::codegen
