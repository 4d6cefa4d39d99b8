#pragma once
#include "graph/graph.h"
#include "support/result.h"

namespace corf::rewrite {

/// Steps of sums of products at which a factor lies outside of its value, and so is 0, whatever the
/// point: of a 3x3 window over an image of one pixel all but the middle one, of windows that are
/// dilated beyond the image all but the middle row or column. The other factors are sliced.
/// Test: tests/rewrite/drop_outside_steps_test.cpp
Result<graph::Graph> drop_outside_steps(graph::Graph graph);

}  // namespace corf::rewrite
