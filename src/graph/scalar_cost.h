#pragma once
#include "graph/graph.h"

namespace corf::graph {

/// About how many vector instructions compute the operation on one vector
/// (codegen/vector_math.cpp).
double num_instructions(ScalarOp op);
double num_instructions(const ScalarBody& body);

}  // namespace corf::graph
