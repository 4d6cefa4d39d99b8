#pragma once
#include <map>
#include <vector>

#include "fusion/plan.h"
#include "lower/kernel_builder.h"

namespace corf::lower {

/// Appends the loops of a scheduled nest to the kernel, and what zeroes the margins of the values
/// that it stores.
void lower_nest(const fusion::Nest& nest, const fusion::NestSchedule& schedule,
                KernelBuilder& builder);

/// Part of an axis, in the axis' own steps.
struct AxisRange {
  index::Expr begin, end;
};
/// The loops of a scheduled nest over part of its points: `ranges` by axis. Ranges begin and end
/// where the axis' tiles do.
std::vector<loop::Stmt> nest_loops(const fusion::Nest& nest, const fusion::NestSchedule& schedule,
                                   const std::map<int, AxisRange>& ranges, KernelBuilder& builder);

/// Zeroes the margins around `value`, split among `partitions`.
std::vector<loop::Stmt> zero_margins(graph::ValueId value, int64_t partitions,
                                     KernelBuilder& builder);

}  // namespace corf::lower
