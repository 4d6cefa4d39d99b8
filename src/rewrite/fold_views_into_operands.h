#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// Compute nodes read through views: transposes, broadcasts, slices and reshapes become part of
/// the operand's index map where it stays affine, padding its guard where a reduction reads it.
/// So K^T of attention and the split into heads cost nothing. The view itself stays for its other
/// readers.
/// Test: tests/rewrite/fold_views_into_operands_test.cpp
Result<graph::Graph> fold_views_into_operands(const graph::Graph& graph);

}  // namespace corf::rewrite
