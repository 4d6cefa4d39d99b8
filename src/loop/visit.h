#pragma once
#include <functional>
#include <string>
#include <vector>

#include "loop/program.h"

namespace corf::loop {

/// Called for what a kernel is made of, in program order; empty functions are skipped. Within a
/// statement uses come before definitions, bounds before the variable that they bind.
struct KernelVisitor {
  std::function<void(int& var)> binding;    // of a loop, a tile axis or TileBind
  std::function<void(int& var)> mention;    // of a tile axis, by TileAccumulator and TileReduce
  std::function<void(Register& reg)> reg;   // uses and definitions
  std::function<void(index::Expr&)> expr;   // bounds, offsets, guards, indices
  std::function<void(int& buffer)> buffer;  // of loads and stores
  std::function<void(Tile&)> enter_tile;
};
void visit(Kernel& kernel, const KernelVisitor& visitor);
void visit(std::vector<TileStmt>& body, const KernelVisitor& visitor);

/// A new variable of the kernel: its name is `name`, or name_1, name_2, ... where that is taken.
int add_variable(Kernel& kernel, const std::string& name);

/// Registers that the statement reads, an updated accumulator included; of a loop none.
std::vector<Register> used_registers(const TileStmt& stmt);

}  // namespace corf::loop
