#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "graph/graph.h"

namespace corf::rewrite {

/// What those who read a value tell apart beside its magnitude.
struct Demand {
  /// Neighbouring numbers: the value meets a step (a rounding to integers, a comparison, a
  /// remainder, a conversion to integers, the position of a maximum) with nothing on the way that
  /// has roundings of its own choosing, as an elementary function or a sum of floats along axes
  /// has. It must come out as the model's operators give it, to the bit.
  bool digits = false;
  /// +0 and -0: something is divided by the value.
  bool sign_of_zero = false;
  /// Elements of the largest sum or difference that the value goes into, if they are more than its
  /// own, as where a mean is taken from each element; else 0. Equal terms then leave nothing but
  /// the value's roundings, and to compute it as the model does costs next to nothing.
  int64_t spread_over = 0;
  /// Its absolute error: an exponential makes a relative one of it. Of large numbers, as those from
  /// which a softmax takes the largest, a rounding more is several more of the result.
  bool absolute = false;

  Demand& operator|=(const Demand& other) {
    digits |= other.digits;
    sign_of_zero |= other.sign_of_zero;
    spread_over = std::max(spread_over, other.spread_over);
    absolute |= other.absolute;
    return *this;
  }
};

/// Of each node of a body, whose result is asked for so much. `num_elems`: of the result; without,
/// sums and differences within the body are not looked at: they have its own points.
std::vector<Demand> demands(const graph::ScalarBody& body, const Demand& of_result,
                            int64_t num_elems = 0);
/// Of the body's result, from that of the output.
Demand demand_of_body(const graph::Compute& compute, const Demand& of_output);
/// Of each value of a graph. What a graph returns is asked for its magnitude.
/// Test: tests/rewrite/demand_test.cpp
std::vector<Demand> demands(const graph::Graph& graph);

}  // namespace corf::rewrite
