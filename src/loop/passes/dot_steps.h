#pragma once
#include "loop/program.h"

namespace corf::loop {

/// Takes as many steps of a sum of products at once as its packed factor keeps side by side, for
/// instructions that add up products of several narrow numbers: u8 by i8 into i32, bfloat16 into
/// f32. A loop over k whose factors are casts of loaded elements, which for k and its S - 1
/// neighbours are neighbours in memory (the packed factor mentions k mod S), goes in steps of S;
/// the steps become an axis of the tile, which the update sums over, and it widens the factors
/// itself. So does an update over an axis k of the tile that the packed factor mentions in that
/// way: the other factor's neighbours may lie anywhere then, and are interleaved; the axis stands
/// for the blocks of S steps, or, where there is one, for its steps. The order of the terms stays
/// as it is.
/// Test: tests/loop/passes/dot_steps
Program dot_steps(Program program);

}  // namespace corf::loop
