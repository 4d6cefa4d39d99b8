#pragma once
#include "codegen/function_state.h"

namespace corf::codegen {

/// Emits a tile for the matrix unit (AMX): an accumulator over rows and lanes, updated by products
/// of bfloat16 loads over pairs of channels, and stored. Its registers hold 16 rows of 64 bytes.
/// Within one update the unit sums up pairs of channels before it adds them to the accumulator;
/// denormals count as zeros.
void lower_matrix_tile(FunctionState& function, const loop::Tile& tile);

bool has_matrix_tile(const std::vector<loop::Stmt>& body);
bool uses_matrix_unit(const loop::Kernel& kernel, const IsaTraits& isa);

/// Around the kernel's body: gives the unit's registers their shapes, and the unit back.
void open_matrix_unit(FunctionState& function);
void close_matrix_unit(FunctionState& function);

}  // namespace corf::codegen
