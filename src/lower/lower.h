#pragma once
#include "fusion/plan.h"
#include "graph/graph.h"
#include "loop/program.h"
#include "lower/known_constants.h"
#include "support/result.h"

namespace corf::lower {

/// The program that carries out a plan: one kernel call for each nest, weights packed in the order
/// in which the kernels read them.
/// Errors: kUnsupported naming the node whose data type or shape no kernel can have.
/// `threads`: that may pack weights. `known`: null, or weights that need not be packed again.
Result<loop::Program> lower(const graph::Graph& graph, const fusion::FusionPlan& plan,
                            int threads = 1, KnownConstants* known = nullptr);

}  // namespace corf::lower
