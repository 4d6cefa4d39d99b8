#pragma once
#include "graph/graph.h"
#include "support/result.h"

namespace corf::rewrite {

/// Makes float16 and bfloat16 values f32 ones, so that every operator computes and accumulates in
/// f32, nothing overflows between operators, and the rest of the compiler meets halves at the
/// graph's border only: one cast behind each input (behind what only moves its elements, views and
/// gathers), one in front of each output. Constants are widened here, but for tables from which
/// elements are gathered.
///
/// Most roundings that the model's types imply are dropped. Those stay, as a cast there and back,
/// whose loss could be seen as another value instead of as a smaller error:
/// - of a cast to a half, from any other type: the model asks for that rounding;
/// - of a value on which a step depends: read, at first hand or through what only moves or selects
///   values, by an operator that gives integers or truth values (casts, comparisons, ArgMax), that
///   rounds to integers or takes remainders, or by TopK. All readers of such a value see it
///   rounded.
/// Test: tests/rewrite/widen_halves_test.cpp
Result<graph::Graph> widen_halves(graph::Graph graph);

}  // namespace corf::rewrite
