#pragma once
#include <functional>
#include <llvm/IR/IRBuilder.h>
#include <span>

#include "codegen/isa_traits.h"
#include "graph/scalar.h"
#include "loop/program.h"
#include "runtime/kernel_abi.h"

namespace corf::codegen {

/// Scalar operations on LLVM values, scalars or vectors alike. f16 and bf16 values are f32 values
/// that each operation rounds.
class ScalarOps {
 public:
  /// `routines` points to the runtime::KernelContext.
  ScalarOps(llvm::IRBuilder<>& builder, const IsaTraits& isa, llvm::Value* routines)
      : builder_(builder), isa_(isa), routines_(routines) {}

  /// `arg_dtype` is the type of the first argument. Only the first `active_lanes` lanes matter.
  llvm::Value* apply(graph::ScalarOp op, DType dtype, DType arg_dtype,
                     std::span<llvm::Value* const> args, int active_lanes);
  llvm::Value* cast(llvm::Value* value, DType from, DType to);
  llvm::Value* combine(loop::Reduction reduction, DType dtype, llvm::Value* a, llvm::Value* b);
  /// acc + a * b, with one rounding where the ISA has FMA.
  llvm::Value* multiply_add(DType dtype, llvm::Value* acc, llvm::Value* a, llvm::Value* b);
  /// acc + coefficient * value, as multiply_add gives it, with what the coefficient saves.
  llvm::Value* add_scaled(DType dtype, llvm::Value* acc, llvm::Value* value, double coefficient);
  /// The value that a reduction ignores.
  llvm::Constant* neutral(loop::Reduction reduction, DType dtype);

  llvm::Constant* constant(DType dtype, double f64, int64_t i64);
  llvm::Value* to_memory(llvm::Value* value, DType dtype);
  llvm::Value* from_memory(llvm::Value* value, DType dtype);

 private:
  llvm::Value* apply_float(graph::ScalarOp op, DType dtype, std::span<llvm::Value* const> args,
                           int active_lanes);
  llvm::Value* apply_integer(graph::ScalarOp op, DType dtype, std::span<llvm::Value* const> args,
                             int active_lanes);
  llvm::Value* compare(graph::ScalarOp op, DType arg_dtype, llvm::Value* a, llvm::Value* b);
  llvm::Value* divide_integer(graph::ScalarOp op, DType dtype, llvm::Value* a, llvm::Value* b);
  llvm::Value* power_integer(DType dtype, llvm::Value* a, llvm::Value* b, int active_lanes);
  llvm::Value* min_or_max(bool is_max, DType dtype, llvm::Value* a, llvm::Value* b);
  llvm::Value* round(graph::ScalarOp op, llvm::Value* x);
  llvm::Value* sign(llvm::Value* x);
  llvm::Value* float_mod(DType dtype, llvm::Value* a, llvm::Value* b, int active_lanes);
  /// Calls the runtime's routine for each active lane.
  llvm::Value* call_routine(runtime::MathRoutine routine, llvm::Value* a, llvm::Value* b,
                            int active_lanes);
  /// `value`, but where `rare` holds what code that is only then run gives.
  llvm::Value* unless(llvm::Value* rare, llvm::Value* value,
                      const std::function<llvm::Value*()>& otherwise);
  /// call(a, b) for each active lane.
  llvm::Value* by_lane(llvm::Value* a, llvm::Value* b, int active_lanes,
                       const std::function<llvm::Value*(llvm::Value*, llvm::Value*)>& call);
  enum class Rounding : uint8_t { kToZero, kToEven };
  llvm::Value* to_i32(llvm::Value* value, Rounding rounding);
  llvm::Value* saturated_integers(llvm::Value* value, DType to, llvm::Type* type);
  llvm::Value* quantized_bytes(llvm::Value* clipped, DType to, llvm::Type* type);
  llvm::Value* round_to(llvm::Value* value, DType dtype);
  llvm::Value* narrow(llvm::Value* f32, DType dtype);
  llvm::Value* widen(llvm::Value* bits, DType dtype);

  llvm::IRBuilder<>& builder_;
  const IsaTraits& isa_;
  llvm::Value* routines_;
};

}  // namespace corf::codegen
