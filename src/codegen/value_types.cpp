#include "codegen/value_types.h"

#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/Type.h>

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

}  // namespace corf::codegen
