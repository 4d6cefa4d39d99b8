#pragma once
#include <cstdint>

namespace corf {

/// Whether lanes that lie so many elements apart are loaded as whole vectors of neighbours and
/// shuffled out of them: of lanes farther apart one load each is as fast, narrower vectors have no
/// masked loads. What code is generated for, and what the cost model prices.
constexpr bool shuffles_strided_lanes(int64_t stride, int64_t elem_bytes, int lanes) {
  constexpr int64_t kWidestStride = 4;
  constexpr int kFewestLanes = 8;
  return stride >= 2 && stride <= kWidestStride && elem_bytes == 4 && lanes >= kFewestLanes;
}

}  // namespace corf
