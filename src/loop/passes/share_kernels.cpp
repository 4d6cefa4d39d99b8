#include "loop/passes/share_kernels.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "loop/kernel_key.h"

namespace corf::loop {

Program share_kernels(Program program) {
  std::vector<bool> called(program.kernels.size(), false);
  for (const Step& step : program.steps) {
    if (const auto* call = std::get_if<KernelCall>(&step)) called[call->kernel] = true;
  }
  std::vector<Kernel> kept;
  std::vector<int> new_numbers(program.kernels.size(), -1);
  std::unordered_map<std::string, int> by_key;
  for (size_t i = 0; i < program.kernels.size(); ++i) {
    if (!called[i]) continue;
    Kernel& kernel = program.kernels[i];
    const auto [it, is_new] = by_key.emplace(kernel_key(kernel), static_cast<int>(kept.size()));
    new_numbers[i] = it->second;
    if (is_new) {
      kept.push_back(std::move(kernel));
      continue;
    }
    std::vector<KernelBuffer>& buffers = kept[it->second].buffers;
    for (size_t b = 0; b < buffers.size(); ++b) {
      buffers[b].size_elems = std::min(buffers[b].size_elems, kernel.buffers[b].size_elems);
    }
  }
  for (Step& step : program.steps) {
    if (auto* call = std::get_if<KernelCall>(&step)) call->kernel = new_numbers[call->kernel];
  }
  program.kernels = std::move(kept);
  return program;
}

}  // namespace corf::loop
