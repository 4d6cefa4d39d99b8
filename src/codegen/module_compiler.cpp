#include "codegen/module_compiler.h"

#include <llvm/Analysis/AliasAnalysis.h>
#include <llvm/Analysis/AssumptionCache.h>
#include <llvm/Analysis/BasicAliasAnalysis.h>
#include <llvm/Analysis/BlockFrequencyInfo.h>
#include <llvm/Analysis/BranchProbabilityInfo.h>
#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/MemorySSA.h>
#include <llvm/Analysis/OptimizationRemarkEmitter.h>
#include <llvm/Analysis/PostDominators.h>
#include <llvm/Analysis/ProfileSummaryInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/Analysis/ScopedNoAliasAA.h>
#include <llvm/Analysis/TargetLibraryInfo.h>
#include <llvm/Analysis/TargetTransformInfo.h>
#include <llvm/Analysis/TypeBasedAliasAnalysis.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/IR/PassInstrumentation.h>
#include <llvm/IR/Verifier.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Support/CommandLine.h>
#include <llvm/Support/ErrorHandling.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Target/TargetOptions.h>
#include <llvm/TargetParser/Triple.h>
#include <llvm/Transforms/InstCombine/InstCombine.h>
#include <llvm/Transforms/Scalar/ADCE.h>
#include <llvm/Transforms/Scalar/EarlyCSE.h>
#include <llvm/Transforms/Scalar/LICM.h>
#include <llvm/Transforms/Scalar/LoopPassManager.h>
#include <llvm/Transforms/Scalar/SimplifyCFG.h>
#include <mutex>
#include <new>
#if LLVM_VERSION_MAJOR >= 20
#include <llvm/Analysis/LastRunTrackingAnalysis.h>
#endif

namespace corf::codegen {
namespace {

constexpr char kTriple[] = "x86_64-unknown-linux-gnu";

/// Instructions are put in order for this CPU on every machine. In a register tile the order hardly
/// matters to any of them, but with LLVM's models of some (Zen) it moves all of a tile's loads in
/// front, and accumulators are spilled for them (a product of 14 x 32 took 1.17 times as long). The
/// code depends on the instruction set alone, thus.
constexpr char kTuneCpu[] = "sapphirerapids";

void initialize_llvm() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Where LLVM has no memory it would end the process.
    llvm::install_bad_alloc_error_handler([](void*, const char*, bool) { throw std::bad_alloc(); });
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    // Loops come with one base for each operand, advanced loop by loop, and constant differences:
    // LLVM's own strength reduction would make a pointer of each difference, and spill them.
    // Constants stay in the loops that use them, as operands in memory: hoisted out of a fused
    // kernel's outermost loop they occupy registers in every stage, whose accumulators are spilled.
    auto& all = llvm::cl::getRegisteredOptions();
    for (const char* option : {"disable-lsr", "disable-machine-licm"}) {
      if (auto found = all.find(option); found != all.end()) {
        static_cast<llvm::cl::opt<bool>*>(found->second)->setValue(true);
      }
    }
  });
}

}  // namespace

Result<std::unique_ptr<ModuleCompiler>> ModuleCompiler::create(const IsaTraits& isa) {
  initialize_llvm();
  std::string error;
  const llvm::Triple triple(kTriple);
#if LLVM_VERSION_MAJOR >= 21
  const llvm::Triple& triple_argument = triple;
#else
  const std::string triple_argument = triple.str();
#endif
  const llvm::Target* target = llvm::TargetRegistry::lookupTarget(triple_argument, error);
  if (!target) return make_error(ErrorCode::kInternal, "LLVM has no x86-64 target: {}", error);
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  options.MCOptions.AsmVerbose = true;  // count_spills reads the comments
  std::unique_ptr<llvm::TargetMachine> machine(target->createTargetMachine(
      triple_argument, isa.cpu(), isa.features(), options, llvm::Reloc::PIC_,
      llvm::CodeModel::Small, llvm::CodeGenOptLevel::Default));
  if (!machine) return make_error(ErrorCode::kInternal, "LLVM cannot target {}", isa.cpu());
  return std::unique_ptr<ModuleCompiler>(new ModuleCompiler(isa, std::move(machine)));
}

void ModuleCompiler::prepare(llvm::Module& module) const {
#if LLVM_VERSION_MAJOR >= 21
  module.setTargetTriple(machine_->getTargetTriple());
#else
  module.setTargetTriple(machine_->getTargetTriple().str());
#endif
  module.setDataLayout(machine_->createDataLayout());
  module.setPICLevel(llvm::PICLevel::SmallPIC);
}

void ModuleCompiler::set_attributes(llvm::Module& module) const {
  const std::string width = std::to_string(isa_.f32_lanes() * 32);
  for (llvm::Function& function : module) {
    if (function.isDeclaration()) continue;
    function.addFnAttr("target-cpu", isa_.cpu());
    if (!isa_.features().empty()) function.addFnAttr("target-features", isa_.features());
    function.addFnAttr("tune-cpu", kTuneCpu);
    function.addFnAttr("prefer-vector-width", width);
    function.addFnAttr("min-legal-vector-width", width);
    function.addFnAttr("no-builtins");
    function.addFnAttr("frame-pointer", "none");
    function.addFnAttr(llvm::Attribute::NoUnwind);
    function.setUWTableKind(llvm::UWTableKind::None);
    function.setDSOLocal(true);
  }
}

namespace {

/// What the passes below ask for. LLVM's PassBuilder would register all analyses that there are,
/// for each module, and link the passes that they belong to.
struct Analyses {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::ModuleAnalysisManager modules;

  explicit Analyses(llvm::TargetMachine& machine) {
    modules.registerPass([] { return llvm::PassInstrumentationAnalysis(); });
    modules.registerPass([] { return llvm::ProfileSummaryAnalysis(); });
    modules.registerPass([&] { return llvm::FunctionAnalysisManagerModuleProxy(functions); });
    functions.registerPass([] { return llvm::PassInstrumentationAnalysis(); });
    functions.registerPass([&] { return llvm::ModuleAnalysisManagerFunctionProxy(modules); });
    functions.registerPass([&] { return llvm::LoopAnalysisManagerFunctionProxy(loops); });
    functions.registerPass([&] { return machine.getTargetIRAnalysis(); });
    functions.registerPass([] { return alias_analyses(); });
    register_functions<llvm::AssumptionAnalysis, llvm::BasicAA, llvm::BlockFrequencyAnalysis,
                       llvm::BranchProbabilityAnalysis, llvm::DominatorTreeAnalysis,
                       llvm::LoopAnalysis, llvm::MemorySSAAnalysis,
                       llvm::OptimizationRemarkEmitterAnalysis, llvm::PostDominatorTreeAnalysis,
                       llvm::ScalarEvolutionAnalysis, llvm::ScopedNoAliasAA,
                       llvm::TargetLibraryAnalysis, llvm::TypeBasedAA>();
#if LLVM_VERSION_MAJOR >= 20
    register_functions<llvm::LastRunTrackingAnalysis>();
#endif
    loops.registerPass([] { return llvm::PassInstrumentationAnalysis(); });
    loops.registerPass([&] { return llvm::FunctionAnalysisManagerLoopProxy(functions); });
  }

 private:
  template <typename... Analysis>
  void register_functions() {
    (functions.registerPass([] { return Analysis(); }), ...);
  }
  static llvm::AAManager alias_analyses() {
    llvm::AAManager all;
    all.registerFunctionAnalysis<llvm::BasicAA>();
    all.registerFunctionAnalysis<llvm::ScopedNoAliasAA>();
    all.registerFunctionAnalysis<llvm::TypeBasedAA>();
    return all;
  }
};

}  // namespace

Status ModuleCompiler::optimize(llvm::Module& module, bool verify) {
  if (verify) {
    std::string words;
    llvm::raw_string_ostream out(words);
    if (llvm::verifyModule(module, &out)) {
      return make_error(ErrorCode::kInternal, "generated code is malformed: {}", words);
    }
  }
  Analyses analyses(*machine_);
  // No vectoriser, unroller or idiom recognition: the code is in its final shape but for what is
  // redundant, invariant or dead.
  llvm::FunctionPassManager passes;
  passes.addPass(llvm::SimplifyCFGPass());
  passes.addPass(llvm::EarlyCSEPass(/*UseMemorySSA=*/true));
  passes.addPass(llvm::InstCombinePass());
  passes.addPass(llvm::createFunctionToLoopPassAdaptor(llvm::LICMPass(llvm::LICMOptions()),
                                                       /*UseMemorySSA=*/true));
  passes.addPass(llvm::EarlyCSEPass(/*UseMemorySSA=*/true));
  passes.addPass(llvm::ADCEPass());
  for (llvm::Function& function : module) {
    if (!function.isDeclaration()) passes.run(function, analyses.functions);
  }
  return {};
}

Result<std::string> ModuleCompiler::generate(llvm::Module& module, llvm::CodeGenFileType type) {
  llvm::SmallVector<char, 0> buffer;
  llvm::raw_svector_ostream out(buffer);
  llvm::legacy::PassManager passes;
  if (machine_->addPassesToEmitFile(passes, out, nullptr, type, /*DisableVerify=*/true)) {
    return make_error(ErrorCode::kInternal, "LLVM cannot write this kind of file");
  }
  passes.run(module);
  return std::string(buffer.begin(), buffer.end());
}

Result<std::string> ModuleCompiler::object(llvm::Module& module) {
  return generate(module, llvm::CodeGenFileType::ObjectFile);
}

Result<std::string> ModuleCompiler::assembly(llvm::Module& module) {
  return generate(module, llvm::CodeGenFileType::AssemblyFile);
}

}  // namespace corf::codegen
