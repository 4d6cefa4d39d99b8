#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "loop/program.h"

namespace corf::loop {

/// An integer of a kernel that could be a parameter.
struct Literal {
  int64_t value = 0;
  std::string name;  // what it would be called, not yet unique
  /// Costs something as a parameter: only for the kernels of other programs.
  bool costs = false;
};

/// A kernel whose candidates are parameters, after its own, in the order of `literals`.
struct Lifted {
  Kernel kernel;
  std::vector<Literal> literals;
  std::vector<int> unrolls;  // of the loops inside of tiles, in their order
};

/// Makes parameters of all that loop::parameterize may: see there.
Lifted lift_literals(const Kernel& kernel);

}  // namespace corf::loop
