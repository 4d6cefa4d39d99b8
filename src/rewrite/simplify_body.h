#pragma once
#include "graph/scalar.h"
#include "rewrite/demand.h"
#include "rewrite/value_range.h"

namespace corf::rewrite {

/// The same scalar function with fewer and cheaper operations, in a canonical form in which the
/// ways that exporters have of writing one activation are equal. Exact, or as rewrite/rounding.h
/// allows where `of_result` is asked of the result, and so much is known of the operands (nothing
/// if `operands` is empty); numbers of float16 and bfloat16 have been widened before:
/// - constants are folded, equal subexpressions computed once, unused ones dropped;
/// - x + 0, x * 1, casts to the same type vanish; x - c is x + -c; division by a constant is
///   multiplication; powers with exponents 0.5, 2, 3, -1, -0.5 become roots and products;
/// - constant factors and addends collect into one, and a product's factor takes one that costs it
///   nothing;
/// - clipping is min(max(x, low), high), clips of clips are one, and factors come after;
/// - 1 / (1 + exp(-x)) and (1 + tanh(x / 2)) / 2 are sigmoid(x).
/// So hard-swish is (min(max(x + 3, 0), 6) * 1/6) * x, SiLU sigmoid(x) * x, GELU
/// (erf(x * 0.707) * 0.5 + 0.5) * x, its tanh form sigmoid((x * x * 0.0714 + 1.596) * x) * x.
/// Test: tests/rewrite/simplify_body_test.cpp, tests/rewrite/rounding_test.cpp
graph::ScalarBody simplify_body(const graph::ScalarBody& body, const Demand& of_result = {},
                                const std::vector<ValueRange>& operands = {});

}  // namespace corf::rewrite
