#include "loop/passes/passes.h"

#include "loop/passes/block_sums.h"
#include "loop/passes/dot_steps.h"
#include "loop/passes/pair_sums.h"
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
  return parameterize(std::move(program), context.known, context.lanes);
}

constexpr Pass kPasses[] = {
    {"dot_steps", always<dot_steps>},
    // Counts steps as instructions take them.
    {"block_sums", always<block_sums>},
    {"pair_sums", always<pair_sums>},
    // These two merge kernels.
    {"share_kernels", always<share_kernels>},
    {"parameterize", parameterize_known},
};

}  // namespace

std::span<const Pass> passes() { return kPasses; }

std::span<const Pass> kernel_passes() {
  constexpr size_t kMerging = 2;
  return std::span<const Pass>(kPasses).first(std::size(kPasses) - kMerging);
}

Result<Program> run_passes(Program program, const PassContext& context,
                           const PassOptions& options) {
  return corf::run_passes("loop", passes(), std::move(program), context, options);
}

}  // namespace corf::loop
