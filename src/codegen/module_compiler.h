#pragma once
#include <llvm/IR/Module.h>
#include <llvm/Target/TargetMachine.h>
#include <memory>
#include <string>

#include "codegen/isa_traits.h"
#include "support/result.h"

namespace corf::codegen {

/// Optimises modules and turns them into objects; one per thread.
class ModuleCompiler {
 public:
  static Result<std::unique_ptr<ModuleCompiler>> create(const IsaTraits& isa);

  /// Gives the module its target; before functions are added.
  void prepare(llvm::Module& module) const;
  /// Target, vector width and the absence of a C library, for each of the module's functions.
  void set_attributes(llvm::Module& module) const;
  /// Errors: kInternal with LLVM's own words if the module is malformed.
  Status optimize(llvm::Module& module, bool verify);
  /// The module is consumed: code generation changes it.
  Result<std::string> object(llvm::Module& module);
  Result<std::string> assembly(llvm::Module& module);

 private:
  ModuleCompiler(const IsaTraits& isa, std::unique_ptr<llvm::TargetMachine> machine)
      : isa_(isa), machine_(std::move(machine)) {}
  Result<std::string> generate(llvm::Module& module, llvm::CodeGenFileType type);

  IsaTraits isa_;
  std::unique_ptr<llvm::TargetMachine> machine_;
};

}  // namespace corf::codegen
