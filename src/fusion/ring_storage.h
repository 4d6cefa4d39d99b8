#pragma once
#include "fusion/strips.h"

namespace corf::fusion {

/// What a ring has room for along each dimension, margins included; `place` is the value's storage.
Shape ring_extents(const graph::Graph& graph, const StripAnalysis& strips, const StripRing& ring,
                   const Storage& place);

/// Strides of a ring: its dimensions in the order in which `place` has them.
std::vector<int64_t> ring_strides(const graph::Graph& graph, const StripAnalysis& strips,
                                  const StripRing& ring, const Storage& place);

}  // namespace corf::fusion
