#include "codegen/emit.h"

#include <algorithm>
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

/// A thread's, made when it has its first kernel.
using OwnCompiler = std::unique_ptr<ModuleCompiler>;

Result<KernelOutput> compile_kernel(const loop::Kernel& kernel, const EmitOptions& options,
                                    const std::string& symbol, OwnCompiler& compiler) {
  if (!compiler) {
    CORF_ASSIGN(compiler, ModuleCompiler::create(IsaTraits{options.isa}));
  }
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

/// What a kernel's code is known by.
std::string key_of(const loop::Kernel& kernel, const EmitOptions& options) {
  return std::string(to_string(options.isa)) + loop::kernel_key(kernel);
}

}  // namespace

KnownCode::KnownCode() = default;
KnownCode::~KnownCode() = default;

std::unique_ptr<ModuleCompiler> KnownCode::take_compiler(Isa isa) {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::ranges::find_if(idle_, [&](const auto& entry) { return entry.first == isa; });
  if (found == idle_.end()) return nullptr;
  std::unique_ptr<ModuleCompiler> compiler = std::move(found->second);
  idle_.erase(found);
  return compiler;
}

void KnownCode::give_back(Isa isa, std::unique_ptr<ModuleCompiler> compiler) {
  const std::lock_guard lock(mutex_);
  idle_.emplace_back(isa, std::move(compiler));
}

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
  // Text of several kernels has a name for each, and none is known.
  const bool is_printed = options.llvm_ir || options.assembly;
  auto symbol_of = [&](size_t i) { return is_printed ? "kernel_" + std::to_string(i) : kSymbol; };
  KnownCode* const known = is_printed ? nullptr : options.known;
  std::vector<std::optional<Result<KernelOutput>>> outputs(kernels.size());
  std::vector<std::string> keys(kernels.size());
  std::vector<size_t> unknown;
  for (size_t i = 0; i < kernels.size(); ++i) {
    if (known != nullptr) {
      keys[i] = key_of(kernels[i], options);
      if (auto object = known->find(keys[i])) outputs[i] = KernelOutput{std::move(object), "", ""};
    }
    if (!outputs[i]) unknown.push_back(i);
  }
  std::vector<OwnCompiler> compilers(num_workers(options.threads, unknown.size()));
  for_each_task(options.threads, unknown.size(), [&](size_t task, size_t worker) {
    const size_t i = unknown[task];
    if (known != nullptr && !compilers[worker])
      compilers[worker] = known->take_compiler(options.isa);
    outputs[i] = compile_kernel(kernels[i], options, symbol_of(i), compilers[worker]);
    if (known != nullptr && outputs[i]->ok()) known->insert(keys[i], (*outputs[i])->object);
  });
  for (OwnCompiler& compiler : compilers) {
    if (known != nullptr && compiler) known->give_back(options.isa, std::move(compiler));
  }
  runtime::Image image;
  image.isa = std::string(to_string(options.isa));
  for (size_t i = 0; i < kernels.size(); ++i) {
    CORF_ASSIGN(const KernelOutput output, std::move(*outputs[i]));
    CORF_RETURN_IF_ERROR(append_object(*output.object, {symbol_of(i)}, image));
    if (options.llvm_ir) *options.llvm_ir += output.llvm_ir;
    if (options.assembly) *options.assembly += output.assembly;
    image.entries.back().name = kernels[i].name;
  }
  return image;
}

const char* backend_version() { return "LLVM " LLVM_VERSION_STRING; }

}  // namespace corf::codegen
