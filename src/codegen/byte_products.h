#pragma once
#include <llvm/IR/IRBuilder.h>

#include "codegen/isa_traits.h"

namespace corf::codegen {

/// Sums in i32 of four products of a u8 and an i8 each, exact on every instruction set.
class ByteProducts {
 public:
  ByteProducts(llvm::IRBuilder<>& builder, const IsaTraits& isa) : builder_(builder), isa_(isa) {}

  /// sum + u8[0] * i8[0] + ... + u8[3] * i8[3], where `u8` and `i8` hold the bytes of each lane as
  /// an i32, the first one lowest. Values are i32, or vectors of as many.
  llvm::Value* add(llvm::Value* sum, llvm::Value* u8, llvm::Value* i8) const;

 private:
  llvm::Value* with_instruction(llvm::Intrinsic::ID id, llvm::Value* sum, llvm::Value* u8,
                                llvm::Value* i8) const;
  llvm::Value* by_pairs(llvm::Intrinsic::ID id, llvm::Value* sum, llvm::Value* u8,
                        llvm::Value* i8) const;
  llvm::Value* one_by_one(llvm::Value* sum, llvm::Value* u8, llvm::Value* i8) const;

  llvm::IRBuilder<>& builder_;
  const IsaTraits& isa_;
};

}  // namespace corf::codegen
