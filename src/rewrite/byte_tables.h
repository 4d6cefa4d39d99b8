#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// What a look into a table takes where its elements are loaded one by one, and where an
/// instruction set has tables in registers: element-wise functions of fewer instructions stay.
constexpr double kInstructionsOfLook = 48, kInstructionsOfQuickLook = 24;

/// Element-wise functions of one byte, as activations between quantisations are, become a look into
/// a table of their 256 values, each as the body gives it: of bytes that are read, and of those
/// that a body makes on its way. `instructions_of_byte`: what looking up a byte takes; shorter
/// functions stay.
/// Test: tests/driver/quantized_graphs_test.cpp
Result<graph::Graph> byte_tables(graph::Graph graph, double instructions_of_byte);

}  // namespace corf::rewrite
