#include "runtime/routines/operands.h"

namespace corf::runtime {
namespace {

struct CumSum {
  int64_t outer = 1, extent = 1, inner = 1;
  bool exclusive = false, reverse = false;
};

/// Sums of integers wrap.
template <typename T>
T sum(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  } else {
    return T(a + b);
  }
}

template <typename T>
void run_cum_sum(const CumSum& op, const T* x, T* y) {
  for (int64_t o = 0; o < op.outer; ++o) {
    for (int64_t i = 0; i < op.inner; ++i) {
      T total{};
      for (int64_t step = 0; step < op.extent; ++step) {
        const int64_t j = op.reverse ? op.extent - 1 - step : step;
        const int64_t at = (o * op.extent + j) * op.inner + i;
        const T value = x[at];  // x and y may be the same array
        y[at] = op.exclusive ? total : sum(total, value);
        total = sum(total, value);
      }
    }
  }
}

CumSum along_axis(const Shape& shape, int64_t axis, CumSum op) {
  op.outer = op.inner = 1;
  op.extent = shape[axis];
  for (int64_t d = 0; d < axis; ++d) op.outer *= shape[d];
  for (size_t d = axis + 1; d < shape.size(); ++d) op.inner *= shape[d];
  return op;
}

}  // namespace

/// Inputs: x, axis (one integer; an attribute of that name stands in for it). Output: y of x's
/// shape. Attributes: exclusive, reverse.
Result<PreparedRoutine> prepare_cum_sum(RoutineCall call) {
  CORF_RETURN_IF_ERROR(check_operand_counts(call, 1, 2, 1, 1));
  const RoutineOperand& x = call.inputs[0];
  CORF_RETURN_IF_ERROR(check_shape(call.outputs[0], x.shape, "the output"));
  CORF_RETURN_IF_ERROR(check_dtype(call.outputs[0], x.dtype, "the output"));
  CORF_ASSIGN(const int64_t exclusive, attribute_or<int64_t>(call, "exclusive", 0));
  CORF_ASSIGN(const int64_t reverse, attribute_or<int64_t>(call, "reverse", 0));
  CumSum op;
  op.exclusive = exclusive != 0;
  op.reverse = reverse != 0;
  const bool axis_is_input = has_input(call, 1);
  int64_t axis = 0;
  DType axis_dtype = DType::kI64;
  if (axis_is_input) {
    CORF_RETURN_IF_ERROR(check_index_dtype(call.inputs[1], "input axis"));
    if (num_elems(call.inputs[1].shape) != 1) {
      return make_error(ErrorCode::kInvalidModel,
                        "input axis has shape {} where one element is "
                        "expected",
                        to_string(call.inputs[1].shape));
    }
    axis_dtype = call.inputs[1].dtype;
  } else {
    CORF_ASSIGN(const int64_t axis_attribute, attribute_or<int64_t>(call, "axis", 0));
    CORF_ASSIGN(axis, normalize_axis(axis_attribute, x.shape.size()));
  }
  return PreparedRoutine(
      [=, dtype = x.dtype, shape = x.shape](std::span<const void* const> inputs,
                                            std::span<void* const> outputs) -> Status {
        int64_t along = axis;
        if (axis_is_input) {
          const int64_t given = IndexReader(axis_dtype, inputs[1])[0];
          const auto wrapped = wrap_index(given, static_cast<int64_t>(shape.size()));
          if (!wrapped) {
            return make_error(ErrorCode::kInvalidArgument,
                              "axis {} is out of range for {} dimensions", given, shape.size());
          }
          along = *wrapped;
        }
        visit_dtype(dtype, [&]<typename T>(std::type_identity<T>) {
          run_cum_sum(along_axis(shape, along, op), static_cast<const T*>(inputs[0]),
                      static_cast<T*>(outputs[0]));
        });
        return {};
      });
}

}  // namespace corf::runtime
