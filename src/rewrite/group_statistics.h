#pragma once
#include "graph/graph.h"
#include "support/result.h"

namespace corf::rewrite {

/// Normalisation by groups of channels, as models write it: [N, C, spatial...] is reshaped to
/// [N, G, everything else], normalised there, and reshaped back. Where channels lie innermost a
/// group would be gathered a few elements at a time. Here, with v = reshape(x):
///   f(v, s) = reshape(f(x, s')),  s'[n, c] = s[n, c floordiv (C / G)], for element-wise f and what
///     depends on image and group only, made anew for each channel;
///   sum over v[n, g, ...] = sum over the group's channels of the sums over their points.
/// So everything is done channel by channel, in whatever layout, and the two reshapes cancel.
/// Test: tests/rewrite/group_statistics_test.cpp
Result<graph::Graph> group_statistics(graph::Graph graph);

}  // namespace corf::rewrite
