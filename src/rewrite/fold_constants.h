#pragma once
#include <cstdint>

#include "graph/graph.h"

namespace corf::rewrite {

/// What folding may cost.
struct FoldLimits {
  int64_t small_bytes = 4096;  // results that are folded whatever they are made of
  int64_t result_bytes = int64_t{64} << 20;
  /// Results as large as the largest constant that they are made of, element for element: weights
  /// that are converted. Without, every run would convert them anew.
  int64_t converted_bytes = int64_t{2} << 30;
  /// All results of a pass: so many bytes, and so many times the bytes of the graph's constants.
  int64_t total_bytes = int64_t{64} << 20;
  int64_t total_factor = 8;
  /// Views of constants that are larger fold into their readers' index maps instead, for nothing.
  int64_t view_bytes = 1 << 20;
  int64_t points = int64_t{1} << 28;  // of a node's iteration space
};

/// Replaces nodes whose inputs are all constants by their value, as graph::evaluate_node gives it.
/// Weights that a model keeps in a compact type and dequantises or casts become constants of the
/// type that its products read. Left alone: results that are large and have many more elements than
/// what they are made of (broadcasts, unless elements are picked by an index), large views that
/// only index maps read (a routine has none), what is beyond the limits, and opaque routines
/// without a reference. Test: tests/rewrite/fold_constants_test.cpp
Result<graph::Graph> fold_constants(graph::Graph graph);
/// The same without what dequantises constant bytes, which products of integers read as they are.
Result<graph::Graph> fold_all_but_dequantizations(graph::Graph graph);
/// What that has left.
Result<graph::Graph> fold_dequantizations(graph::Graph graph);

}  // namespace corf::rewrite
