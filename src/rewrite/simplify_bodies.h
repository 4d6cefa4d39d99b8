#pragma once
#include <vector>

#include "graph/graph.h"

namespace corf::rewrite {

/// Simplifies the scalar body of every compute node (see simplify_body) and the index maps of its
/// operands, dropping guards that nothing needs. In element-wise nodes,
/// constants that hold one value everywhere move into the body first, and the others lose their
/// extents of 1, so that a per-channel constant is a vector. Operands that are read twice alike
/// become one, unused ones vanish.
/// Test: tests/rewrite/simplify_bodies_test.cpp
Result<graph::Graph> simplify_bodies(graph::Graph graph);

/// Merges equal operands, drops unused ones and numbers them in the order of their first use. Only
/// for nodes whose maps read axes alone.
void tidy_operands(graph::Compute& compute, std::vector<graph::ValueId>& inputs);

}  // namespace corf::rewrite
