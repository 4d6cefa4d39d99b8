#include "loop/passes/passes.h"

#include "loop/passes/share_kernels.h"
#include "loop/text.h"

namespace corf::loop {
namespace {

/// Of a pass that asks nothing and cannot fail.
template <Program (*run)(Program)>
Result<Program> always(Program program, const PassContext&) {
  return run(std::move(program));
}

Result<Program> parameterize_known(Program program, const PassContext& context) {
  return parameterize(std::move(program), context.known);
}

constexpr Pass kPasses[] = {
    {"share_kernels", always<share_kernels>},
    {"parameterize", parameterize_known},
};

}  // namespace

std::span<const Pass> passes() { return kPasses; }

Result<Program> run_passes(Program program, const PassContext& context,
                           const PassOptions& options) {
  return corf::run_passes("loop", passes(), std::move(program), context, options);
}

}  // namespace corf::loop
