#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// Products of f32 values and dequantised constant weights of few bits read the weights as they
/// are, as many as 32 bits hold side by side along the sum in a word of i32:
///   sum over k of x[k] w[k]  =  sum over blocks, words and digits of
///     x[..] (((word[block, word] >> bits digit) & mask) - zero point[block]) scale[block],
/// where a block is as long as scale and zero point stay. Memory brings an eighth of what weights
/// in f32 take; results are those of the dequantised weights, with the scale perhaps taken once for
/// a block (loop/passes/block_sums.h). Left alone: weights of more than 4 bits, of several
/// reduction axes, zero points that are no integers, and blocks that are no whole words. Test:
/// tests/rewrite/weights_in_words_test.cpp
Result<graph::Graph> weights_in_words(graph::Graph graph);

}  // namespace corf::rewrite
