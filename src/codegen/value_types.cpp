#include "codegen/value_types.h"

#include <llvm/IR/Constants.h>
#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/Type.h>
#include <numeric>
#include <vector>

namespace corf::codegen {

using llvm::Type;

Type* register_type(llvm::LLVMContext& context, DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return Type::getInt1Ty(context);
    case DType::kF16:
    case DType::kBF16:
    case DType::kF32:
      return Type::getFloatTy(context);
    case DType::kF64:
      return Type::getDoubleTy(context);
    default:
      return Type::getIntNTy(context, static_cast<unsigned>(size_bytes(dtype) * 8));
  }
}

Type* memory_type(llvm::LLVMContext& context, DType dtype) {
  if (dtype == DType::kF32) return Type::getFloatTy(context);
  if (dtype == DType::kF64) return Type::getDoubleTy(context);
  return Type::getIntNTy(context, static_cast<unsigned>(size_bytes(dtype) * 8));
}

llvm::Value* followed_by_zeros(llvm::IRBuilderBase& builder, llvm::Value* vector, int lanes) {
  const int given = num_lanes(vector->getType());
  std::vector<int> taken(static_cast<size_t>(lanes), given);  // the first zero
  std::iota(taken.begin(), taken.begin() + given, 0);
  return builder.CreateShuffleVector(vector, llvm::Constant::getNullValue(vector->getType()),
                                     taken);
}

std::optional<uint64_t> first_lanes(llvm::Value* mask) {
  auto* constant = llvm::dyn_cast_or_null<llvm::Constant>(mask);
  if (!constant) return {};
  uint64_t first = 0;
  bool ended = false;
  for (unsigned i = 0; i < static_cast<unsigned>(num_lanes(mask->getType())); ++i) {
    const llvm::Constant* bit = constant->getAggregateElement(i);
    if (!bit || !(bit->isOneValue() || bit->isNullValue())) return {};
    if (bit->isNullValue()) {
      ended = true;
    } else if (ended) {
      return {};
    } else {
      ++first;
    }
  }
  return first;
}

}  // namespace corf::codegen
