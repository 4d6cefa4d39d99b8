#pragma once
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "loop/program.h"
#include "runtime/image.h"
#include "support/at_fork.h"
#include "support/result.h"
#include "target/machine.h"

namespace corf::codegen {

class ModuleCompiler;

/// Code of kernels, by their keys and all else that it depends on: what has been generated once is
/// not generated again. Threads may share it.
class KnownCode {
 public:
  using Object = std::shared_ptr<const std::string>;  // an ELF object with one function

  KnownCode();
  ~KnownCode();

  /// Null if there is none.
  Object find(const std::string& key) const;
  void insert(const std::string& key, Object object);

  /// A compiler for the instruction set that is in no use; null if there is none. It is given back
  /// for the next kernels: LLVM's tables of a target take as long to fill as a small kernel takes
  /// to compile.
  std::unique_ptr<ModuleCompiler> take_compiler(Isa isa);
  void give_back(Isa isa, std::unique_ptr<ModuleCompiler> compiler);

 private:
  /// What is held then is forgotten before more is kept.
  static constexpr size_t kMostBytes = 64 << 20;
  mutable BriefMutex mutex_;
  std::unordered_map<std::string, Object> objects_;
  size_t bytes_ = 0;
  std::vector<std::pair<Isa, std::unique_ptr<ModuleCompiler>>> idle_;
};

struct EmitOptions {
  Isa isa = Isa::kSse2;
  bool verify_llvm = true;
  int threads = 1;                  // kernels are independent modules: generated side by side
  KnownCode* known = nullptr;       // asked before a kernel's code is generated
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
