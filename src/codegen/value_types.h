#pragma once
#include <llvm/IR/DerivedTypes.h>
#include <llvm/IR/IRBuilder.h>
#include <optional>

#include "tensor/dtype.h"

namespace corf::codegen {

/// How an element type lives in registers: booleans as i1, f16 and bf16 as f32 values that are
/// rounded after each operation.
llvm::Type* register_type(llvm::LLVMContext& context, DType dtype);
/// How it lives in memory: booleans as i8, f16 and bf16 as their bits.
llvm::Type* memory_type(llvm::LLVMContext& context, DType dtype);

/// `lanes` of 0 means a scalar.
inline llvm::Type* with_lanes(llvm::Type* type, int lanes) {
  return lanes == 0 ? type : llvm::FixedVectorType::get(type, lanes);
}
/// 0 for a scalar.
inline int num_lanes(llvm::Type* type) {
  auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(type);
  return vector ? static_cast<int>(vector->getNumElements()) : 0;
}

/// The vector in front of zeros, `lanes` in all.
llvm::Value* followed_by_zeros(llvm::IRBuilderBase& builder, llvm::Value* vector, int lanes);

/// How many lanes a constant mask lets pass if these come before the others; nullopt of other masks
/// and of null.
std::optional<uint64_t> first_lanes(llvm::Value* mask);

}  // namespace corf::codegen
