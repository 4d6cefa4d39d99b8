#pragma once
#include "graph/graph.h"
#include "support/result.h"

namespace corf::rewrite {

/// The sum of two linear branches of one value, as blocks of RepVGG and MobileOne or several
/// products of one factor write it, becomes one contraction: constant weights of a 1x1 convolution
/// go into the tap of a 3x3 one that reads the same element, a scale for each channel, or none,
/// onto its diagonal, equal windows onto each other; constants that the branches add become one.
///
/// One of the branches has to be a contraction whose window holds all that the other one reads.
/// Nothing is widened, so that the other one's arithmetic and the addition are always saved:
/// sums of 1x3 and 3x1, or of a depthwise and a dense convolution, stay as they are.
///
/// Sums round each term that they add to the size of the sum so far. So that none is larger than
/// what the longer sum rounds anyway, the largest sum of magnitudes of the weights of a channel
/// must not be larger in the branch that joins than in the one that it joins, unless it adds up as
/// many terms itself: the bound of the error, with inputs of one magnitude, is at most twice as
/// large. Where an element is infinite, infinities of two branches that cancel to NaN may be one.
/// Test: tests/rewrite/merge_branches_test.cpp
Result<graph::Graph> merge_branches(graph::Graph graph);

}  // namespace corf::rewrite
