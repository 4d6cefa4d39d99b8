#pragma once
#include "loop/program.h"

namespace corf::loop {

/// Takes long sums of floats in blocks, each added up on its own: the rounding error then grows
/// with the block's length plus the number of blocks instead of their product. Sums of products of
/// loaded values keep the multipliers busy, where a block costs, and get longer blocks; what only
/// adds waits for memory, and means of positive values lose the most.
/// A block is all of the sum's inner loops if these have about as many steps as a block should;
/// otherwise one loop is cut. Terms behind a loop that belong to the same sum (the lanes that are
/// left over) are part of its last block, or a block of their own where that loop is the one cut.
/// Numbers that are taken out of words (rewrite/weights_in_words.h), each for one product, are
/// scaled in blocks: the block is what shares a scale, which multiplies the block's sum; a zero
/// point that it shares is taken away from that, times the block's sum of the other factor. Test:
/// tests/loop/passes/block_sums
Program block_sums(Program program);

}  // namespace corf::loop
