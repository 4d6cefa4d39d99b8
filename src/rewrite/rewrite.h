#pragma once
#include <span>

#include "graph/graph.h"
#include "rewrite/softmax_in_blocks.h"
#include "support/passes.h"

namespace corf::rewrite {

struct RewriteOptions {
  bool bf16_products = false;      // factors of dense products are rounded to bfloat16
  bool has_byte_tables = false;    // the machine looks into tables of bytes quickly
  bool has_byte_products = false;  // and has instructions for sums of four products of bytes
  SoftmaxBlockOptions softmax_blocks;
};
using Pass = corf::Pass<graph::Graph, RewriteOptions>;

/// The passes in the order in which they run. Each has a header of its own and a golden test.
std::span<const Pass> passes();

/// Errors: those of run_passes.
Result<graph::Graph> rewrite(graph::Graph graph, const RewriteOptions& options = {},
                             const PassOptions& watch = {});

}  // namespace corf::rewrite
