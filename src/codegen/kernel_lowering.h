#pragma once
#include <llvm/IR/Module.h>

#include "codegen/isa_traits.h"
#include "loop/program.h"

namespace corf::codegen {

/// Adds the kernel to the module as a runtime::KernelFunction of the name `symbol`.
void lower_kernel(const loop::Kernel& kernel, const IsaTraits& isa, const std::string& symbol,
                  llvm::Module& module);

}  // namespace corf::codegen
