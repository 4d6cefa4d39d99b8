#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// Long element-wise functions of one byte, as activations between quantisations are, become a look
/// into a table of their 256 values, each as the body gives it.
/// Test: tests/driver/quantized_graphs_test.cpp
Result<graph::Graph> byte_tables(const graph::Graph& graph);

}  // namespace corf::rewrite
