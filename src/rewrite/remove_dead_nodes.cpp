#include "rewrite/remove_dead_nodes.h"

namespace corf::rewrite {

Result<graph::Graph> remove_dead_nodes(const graph::Graph& graph) {
  return without_dead_nodes(graph);
}

}  // namespace corf::rewrite
