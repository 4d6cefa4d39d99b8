#include "codegen/interleave.h"

#include <algorithm>
#include <llvm/ADT/DenseSet.h>

namespace corf::codegen {
namespace {

/// Shorter computations overlap by themselves.
constexpr size_t kLeastInstructions = 12;

llvm::Instruction* last_of(llvm::BasicBlock* block) {
  return block->empty() ? nullptr : &block->back();
}

}  // namespace

Interleave::Interleave(llvm::IRBuilder<>& builder)
    : builder_(builder), block_(builder.GetInsertBlock()), last_(last_of(block_)) {}

void Interleave::end_computation() {
  if (builder_.GetInsertBlock() != block_) in_one_block_ = false;
  if (!in_one_block_) return;
  std::vector<llvm::Instruction*> emitted;
  auto next = last_ ? std::next(last_->getIterator()) : block_->begin();
  for (; next != block_->end(); ++next) emitted.push_back(&*next);
  last_ = last_of(block_);
  computations_.push_back(std::move(emitted));
}

void Interleave::merge() {
  if (!in_one_block_ || computations_.size() < 2) return;
  llvm::DenseSet<llvm::Instruction*> waiting;
  for (const auto& computation : computations_) {
    if (computation.size() < kLeastInstructions) return;
    if (std::any_of(computation.begin(), computation.end(),
                    [](const llvm::Instruction* i) { return i->mayHaveSideEffects(); })) {
      return;
    }
    waiting.insert(computation.begin(), computation.end());
  }
  std::vector<size_t> taken(computations_.size(), 0);
  while (!waiting.empty()) {
    for (size_t i = 0; i < computations_.size(); ++i) {
      if (taken[i] == computations_[i].size()) continue;
      llvm::Instruction* instruction = computations_[i][taken[i]];
      // What several computations need stands in the first of them.
      const bool ready = std::none_of(
          instruction->op_begin(), instruction->op_end(), [&](const llvm::Use& operand) {
            auto* source = llvm::dyn_cast<llvm::Instruction>(operand.get());
            return source && waiting.contains(source);
          });
      if (!ready) continue;
      instruction->moveBefore(*block_, block_->end());
      waiting.erase(instruction);
      ++taken[i];
    }
  }
}

}  // namespace corf::codegen
