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

/// A schedule with steps of bytes fits its nest. Errors: kInvalidArgument.
Status check_byte_steps(const Nest& nest, const StorageView& storage, const NestSchedule& schedule);

}  // namespace corf::fusion
