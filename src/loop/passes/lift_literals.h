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
  bool is_divisor = false;
  /// Is read outside of what runs for each element, where a parameter costs next to nothing.
  bool is_outer = false;
  /// Is part of a larger expression: what has the same value there is the same thing.
  bool is_inside = false;
};

/// A kernel whose candidates are parameters, after its own, in the order of `literals`.
struct Lifted {
  Kernel kernel;
  std::vector<Literal> literals;
  std::vector<int> unrolls;   // of the loops inside of tiles, in their order
  std::vector<int64_t> dear;  // values, in the order of DearLiterals::vary
};

/// What else may be a parameter of a kernel of a later program, at a price: the extent of a tile
/// along its vectors, whose last one is then masked; the coefficients of a tile's axes inside of
/// its loops; limits of guards, and integers that are compared with such limits.
struct DearLiterals {
  int64_t lanes = 0;         // of a vector; 0: no tile is masked
  std::vector<bool> vary{};  // of these in their order: those that are made parameters
};

/// Makes parameters of all that loop::parameterize may: see there. `dear`: for a later program,
/// also of what follows from the partition, and of these. Test: tests/loop/parameterize_test.cpp
Lifted lift_literals(const Kernel& kernel, const DearLiterals* dear = nullptr);

}  // namespace corf::loop
