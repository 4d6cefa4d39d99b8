#include <algorithm>
#include <memory>

#include "runtime/routines/operands.h"

namespace corf::runtime {
namespace {

/// Fewer indices than this are not worth a barrier.
constexpr int64_t kMinShared = 1 << 14;

/// Copies elements [begin, end) wrapped; the first one that is outside of its extent, or
/// FirstOutside::kNone.
template <typename T>
int64_t copy_wrapped(const T* from, T* to, int64_t begin, int64_t end,
                     const std::vector<int64_t>& extents) {
  const auto depth = static_cast<int64_t>(extents.size());
  bool all_inside = true;
  if (depth == 1) {  // a loop that compilers turn into vectors
    const int64_t extent = extents[0];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t index = from[i];
      all_inside &= index >= -extent && index < extent;
      to[i] = static_cast<T>(index < 0 ? index + extent : index);
    }
  } else {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t index = from[i], extent = extents[i % depth];
      all_inside &= index >= -extent && index < extent;
      to[i] = static_cast<T>(index < 0 ? index + extent : index);
    }
  }
  if (all_inside) return FirstOutside::kNone;
  for (int64_t i = begin; i < end; ++i) {
    if (!wrap_index(from[i], extents[i % depth])) return i;
  }
  return FirstOutside::kNone;
}

}  // namespace

/// Input: indices (i32 or i64). Output: the same, negative ones counted from the end. Attribute:
/// extents, one for all or one for each coordinate that the last dimension holds. Running it fails
/// if an index is outside of its extent.
Result<PreparedRoutine> prepare_check_indices(RoutineCall call) {
  CORF_RETURN_IF_ERROR(check_operand_counts(call, 1, 1, 1, 1));
  const RoutineOperand& indices = call.inputs[0];
  CORF_RETURN_IF_ERROR(check_index_dtype(indices, "input indices"));
  CORF_RETURN_IF_ERROR(check_dtype(call.outputs[0], indices.dtype, "the output"));
  CORF_RETURN_IF_ERROR(check_shape(call.outputs[0], indices.shape, "the output"));
  CORF_ASSIGN(const auto extents,
              attribute_or<std::vector<int64_t>>(call, "extents", std::vector<int64_t>()));
  const auto depth = static_cast<int64_t>(extents.size());
  const bool fits = depth == 1 || (!indices.shape.empty() && indices.shape.back() == depth);
  constexpr int64_t kMaxExtent = int64_t{1} << 62;
  if (depth == 0 || !fits || *std::min_element(extents.begin(), extents.end()) < 0 ||
      *std::max_element(extents.begin(), extents.end()) > kMaxExtent) {
    return make_error(ErrorCode::kInvalidModel, "{} extents do not fit indices {}", depth,
                      to_string(indices.shape));
  }
  const int64_t count = num_elems(indices.shape);
  const bool is_wide = indices.dtype == DType::kI64;
  auto copy = [=](const void* from, void* to, int64_t begin, int64_t end) {
    return is_wide ? copy_wrapped(static_cast<const int64_t*>(from), static_cast<int64_t*>(to),
                                  begin, end, extents)
                   : copy_wrapped(static_cast<const int32_t*>(from), static_cast<int32_t*>(to),
                                  begin, end, extents);
  };
  auto verdict = [=](const void* from, int64_t outside) -> Status {
    if (outside == FirstOutside::kNone) return {};
    return index_out_of_range(IndexReader(is_wide ? DType::kI64 : DType::kI32, from)[outside],
                              extents[outside % depth]);
  };
  if (count < kMinShared) {
    return PreparedRoutine(
        [=](std::span<const void* const> inputs, std::span<void* const> outputs) -> Status {
          return verdict(inputs[0], copy(inputs[0], outputs[0], 0, count));
        });
  }
  auto first = std::make_shared<FirstOutside>();
  return PreparedRoutine([=](std::span<const void* const> inputs, std::span<void* const> outputs,
                             const RoutineWorker& worker) -> Status {
    const int64_t begin = count * worker.number / worker.count;
    const int64_t end = count * (worker.number + 1) / worker.count;
    if (worker.number == 0) first->reset();
    worker.barrier();
    first->lower_to(copy(inputs[0], outputs[0], begin, end));
    worker.barrier();
    return verdict(inputs[0], first->get());
  });
}

}  // namespace corf::runtime
