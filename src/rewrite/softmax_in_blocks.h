#pragma once
#include "graph/graph.h"

namespace corf::rewrite {

/// Facts that decide how long the blocks are.
struct SoftmaxBlockOptions {
  int64_t l2_bytes = 0;  // of a core; 0: rows are never cut
  int threads = 1;
  int64_t shortest = 128;  // columns of a block that is worth its merging
};

/// Columns of a block of a softmax over `columns`, of which there are `rows`; `columns` where a row
/// is not cut. Blocks are all of one length.
int64_t softmax_block(int64_t rows, int64_t columns, const SoftmaxBlockOptions& options);

/// exp(x - max(x)) V and the sums of the powers (a softmax before the values of an attention, its
/// division behind the product; divide_after_products) over blocks of the columns: each block has a
/// maximum, powers, sums and a product of its own,
///   m_b = max x_b, s_b = sum exp(x_b - m_b), o_b = exp(x_b - m_b) V_b,
/// which are merged behind it: with m = max m_b and w_b = exp(m_b - m) the sums are sum w_b s_b and
/// the product is sum w_b o_b. A kernel that goes through the rows block by block then keeps
/// a block of the scores, not whole rows, and few rows are work for several workers. What makes x
/// makes it by blocks, too, back to the product before the softmax.
///
/// Where all of a block is -inf, m_b is the lowest finite number: the powers are 0 then, and w_b
/// is, if another block is not so. Infinities and NaN give what they gave. Each sum is rounded
/// twice more (w_b and its product), which is less than what its length allows. Source: M. Milakov,
/// N. Gimelshein, "Online normalizer calculation for softmax", 2018; T. Dao et al.,
/// "FlashAttention", 2022; the blocks side by side: "Flash-Decoding", 2023. Test:
/// tests/rewrite/softmax_in_blocks_test.cpp
Result<graph::Graph> softmax_in_blocks(graph::Graph graph, const SoftmaxBlockOptions& options);

}  // namespace corf::rewrite
