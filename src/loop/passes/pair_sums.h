#pragma once
#include "loop/program.h"

namespace corf::loop {

/// Takes sums apart whose terms a table of two axes scales, the accumulator's and the sum's own, as
/// in Winograd's transforms: first what pairs of the table's rows or columns share, then the
/// results out of that, in two updates with sparser tables where that is less arithmetic
/// (factor_by_pairs.h). Such a sum begins at -0.0, to which the first term is added without an
/// addition, and its update follows the accumulator.
/// Test: tests/loop/passes/pair_sums
Program pair_sums(Program program);

}  // namespace corf::loop
