#pragma once
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/result.h"
#include "tensor/tensor.h"

/// Operators that have no compute description (design section 3), over dense row-major tensors.
/// Each has the name, inputs, outputs and attributes of the ONNX operator. An optional input that
/// is absent is left out at the end, or has the shape {0}; outputs that nobody needs are left out
/// at the end.
namespace corf::runtime {

using RoutineAttribute =
    std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>>;

struct RoutineOperand {
  DType dtype = DType::kF32;
  Shape shape;
};

/// What a routine is prepared for.
struct RoutineCall {
  std::map<std::string, RoutineAttribute> attributes;
  std::vector<RoutineOperand> inputs, outputs;
};

/// Runs the prepared routine on the operands' bytes, in order.
/// Errors: kInvalidArgument where an input's values are wrong (an index out of range).
using PreparedRoutine =
    std::function<Status(std::span<const void* const> inputs, std::span<void* const> outputs)>;

std::vector<std::string_view> routine_names();
bool has_routine(std::string_view name);

/// Checks number, element types and shapes of the operands and the attributes, so that running it
/// stays inside of the operands whatever they hold.
/// Errors: kUnsupported for an unknown routine or a variant that is not offered; kInvalidModel for
/// operands or attributes that the ONNX operator does not allow.
Result<PreparedRoutine> prepare_routine(std::string_view name, RoutineCall call);

}  // namespace corf::runtime
