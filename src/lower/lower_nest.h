#pragma once
#include <map>
#include <vector>

#include "fusion/plan.h"
#include "lower/kernel_builder.h"
#include "lower/packed_parts.h"
#include "lower/tile_emitter.h"

namespace corf::lower {

/// Appends the loops of a scheduled nest to the kernel, and what zeroes the margins of the values
/// that it stores.
void lower_nest(const fusion::Nest& nest, const fusion::NestSchedule& schedule,
                KernelBuilder& builder);

/// The loops of a scheduled nest over part of its points: `ranges` by axis. Ranges begin and end
/// where the axis' tiles do. `part`: of the reduction; nullptr: all of it. `packed`: where the
/// kernel has packed all that the matrix unit needs.
std::vector<loop::Stmt> nest_loops(const fusion::Nest& nest, const fusion::NestSchedule& schedule,
                                   const std::map<int, AxisRange>& ranges, KernelBuilder& builder,
                                   const ReductionPart* part = nullptr,
                                   const PackedParts* packed = nullptr);

/// Fills the margins around `value`, split among `partitions`.
std::vector<loop::Stmt> zero_margins(graph::ValueId value, int64_t partitions,
                                     KernelBuilder& builder);

}  // namespace corf::lower
