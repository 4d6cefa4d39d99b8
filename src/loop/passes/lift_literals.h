#pragma once
#include <string>
#include <vector>

#include "loop/program.h"

namespace corf::loop {

/// An integer of a kernel that could be a parameter.
struct Literal {
  Expr value;        // over the partition
  std::string name;  // what it would be called, not yet unique
  /// Costs something as a parameter: only for the kernels of other programs.
  bool costs = false;
  /// Is read outside of what runs for each element, where a parameter costs next to nothing.
  bool is_outer = false;
  /// Is part of a larger expression: what has the same value there is the same thing.
  bool is_inside = false;
};

/// A kernel whose candidates are parameters, after its own, in the order of `literals`.
struct Lifted {
  Kernel kernel;
  std::vector<Literal> literals;
  std::vector<int> unrolls;  // of the loops inside of tiles, in their order
};

/// Makes parameters of all that loop::parameterize may: see there. `by_partition`: also of what
/// follows from the partition.
Lifted lift_literals(const Kernel& kernel, bool by_partition = false);

}  // namespace corf::loop
