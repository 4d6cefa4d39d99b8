#pragma once
#include <optional>

#include "graph/graph.h"

/// What several passes ask about a softmax, which is imported as its parts.
namespace corf::rewrite {

/// Whether the body is `op` of operands 0 and 1, in this order where it matters.
bool applies_to_both(const graph::ScalarBody& body, graph::ScalarOp op);

/// powers = exp(x - max), where max is the largest x along some axes.
struct SoftmaxPowers {
  graph::ValueId x = -1, max = -1;
};

/// Whether `powers` are exp(x - max(x)) and `sum` their sum along the same axes: powers are at most
/// 1 then, and their sum at least 1. The difference may be a node of its own, which no one else
/// needs to read.
std::optional<SoftmaxPowers> match_softmax(const graph::Graph& graph, graph::ValueId powers,
                                           graph::ValueId sum);

}  // namespace corf::rewrite
