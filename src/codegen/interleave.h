#pragma once
#include <llvm/IR/IRBuilder.h>
#include <vector>

namespace corf::codegen {

/// Puts independent computations side by side: each is emitted in one go, `merge` then takes an
/// instruction of each in turn. One after the other, long dependent computations (exponentials)
/// fill the processor's queue of waiting instructions while few of them can run.
class Interleave {
 public:
  explicit Interleave(llvm::IRBuilder<>& builder);

  /// What was emitted since the last call (or the constructor) is one computation.
  void end_computation();

  /// No effect where computations are short, or did not stay in one block.
  void merge();

 private:
  llvm::IRBuilder<>& builder_;
  llvm::BasicBlock* block_;
  llvm::Instruction* last_;  // in front of the computation at hand, or null
  std::vector<std::vector<llvm::Instruction*>> computations_;
  bool in_one_block_ = true;
};

}  // namespace corf::codegen
