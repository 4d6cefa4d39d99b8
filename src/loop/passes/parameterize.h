#pragma once
#include <memory>

#include "loop/program.h"

namespace corf::loop {

/// What kernels of some programs have become, so that those of later programs become the same where
/// they differ in parameters only. Threads may share it.
class KnownKernels {
 public:
  KnownKernels();
  ~KnownKernels();

 private:
  friend Program parameterize(Program program, KnownKernels* known, int64_t lanes);
  struct Families;
  std::unique_ptr<Families> families_;
};

/// Merges kernels that differ only in integers that need not be known when code is generated, by
/// making those that differ parameters, bound by the calls: constants in the bounds of serial loops
/// (divisors apart), and in offsets the constant term, the coefficients of variables other than
/// tile axes, and what is constant in terms that are the same for all lanes. Extents and
/// coefficients of tile axes, steps, guards' limits and the bounds of short loops inside of tiles
/// (which are better unrolled) stay constants. Scratch takes the largest size. Equal kernels are
/// merged on the way.
///
/// With `known`, the kernels of the first program are made as without. A kernel of a later one
/// stays as it is where the first program has the same, and else becomes one of a later program
/// where that can do the same with other parameters. There whatever follows from the partition is
/// one parameter, with a value for each, so that it does not matter how a split comes out; what
/// costs nothing as a parameter, or differs in kernels that have other tiles, is one before it is
/// known to differ; divisors may be parameters too, and coefficients of tile axes where no loop is
/// inside of the tile; and it does not matter how loops are unrolled. What costs something is a
/// parameter where the nodes that the kernel carries out have had other values
/// (lift_literals.h: DearLiterals). `lanes`: of a vector of f32, to mask such tiles; 0: they are
/// not. Test: tests/loop/parameterize_test.cpp,
/// tests/driver/known_shapes_test.cpp
Program parameterize(Program program, KnownKernels* known = nullptr, int64_t lanes = 0);

}  // namespace corf::loop
