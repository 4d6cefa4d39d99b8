#pragma once
#include <cstdint>
#include <vector>

#include "loop/program.h"

namespace corf::memory {

/// Steps during which a buffer's contents matter, both ends included; empty if last < first.
struct LiveRange {
  int first = 0;
  int last = -1;
};

/// By program buffer: from the first step that touches it to the last. Inputs, outputs and
/// constants have ranges too, although they need no place in the arena.
std::vector<LiveRange> live_ranges(const loop::Program& program);

/// Where a program's buffers lie. Offsets are multiples of 64 bytes.
struct MemoryPlan {
  /// By program buffer: kArena within the arena, kConstant within the constants' block; 0 for
  /// inputs, outputs, buffers that no step touches and constants that are held elsewhere.
  std::vector<int64_t> offset_bytes;
  int64_t arena_bytes = 0;
  int64_t constants_bytes = 0;
  int64_t scratch_bytes = 0;  // of each worker: the largest need of a kernel that is called
  /// The most that is alive at one step: no plan needs less.
  int64_t peak_live_bytes = 0;
};

/// Buffers whose live ranges meet never share a byte; others may.
MemoryPlan assign(const loop::Program& program);

}  // namespace corf::memory
