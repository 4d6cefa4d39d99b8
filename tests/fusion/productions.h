#pragma once
#include <array>
#include <cstdint>
#include <set>
#include <vector>

#include "fusion/walk.h"
#include "loop/program.h"

namespace corf::test {

/// An element of a ring's value: outer block, row, and where it lies in its row.
using RingElement = std::array<int64_t, 3>;

/// What a kernel of a group in strips computes into one ring.
struct Productions {
  int64_t most = 0;  // how often one partition computes one element, at most
  std::vector<std::set<RingElement>> elements;  // by partition
};

/// Walks the kernel's loops with numbers. Zeros and moves within a ring are not productions.
/// `walk`: of the kernel's group. By number of the ring.
std::vector<Productions> count_productions(const loop::Kernel& kernel, int64_t partitions,
                                           const fusion::Walk& walk);

}  // namespace corf::test
