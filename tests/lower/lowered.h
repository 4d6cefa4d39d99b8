#pragma once
#include "loop/passes/passes.h"
#include "loop/text.h"
#include "lower/lower.h"

namespace corf::test {

/// The plan's program, each kernel as it is compiled but for what merges kernels.
inline Result<loop::Program> lowered(const graph::Graph& graph, const fusion::FusionPlan& plan) {
  CORF_ASSIGN(loop::Program program, lower::lower(graph, plan));
  return corf::run_passes("loop", loop::kernel_passes(), std::move(program), loop::PassContext{},
                          {.verify_each = true});
}

}  // namespace corf::test
