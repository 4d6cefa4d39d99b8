#pragma once
#include <vector>

#include "cost/model.h"
#include "fusion/matrix.h"
#include "fusion/plan.h"

namespace corf::cost {

/// Bytes of the parts of a float32 number, for each of its own.
constexpr double kPartBytes = 2.0 * fusion::kParts / sizeof(float);

/// Cycles of one worker that walks the whole nest with `extents` points along its axes: of the
/// instructions, whatever memory the operands come from.
double nest_cycles(const fusion::StorageView& storage, const fusion::Nest& nest,
                   const fusion::NestSchedule& schedule, std::vector<int64_t> extents,
                   const Model& model);

/// Where the time of a nest by itself goes, in cycles of its busiest worker, but for what
/// activations cost.
struct NestCost {
  double share = 1;     // of the whole work
  double compute = 0;   // instructions, and what the matrix unit waits for
  double streamed = 0;  // weights: read ahead, while the tiles compute
};

NestCost nest_cost(const fusion::StorageView& storage, const fusion::Nest& nest,
                   const fusion::NestSchedule& schedule, const Model& model);

}  // namespace corf::cost
