#include "rewrite/remove_identities.h"

#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Graph;
using graph::Node;
using graph::ValueId;

Result<Graph> remove_identities(Graph graph) {
  return without_dead_nodes(rebuild(graph, [](Rebuild& rebuild, const Node& node) {
    const auto* compute = std::get_if<graph::Compute>(&node.op);
    if (!compute || !is_elementwise(*compute)) return false;
    const std::optional<int> operand = returned_operand(compute->body);
    if (!operand) return false;
    const ValueId input = rebuild.mapped(node.inputs[*operand]);
    if (!reads_own_point(compute->operands[*operand], rebuild.graph().values[input].shape,
                         compute->space)) {
      return false;
    }
    rebuild.replace(node.outputs[0], input);
    return true;
  }));
}

}  // namespace corf::rewrite
