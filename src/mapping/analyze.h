#pragma once
#include "mapping/mapping_table.h"

namespace corf::mapping {

/// Every pair of compute nodes of which one reads the other's output, directly or through views;
/// found from index maps and guards alone.
/// Test: tests/mapping/analyze_test.cpp
Result<MappingTable> analyze(const graph::Graph& graph);

/// Fills in what is derived from a pair's nodes, spaces, map and guard.
void derive(PairMapping& pair);

}  // namespace corf::mapping
