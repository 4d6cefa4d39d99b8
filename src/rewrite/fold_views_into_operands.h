#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// Compute nodes read through views: transposes, broadcasts, slices and reshapes become part of
/// the operand's index map where it stays affine or repeats elements along an axis, padding its
/// guard where a reduction reads it.
/// Reduction axes are split where that makes the map affine. So K^T of attention, the split into
/// heads, their joining, keys that several heads share and channel shuffles cost nothing. The view
/// itself stays for its other readers. Test: tests/rewrite/fold_views_into_operands_test.cpp
Result<graph::Graph> fold_views_into_operands(graph::Graph graph);

}  // namespace corf::rewrite
