#pragma once
#include "graph/graph.h"

namespace corf::graph {

/// The constant that changes no value of the type that it is combined with, and so the result of a
/// reduction over nothing: 0, 1, the greatest or the least value. Of kArgMin and kArgMax: of what
/// they compare.
ScalarNode identity_of(Combiner combiner, DType dtype);

}  // namespace corf::graph
