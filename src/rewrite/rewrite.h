#pragma once
#include <string>
#include <vector>

#include "graph/graph.h"
#include "support/result.h"

namespace corf::rewrite {

/// A named pass from graph to graph. Each pass has a header of its own and a golden test.
struct Pass {
  std::string name;
  Result<graph::Graph> (*run)(const graph::Graph&);
};

/// The passes in the order in which they run.
const std::vector<Pass>& passes();

struct RewriteOptions {
  bool verify_each = false;
  bool time_passes = false;
  std::string dump_dir;  // one numbered file for each pass that changed something
};
Result<graph::Graph> rewrite(graph::Graph graph, const RewriteOptions& options = {});

}  // namespace corf::rewrite
