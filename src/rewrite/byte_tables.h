#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// What a look into a table takes where its elements are loaded one by one, and where an
/// instruction set has tables in registers: element-wise functions of fewer instructions stay.
constexpr double kInstructionsOfLook = 48, kInstructionsOfQuickLook = 24;

/// Element-wise functions of one byte in at least so many instructions, as activations between
/// quantisations are, become a look into a table of their 256 values, each as the body gives it:
/// bytes that are read, and those that a body makes on its way.
/// Test: tests/driver/quantized_graphs_test.cpp
Result<graph::Graph> byte_tables(const graph::Graph& graph, double fewest_instructions);

}  // namespace corf::rewrite
