#pragma once
#include "fusion/plan.h"

namespace corf::fusion {

/// How many steps of a sum of products of bytes one instruction takes.
constexpr int64_t kByteSteps = 4;
/// Likewise of bfloat16 numbers, whose sum is f32.
constexpr int64_t kHalfSteps = 2;

/// How many steps of `reduction_axis` may be taken at once: kByteSteps in a sum in i32 of u8, whose
/// neighbours along the axis are neighbours in memory, all of them there, and packed i8 that
/// vectors along `vector_axis` hold; kHalfSteps in one in f32 of such bfloat16 numbers; else 1.
int64_t steps_at_once(const Nest& nest, const StorageView& storage, int vector_axis,
                      int reduction_axis);

/// A schedule with steps of bytes fits its nest. Errors: kInvalidArgument.
Status check_byte_steps(const Nest& nest, const StorageView& storage, const NestSchedule& schedule);

}  // namespace corf::fusion
