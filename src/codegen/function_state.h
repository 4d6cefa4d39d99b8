#pragma once
#include <array>
#include <functional>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <map>
#include <optional>
#include <vector>

#include "codegen/index_lowering.h"
#include "codegen/isa_traits.h"
#include "loop/program.h"

namespace corf::codegen {

using Values = std::vector<llvm::Value*>;

/// What the registers of the matrix unit are filled from: offset over loop variables, and steps
/// between rows, lanes and pairs of channels, in elements.
struct MatrixLoad {
  int buffer = 0;
  index::Linear offset;
  int64_t row_step = 0, lane_step = 0, pair_step = 0;
  bool operator==(const MatrixLoad& other) const;
};

/// What the lowering of a kernel shares with that of its tiles: the function under construction,
/// its buffers, its loops.
class FunctionState {
 public:
  /// Creates the kernel's function (runtime::KernelFunction) and binds partition, parameters and
  /// buffers.
  FunctionState(llvm::Module& module, const loop::Kernel& kernel, const IsaTraits& isa,
                const std::string& symbol);
  /// Closes the function with a return.
  void finish();

  const loop::Kernel& kernel;
  const IsaTraits& isa;
  llvm::Module& module;
  llvm::IRBuilder<> builder;
  IndexLowering index;
  /// Rows and lanes of the product before in the same step; steps end where loops begin and end.
  std::array<std::optional<MatrixLoad>, 2> held_by_matrix_unit;

  llvm::LLVMContext& context() { return module.getContext(); }
  llvm::Value* buffer(int number) const { return buffers_[number]; }
  llvm::Value* routines() const { return routines_; }

  /// Marks a load or store as touching only this buffer; loads of buffers that the kernel does not
  /// write are invariant.
  void annotate(llvm::Instruction* access, int buffer);
  /// 64 bytes or more of `padding` in memory form.
  llvm::Constant* padding_vector(DType dtype, llvm::Constant* padding);

  /// Emits `for (var = lo; var < hi; var += step)`, `copies` iterations at once. The body gets the
  /// carried values of the iteration before and returns its own; `var` is bound for it. Returns
  /// the carried values after the loop.
  Values emit_loop(int var, const Expr& lo, const Expr& hi, int64_t step, int copies,
                   Values carried, const std::function<Values(Values)>& body);

 private:
  void bind_arguments();
  void make_alias_scopes();
  Values emit_counted(int var, llvm::Value* lo, llvm::Value* hi, bool runs_once_at_least,
                      int64_t step, int copies, Interval range, Values carried,
                      const std::function<Values(Values)>& body);

  llvm::Function* function_ = nullptr;
  llvm::Value* routines_ = nullptr;
  Values buffers_;
  std::vector<llvm::MDNode*> scope_lists_, noalias_lists_;
  std::map<std::pair<DType, llvm::Constant*>, llvm::Constant*> padding_vectors_;
};

}  // namespace corf::codegen
