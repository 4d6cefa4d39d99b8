#pragma once
#include <span>

#include "loop/passes/parameterize.h"
#include "loop/program.h"
#include "support/passes.h"

namespace corf::loop {

/// What passes over loop programs may ask.
struct PassContext {
  KnownKernels* known = nullptr;  // kernels of earlier programs (loop::parameterize)
  int64_t lanes = 0;              // of a vector of f32 that may be masked; 0: none may
};
using Pass = corf::Pass<Program, PassContext>;

/// The passes in the order in which they run. Each has a header of its own, and a folder of cases
/// in tests/loop/passes: a program, `; expect`, and what the pass makes of it.
std::span<const Pass> passes();
/// The first of them, which look at one kernel at a time; those behind them merge kernels.
std::span<const Pass> kernel_passes();

/// Everything between lowering and code generation. Errors: those of corf::run_passes.
Result<Program> run_passes(Program program, const PassContext& context = {},
                           const PassOptions& options = {});

}  // namespace corf::loop
