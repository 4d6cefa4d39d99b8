#pragma once
#include "graph/graph.h"

namespace corf::graph {

/// About how many vector instructions compute the operation on one vector, counted in the code that
/// codegen/vector_math.cpp leaves with AVX-512; of division and root, as many as take their time.
double num_instructions(ScalarOp op);
double num_instructions(const ScalarBody& body);

}  // namespace corf::graph
