#pragma once
#include <functional>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "support/result.h"

namespace corf::rewrite {

/// A named pass from graph to graph. Each pass has a header of its own and a golden test.
struct Pass {
  std::string name;
  std::function<Result<graph::Graph>(graph::Graph)> run;
};

struct RewriteOptions {
  bool bf16_products = false;    // factors of dense products are rounded to bfloat16
  bool has_byte_tables = false;  // the machine looks into tables of bytes quickly
  bool verify_each = false;
  bool time_passes = false;
  std::string dump_dir;  // one numbered file for each pass that changed something
};
/// The passes in the order in which they run.
std::vector<Pass> passes(const RewriteOptions& options);

Result<graph::Graph> rewrite(graph::Graph graph, const RewriteOptions& options = {});

}  // namespace corf::rewrite
