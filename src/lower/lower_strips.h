#pragma once
#include "fusion/plan.h"
#include "lower/kernel_builder.h"

namespace corf::lower {

/// Appends a group with a walk to the kernel: blocks of the outer dimensions, strips of the
/// stream dimension, and in each strip the stages in turn, with their intermediate values in rings.
/// Source: design section 1 (rows outermost, links `stream`).
void lower_strips(const fusion::GroupPlan& group, KernelBuilder& builder);

}  // namespace corf::lower
