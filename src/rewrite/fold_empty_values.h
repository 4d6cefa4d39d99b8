#pragma once
#include "graph/graph.h"
#include "support/result.h"

namespace corf::rewrite {

/// Whatever comes of tensors without elements is known before a run: results without elements
/// become constants, a reduction over nothing the constant that its combiner begins with (0, 1,
/// -inf, inf), what reads beyond an empty operand that operand's padding, and a concatenation does
/// without its empty parts. Behind this pass no kernel has an empty iteration space; inputs,
/// constants and what routines read and write may be empty.
/// Errors: kInvalidModel, naming the node, where an element of an empty tensor is asked for (a
/// Gather from it, the position of its greatest element).
/// Test: tests/rewrite/fold_empty_values_test.cpp
Result<graph::Graph> fold_empty_values(graph::Graph graph);

}  // namespace corf::rewrite
