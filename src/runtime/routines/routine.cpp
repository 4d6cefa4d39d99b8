#include "runtime/routines/routine.h"

#include <algorithm>
#include <array>

#include "runtime/routines/operands.h"
#include "support/checked.h"

namespace corf::runtime {
namespace {

struct Routine {
  std::string_view name;
  Result<PreparedRoutine> (*prepare)(RoutineCall call);
};

constexpr std::array kRoutines = {
    Routine{"BitCast", prepare_bit_cast},
    Routine{"CheckIndices", prepare_check_indices},
    Routine{"CumSum", prepare_cum_sum},
    Routine{"Det", prepare_det},
    Routine{"DynamicQuantizeLSTM", prepare_dynamic_quantize_lstm},
    Routine{"GRU", prepare_gru},
    Routine{"GatherND", prepare_gather_nd},
    Routine{"Inverse", prepare_inverse},
    Routine{"LSTM", prepare_lstm},
    Routine{"RNN", prepare_rnn},
    Routine{"Random", prepare_random},
    Routine{"RoiAlign", prepare_roi_align},
    Routine{"ScatterElements", prepare_scatter_elements},
    Routine{"ScatterND", prepare_scatter_nd},
    Routine{"TopK", prepare_top_k},
    Routine{"TreeEnsemble", prepare_tree_ensemble},
};

/// No product of some of the extents overflows, nor a small multiple of it.
Status check_extents(const Shape& shape) {
  constexpr int64_t kRoom = 64;  // for the size of an element and a few gates
  std::optional<int64_t> size = kRoom;
  for (const int64_t extent : shape) {
    if (extent < 0) size.reset();
    if (size) size = checked_mul(*size, std::max<int64_t>(extent, 1));
  }
  if (size) return {};
  return make_error(ErrorCode::kInvalidModel, "shape {} is negative or too large",
                    to_string(shape));
}

}  // namespace

std::vector<std::string_view> routine_names() {
  std::vector<std::string_view> names;
  for (const Routine& routine : kRoutines) names.push_back(routine.name);
  return names;
}

bool has_routine(std::string_view name) {
  for (const Routine& routine : kRoutines) {
    if (routine.name == name) return true;
  }
  return false;
}

Result<PreparedRoutine> prepare_routine(std::string_view name, RoutineCall call) {
  for (const auto* operands : {&call.inputs, &call.outputs}) {
    for (const RoutineOperand& operand : *operands) {
      CORF_RETURN_IF_ERROR(check_extents(operand.shape));
    }
  }
  for (const Routine& routine : kRoutines) {
    if (routine.name != name) continue;
    Result<PreparedRoutine> prepared = routine.prepare(std::move(call));
    if (!prepared.ok()) {
      return Error{prepared.error().code,
                   fmt::format("routine {}: {}", name, prepared.error().message)};
    }
    return prepared;
  }
  return make_error(ErrorCode::kUnsupported, "there is no routine '{}'", name);
}

Status check_operand_counts(const RoutineCall& call, size_t min_inputs, size_t max_inputs,
                            size_t min_outputs, size_t max_outputs) {
  const size_t inputs = call.inputs.size(), outputs = call.outputs.size();
  if (inputs < min_inputs || inputs > max_inputs) {
    return make_error(ErrorCode::kInvalidModel, "it has {} inputs and takes {} to {}", inputs,
                      min_inputs, max_inputs);
  }
  if (outputs < min_outputs || outputs > max_outputs) {
    return make_error(ErrorCode::kInvalidModel, "it has {} outputs and gives {} to {}", outputs,
                      min_outputs, max_outputs);
  }
  return {};
}

bool has_input(const RoutineCall& call, size_t i) {
  return i < call.inputs.size() && call.inputs[i].shape != Shape{0};
}

bool has_output(const RoutineCall& call, size_t i) { return i < call.outputs.size(); }

Status check_shape(const RoutineOperand& operand, const Shape& expected, std::string_view name) {
  if (operand.shape == expected) return {};
  return make_error(ErrorCode::kInvalidModel, "{} has shape {} where {} is expected", name,
                    to_string(operand.shape), to_string(expected));
}

Status check_dtype(const RoutineOperand& operand, DType expected, std::string_view name) {
  if (operand.dtype == expected) return {};
  return make_error(ErrorCode::kInvalidModel, "{} has element type {} where {} is expected", name,
                    to_string(operand.dtype), to_string(expected));
}

Status check_index_dtype(const RoutineOperand& operand, std::string_view name) {
  if (operand.dtype == DType::kI32 || operand.dtype == DType::kI64) return {};
  return make_error(ErrorCode::kInvalidModel, "{} has element type {} where i32 or i64 is expected",
                    name, to_string(operand.dtype));
}

Result<int64_t> normalize_axis(int64_t axis, size_t rank) {
  if (auto wrapped = wrap_index(axis, static_cast<int64_t>(rank))) return *wrapped;
  return make_error(ErrorCode::kInvalidModel, "axis {} is out of range for {} dimensions", axis,
                    rank);
}

Error index_out_of_range(int64_t index, int64_t extent) {
  return make_error(ErrorCode::kInvalidArgument,
                    "index {} is out of range: the dimension has {} elements", index, extent);
}

}  // namespace corf::runtime
