#pragma once
#include "fusion/plan.h"

namespace corf::fusion {

/// How many steps of a sum of products of bytes one instruction takes.
constexpr int64_t kByteSteps = 4;

/// Whether kByteSteps steps of `reduction_axis` may be taken at once: in a sum in i32 of u8, whose
/// neighbours along the axis are neighbours in memory, all of them there, and packed i8 that
/// vectors along `vector_axis` hold.
bool takes_byte_steps(const Nest& nest, const StorageView& storage, int vector_axis,
                      int reduction_axis);

/// A schedule with steps of bytes fits its nest. Errors: kInvalidArgument.
Status check_byte_steps(const Nest& nest, const StorageView& storage, const NestSchedule& schedule);

}  // namespace corf::fusion
