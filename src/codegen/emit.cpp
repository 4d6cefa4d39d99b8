#include "codegen/emit.h"

#include <llvm/Config/llvm-config.h>
#include <llvm/IR/DiagnosticHandler.h>
#include <llvm/IR/DiagnosticInfo.h>
#include <llvm/IR/DiagnosticPrinter.h>
#include <llvm/IR/LLVMContext.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Transforms/Utils/Cloning.h>
#include <new>
#include <optional>
#include <span>

#include "codegen/kernel_lowering.h"
#include "codegen/module_compiler.h"
#include "codegen/object_image.h"
#include "support/budget.h"
#include "support/tasks.h"

namespace corf::codegen {
namespace {

/// Modules have a fixed number of kernels, so that the image does not depend on the threads.
constexpr size_t kKernelsPerModule = 4;

struct ModuleOutput {
  std::string object, llvm_ir, assembly;
};

/// Keeps LLVM's errors instead of ending the program.
class Diagnostics : public llvm::DiagnosticHandler {
 public:
  explicit Diagnostics(std::string& words) : words_(words) {}
  bool handleDiagnostics(const llvm::DiagnosticInfo& info) override {
    if (info.getSeverity() == llvm::DS_Error) {
      llvm::raw_string_ostream out(words_);
      llvm::DiagnosticPrinterRawOStream printer(out);
      info.print(printer);
    }
    return true;
  }

 private:
  std::string& words_;
};

std::string function_name(size_t kernel) { return "kernel_" + std::to_string(kernel); }

/// LLVM cannot be interrupted: a module for which the time will not do is not begun. Throws
/// OverBudget.
void check_time_for(const llvm::Module& module) {
  Budget* const budget = Budget::current();
  if (budget == nullptr) return;
  // At least that much for an instruction, on any machine of the last years.
  constexpr double kSeconds = 5e-6;
  budget->look();
  budget->check_time_for(kSeconds * static_cast<double>(module.getInstructionCount()));
}

/// What LLVM keeps of one module.
struct ModuleInWork {
  llvm::LLVMContext context;
  std::string complaints;
  llvm::Module module{"kernels", context};
};

Result<ModuleOutput> compile_in(ModuleInWork& work, ModuleCompiler& compiler,
                                std::span<const loop::Kernel> kernels, size_t first_number,
                                const EmitOptions& options) {
  const IsaTraits isa{options.isa};
  llvm::Module& module = work.module;
  work.context.setDiagnosticHandler(std::make_unique<Diagnostics>(work.complaints));
  compiler.prepare(module);
  for (size_t i = 0; i < kernels.size(); ++i) {
    lower_kernel(kernels[i], isa, function_name(first_number + i), module);
  }
  check_time_for(module);
  compiler.set_attributes(module);
  CORF_RETURN_IF_ERROR(compiler.optimize(module, options.verify_llvm));
  ModuleOutput output;
  if (options.llvm_ir) {
    llvm::raw_string_ostream out(output.llvm_ir);
    module.print(out, nullptr);
  }
  if (options.assembly) {
    auto copy = llvm::CloneModule(module);
    CORF_ASSIGN(output.assembly, compiler.assembly(*copy));
  }
  CORF_ASSIGN(output.object, compiler.object(module));
  if (!work.complaints.empty()) {
    return make_error(ErrorCode::kInternal, "LLVM reports: {}", work.complaints);
  }
  return output;
}

Result<ModuleOutput> compile_module(std::span<const loop::Kernel> kernels, size_t first_number,
                                    const EmitOptions& options) {
  CORF_ASSIGN(auto compiler, ModuleCompiler::create(IsaTraits{options.isa}));
  auto work = std::make_unique<ModuleInWork>();
  try {
    return compile_in(*work, *compiler, kernels, first_number, options);
  } catch (const std::bad_alloc&) {
    // LLVM knows no exceptions: what one has passed through is left alone for good.
    compiler.release();
    work.release();
    throw;
  }
}

}  // namespace

Result<runtime::Image> emit(const std::vector<loop::Kernel>& kernels, const EmitOptions& options) {
  const size_t num_modules = (kernels.size() + kKernelsPerModule - 1) / kKernelsPerModule;
  auto part = [&](size_t module) {
    return std::span(kernels).subspan(
        module * kKernelsPerModule,
        std::min(kKernelsPerModule, kernels.size() - module * kKernelsPerModule));
  };
  std::vector<std::optional<Result<ModuleOutput>>> outputs(num_modules);
  for_each_task(options.threads, num_modules, [&](size_t module, size_t) {
    outputs[module] = compile_module(part(module), module * kKernelsPerModule, options);
  });
  runtime::Image image;
  image.isa = std::string(to_string(options.isa));
  for (size_t m = 0; m < num_modules; ++m) {
    CORF_ASSIGN(const ModuleOutput output, std::move(*outputs[m]));
    std::vector<std::string> names;
    for (size_t i = 0; i < part(m).size(); ++i) {
      names.push_back(function_name(m * kKernelsPerModule + i));
    }
    CORF_RETURN_IF_ERROR(append_object(output.object, names, image));
    if (options.llvm_ir) *options.llvm_ir += output.llvm_ir;
    if (options.assembly) *options.assembly += output.assembly;
  }
  // Kernels' own names may repeat or hold any character: symbols are numbers.
  for (size_t i = 0; i < kernels.size(); ++i) image.entries[i].name = kernels[i].name;
  return image;
}

const char* backend_version() { return "LLVM " LLVM_VERSION_STRING; }

}  // namespace corf::codegen
