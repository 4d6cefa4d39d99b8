#pragma once
#include "loop/program.h"

namespace corf::loop {

/// The most vector registers that the tile keeps alive at once, estimated for code that loads
/// right before use: accumulators from their definition to their last use, values defined outside
/// of a loop and used inside of it, and what an update or an operation needs besides.
/// `lanes`: elements of 4 bytes in a register; wider elements take more registers.
int register_pressure(const Tile& tile, int lanes);

}  // namespace corf::loop
