#include "runtime/routines/operands.h"

namespace corf::runtime {

/// Input: x. Output: its bytes as elements of another type of the same width.
Result<PreparedRoutine> prepare_bit_cast(RoutineCall call) {
  CORF_RETURN_IF_ERROR(check_operand_counts(call, 1, 1, 1, 1));
  const RoutineOperand &x = call.inputs[0], &y = call.outputs[0];
  CORF_RETURN_IF_ERROR(check_shape(y, x.shape, "the output"));
  const int64_t width = size_bytes(x.dtype);
  if (size_bytes(y.dtype) != width) {
    return make_error(ErrorCode::kInvalidModel, "{} and {} differ in width", to_string(x.dtype),
                      to_string(y.dtype));
  }
  const int64_t bytes = num_elems(x.shape) * width;
  return PreparedRoutine(
      [bytes](std::span<const void* const> inputs, std::span<void* const> outputs) -> Status {
        if (bytes > 0) std::memcpy(outputs[0], inputs[0], bytes);
        return {};
      });
}

}  // namespace corf::runtime
