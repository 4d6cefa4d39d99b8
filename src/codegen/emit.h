#pragma once
#include <string>
#include <vector>

#include "loop/program.h"
#include "runtime/image.h"
#include "support/result.h"
#include "target/machine.h"

namespace corf::codegen {

struct EmitOptions {
  Isa isa = Isa::kSse2;
  bool verify_llvm = true;
  int threads = 1;                  // kernels are independent modules: generated side by side
  std::string* llvm_ir = nullptr;   // receives the optimised LLVM IR
  std::string* assembly = nullptr;  // receives the assembly
};

/// One image holding every kernel, entries in their order. The code assumes that the buffers bound
/// to a kernel do not overlap where one of them is written.
/// Errors: kInternal with LLVM's own words.
Result<runtime::Image> emit(const std::vector<loop::Kernel>& kernels, const EmitOptions& options);

/// "LLVM 22.1.0".
const char* backend_version();

}  // namespace corf::codegen
