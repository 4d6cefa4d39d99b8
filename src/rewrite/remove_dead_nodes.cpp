#include "rewrite/remove_dead_nodes.h"

namespace corf::rewrite {

Result<graph::Graph> remove_dead_nodes(graph::Graph graph) {
  return without_dead_nodes(std::move(graph));
}

}  // namespace corf::rewrite
