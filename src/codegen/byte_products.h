#pragma once
#include <array>
#include <llvm/IR/IRBuilder.h>

#include "codegen/isa_traits.h"
#include "codegen/scalar_ops.h"

namespace corf::codegen {

/// Four vectors of bytes as one of i32: lane i holds byte i of each, that of the first one lowest.
llvm::Value* bytes_side_by_side(llvm::IRBuilder<>& builder,
                                const std::array<llvm::Value*, 4>& rows);

/// Sums in i32 of four products of a u8 and an i8 each, exact on every instruction set, and sums in
/// f32 of two products of bfloat16 numbers.
class ByteProducts {
 public:
  ByteProducts(llvm::IRBuilder<>& builder, const IsaTraits& isa, ScalarOps& ops)
      : builder_(builder), isa_(isa), ops_(ops) {}

  /// sum + u8[0] * i8[0] + ... + u8[3] * i8[3], where `u8` and `i8` hold the bytes of each lane as
  /// an i32, the first one lowest. Values are i32, or vectors of as many.
  llvm::Value* add(llvm::Value* sum, llvm::Value* u8, llvm::Value* i8) const;

  /// sum + a[0] * b[0] + a[1] * b[1], where `a` and `b` hold the two numbers of each lane as an
  /// i32, the first one lower. Sums are f32. vdpbf16ps takes denormal numbers as zeros.
  llvm::Value* add_halves(llvm::Value* sum, llvm::Value* a, llvm::Value* b) const;

 private:
  llvm::Value* with_instruction(llvm::Intrinsic::ID id, llvm::Value* sum, llvm::Value* u8,
                                llvm::Value* i8) const;
  llvm::Value* by_pairs(llvm::Intrinsic::ID id, llvm::Value* sum, llvm::Value* u8,
                        llvm::Value* i8) const;
  llvm::Value* one_by_one(llvm::Value* sum, llvm::Value* u8, llvm::Value* i8) const;

  llvm::IRBuilder<>& builder_;
  const IsaTraits& isa_;
  ScalarOps& ops_;
};

}  // namespace corf::codegen
