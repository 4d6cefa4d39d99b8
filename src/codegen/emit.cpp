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

#include "codegen/kernel_lowering.h"
#include "codegen/module_compiler.h"
#include "codegen/object_image.h"
#include "loop/kernel_key.h"
#include "support/budget.h"
#include "support/tasks.h"

namespace corf::codegen {
namespace {

struct KernelOutput {
  KnownCode::Object object;
  std::string llvm_ir, assembly;
};

constexpr char kSymbol[] = "kernel";

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
  llvm::Module module{"kernel", context};
};

Result<KernelOutput> compile_in(ModuleInWork& work, ModuleCompiler& compiler,
                                const loop::Kernel& kernel, const EmitOptions& options,
                                const std::string& symbol) {
  const IsaTraits isa{options.isa};
  llvm::Module& module = work.module;
  work.context.setDiagnosticHandler(std::make_unique<Diagnostics>(work.complaints));
  compiler.prepare(module);
  lower_kernel(kernel, isa, symbol, module);
  check_time_for(module);
  compiler.set_attributes(module);
  CORF_RETURN_IF_ERROR(compiler.optimize(module, options.verify_llvm));
  KernelOutput output;
  if (options.llvm_ir) {
    llvm::raw_string_ostream out(output.llvm_ir);
    module.print(out, nullptr);
  }
  if (options.assembly) {
    auto copy = llvm::CloneModule(module);
    CORF_ASSIGN(output.assembly, compiler.assembly(*copy));
  }
  CORF_ASSIGN(std::string object, compiler.object(module));
  output.object = std::make_shared<const std::string>(std::move(object));
  if (!work.complaints.empty()) {
    return make_error(ErrorCode::kInternal, "LLVM reports: {}", work.complaints);
  }
  return output;
}

Result<KernelOutput> compile_kernel(const loop::Kernel& kernel, const EmitOptions& options,
                                    const std::string& symbol) {
  CORF_ASSIGN(auto compiler, ModuleCompiler::create(IsaTraits{options.isa}));
  auto work = std::make_unique<ModuleInWork>();
  try {
    return compile_in(*work, *compiler, kernel, options, symbol);
  } catch (const std::bad_alloc&) {
    // LLVM knows no exceptions: what one has passed through is left alone for good.
    compiler.release();
    work.release();
    throw;
  }
}

/// What is known of the kernel, or its new code.
Result<KernelOutput> code_of(const loop::Kernel& kernel, const EmitOptions& options) {
  if (options.known == nullptr) return compile_kernel(kernel, options, kSymbol);
  const std::string key = std::string(to_string(options.isa)) + loop::kernel_key(kernel);
  if (KnownCode::Object object = options.known->find(key)) return KernelOutput{object, "", ""};
  CORF_ASSIGN(KernelOutput output, compile_kernel(kernel, options, kSymbol));
  options.known->insert(key, output.object);

  return output;
}

}  // namespace

KnownCode::Object KnownCode::find(const std::string& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = objects_.find(key);
  return found == objects_.end() ? nullptr : found->second;
}

void KnownCode::insert(const std::string& key, Object object) {
  const std::lock_guard lock(mutex_);
  if (bytes_ > kMostBytes) {
    objects_.clear();
    bytes_ = 0;
  }
  bytes_ += key.size() + object->size();
  objects_.emplace(key, std::move(object));
}

Result<runtime::Image> emit(const std::vector<loop::Kernel>& kernels, const EmitOptions& options) {
  const bool is_printed = options.llvm_ir || options.assembly;
  std::vector<std::optional<Result<KernelOutput>>> outputs(kernels.size());
  for_each_task(options.threads, kernels.size(), [&](size_t i, size_t) {
    // Text of several kernels has a name for each.
    outputs[i] = is_printed ? compile_kernel(kernels[i], options, "kernel_" + std::to_string(i))
                            : code_of(kernels[i], options);
  });
  runtime::Image image;
  image.isa = std::string(to_string(options.isa));
  for (size_t i = 0; i < kernels.size(); ++i) {
    CORF_ASSIGN(const KernelOutput output, std::move(*outputs[i]));
    const std::string symbol = is_printed ? "kernel_" + std::to_string(i) : kSymbol;
    CORF_RETURN_IF_ERROR(append_object(*output.object, {symbol}, image));
    if (options.llvm_ir) *options.llvm_ir += output.llvm_ir;
    if (options.assembly) *options.assembly += output.assembly;
    image.entries.back().name = kernels[i].name;
  }
  return image;
}

const char* backend_version() { return "LLVM " LLVM_VERSION_STRING; }

}  // namespace corf::codegen
