#pragma once
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "runtime/team.h"
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

/// One of those that run a routine at the same time on the same operands.
using RoutineWorker = Worker;

/// Runs the prepared routine on the operands' bytes, in order: a worker's share of it, or all of it
/// by the first worker where the routine is not shared out. One run at a time.
/// Errors: kInvalidArgument where an input's values are wrong (an index out of range); all workers
/// that a routine is shared out to return the same.
class PreparedRoutine {
 public:
  using Inputs = std::span<const void* const>;
  using Outputs = std::span<void* const>;

  PreparedRoutine() = default;
  /// `function`: (inputs, outputs), or (inputs, outputs, worker) where it is shared out; such a one
  /// must not fail on one worker alone, hence must not allocate.
  template <typename Function>
  explicit PreparedRoutine(Function function) {
    if constexpr (std::is_invocable_v<Function, Inputs, Outputs, const RoutineWorker&>) {
      function_ = std::move(function);
    } else {
      function_ = [function = std::move(function)](Inputs inputs, Outputs outputs,
                                                   const RoutineWorker& worker) -> Status {
        return worker.number == 0 ? function(inputs, outputs) : Status();
      };
    }
  }
  Status operator()(Inputs inputs, Outputs outputs, const RoutineWorker& worker = {}) const {
    return function_(inputs, outputs, worker);
  }

 private:
  std::function<Status(Inputs, Outputs, const RoutineWorker&)> function_;
};

std::vector<std::string_view> routine_names();
bool has_routine(std::string_view name);

/// Checks number, element types and shapes of the operands and the attributes, so that running it
/// stays inside of the operands whatever they hold.
/// Errors: kUnsupported for an unknown routine or a variant that is not offered; kInvalidModel for
/// operands or attributes that the ONNX operator does not allow.
Result<PreparedRoutine> prepare_routine(std::string_view name, RoutineCall call);

}  // namespace corf::runtime
