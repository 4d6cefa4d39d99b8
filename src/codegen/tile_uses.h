#pragma once
#include <set>
#include <vector>

#include "loop/program.h"

namespace corf::codegen {

/// What a tile's statements touch, loops within them included; registers, accumulators and bound
/// variables that they define themselves are left out.
struct TileUses {
  std::set<loop::Register> registers;  // read
  std::set<int> variables;             // of offsets, guards, bounds, indices
  std::set<int> stored_buffers;
  std::vector<const loop::Guard*> guards;
  std::set<loop::Register> changed_accumulators;  // updated or assigned
};
TileUses collect_uses(const std::vector<loop::TileStmt>& body);

/// Buffers that are loaded from or stored to.
std::set<int> used_buffers(const std::vector<loop::TileStmt>& body);

}  // namespace corf::codegen
