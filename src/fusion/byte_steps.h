#pragma once
#include "fusion/plan.h"
#include "graph/dot_products.h"

namespace corf::fusion {

/// How many steps of a sum of products of bytes one instruction takes.
constexpr int64_t kByteSteps = graph::steps_at_once(DType::kI32, DType::kU8, DType::kI8);

/// How many steps of `reduction_axis` may be taken at once: as graph::kDotProducts says where one
/// factor's neighbours along the axis are neighbours in memory, all of them there, and the other is
/// packed and vectors along `vector_axis` hold it; else 1.
int64_t steps_at_once(const Nest& nest, const StorageView& storage, int vector_axis,
                      int reduction_axis);

/// The same where vectors hold both factors (a depthwise convolution): rows of bytes, one of each
/// step, are interleaved in registers. The axis lies in the tile; its steps need not be a multiple
/// of those at once, since packed zeros stand behind the last.
int64_t window_steps_at_once(const Nest& nest, const StorageView& storage, int vector_axis,
                             int reduction_axis);

/// The reduction axis whose steps are taken at once; -1 if the schedule has none.
int byte_axis(const NestSchedule& schedule);

/// A schedule with steps of bytes fits its nest. Errors: kInvalidArgument.
Status check_byte_steps(const Nest& nest, const StorageView& storage, const NestSchedule& schedule);

}  // namespace corf::fusion
