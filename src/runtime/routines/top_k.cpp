#include <algorithm>

#include "runtime/routines/operands.h"

namespace corf::runtime {
namespace {

struct TopK {
  int64_t outer = 1, extent = 1, inner = 1, k = 0;
  bool largest = true;
};

/// NaN counts as larger than any number; of equal values the first comes first.
template <typename T>
bool comes_before(T a, int64_t index_a, T b, int64_t index_b, bool largest) {
  const bool nan_a = a != a, nan_b = b != b;
  if (nan_a != nan_b) return nan_a == largest;
  if (!nan_a && a != b) return largest ? a > b : a < b;
  return index_a < index_b;
}

template <typename T>
struct Candidate {
  T value;
  int64_t index;
};

/// The first k elements of a row in their order. Most elements of long rows are worse than the k
/// best so far, which one comparison tells.
template <typename T>
void select(const TopK& op, const T* row, std::vector<Candidate<T>>& best) {
  const auto before = [&](const Candidate<T>& a, const Candidate<T>& b) {
    return comes_before(a.value, a.index, b.value, b.index, op.largest);
  };
  const auto k = static_cast<std::ptrdiff_t>(op.k);
  const size_t most = static_cast<size_t>(op.k) + std::max<size_t>(256, op.k);
  best.clear();
  if (k == 0) return;
  T bound{};  // the k-th best so far; an element that is not better comes later than it
  bool bounded = false;
  for (int64_t i = 0; i < op.extent; ++i) {
    const T value = row[i * op.inner];
    // A NaN is not worse than anything.
    if (bounded && (op.largest ? value <= bound : value >= bound)) continue;
    best.push_back({value, i});
    if (best.size() < most) continue;
    std::nth_element(best.begin(), best.begin() + (k - 1), best.end(), before);
    best.resize(static_cast<size_t>(k));
    bound = best.back().value;
    bounded = true;
  }
  std::partial_sort(best.begin(), best.begin() + k, best.end(), before);
}

template <typename T>
void run_top_k(const TopK& op, const T* x, T* values, int64_t* indices) {
  std::vector<Candidate<T>> best;
  for (int64_t o = 0; o < op.outer; ++o) {
    for (int64_t i = 0; i < op.inner; ++i) {
      select(op, x + o * op.extent * op.inner + i, best);
      for (int64_t j = 0; j < op.k; ++j) {
        const int64_t out = (o * op.k + j) * op.inner + i;
        if (values != nullptr) values[out] = best[j].value;
        if (indices != nullptr) indices[out] = best[j].index;
      }
    }
  }
}

}  // namespace

/// Inputs: X, K (i64, one element; the outputs' extents say the same). Outputs: values, indices
/// (i64). Attributes: axis, largest, sorted (always sorted).
Result<PreparedRoutine> prepare_top_k(RoutineCall call) {
  CORF_RETURN_IF_ERROR(check_operand_counts(call, 1, 2, 1, 2));
  const RoutineOperand& x = call.inputs[0];
  CORF_ASSIGN(const int64_t axis_attribute, attribute_or<int64_t>(call, "axis", -1));
  CORF_ASSIGN(const int64_t largest, attribute_or<int64_t>(call, "largest", 1));
  CORF_ASSIGN(const int64_t axis, normalize_axis(axis_attribute, x.shape.size()));

  TopK op;
  op.largest = largest != 0;
  op.extent = x.shape[axis];
  for (int64_t d = 0; d < axis; ++d) op.outer *= x.shape[d];
  for (size_t d = axis + 1; d < x.shape.size(); ++d) op.inner *= x.shape[d];
  Shape expected = x.shape;
  if (call.outputs[0].shape.size() == expected.size()) {
    op.k = call.outputs[0].shape[axis];
    if (op.k > op.extent) {
      return make_error(ErrorCode::kInvalidModel, "K is {} but axis {} has {} elements", op.k, axis,
                        op.extent);
    }
    expected[axis] = op.k;
  }
  CORF_RETURN_IF_ERROR(check_shape(call.outputs[0], expected, "output Values"));
  CORF_RETURN_IF_ERROR(check_dtype(call.outputs[0], x.dtype, "output Values"));
  if (has_output(call, 1)) {
    CORF_RETURN_IF_ERROR(check_shape(call.outputs[1], expected, "output Indices"));
    CORF_RETURN_IF_ERROR(check_dtype(call.outputs[1], DType::kI64, "output Indices"));
  }
  const bool has_k = has_input(call, 1);
  if (has_k) {
    CORF_RETURN_IF_ERROR(check_shape(call.inputs[1], {1}, "input K"));
    CORF_RETURN_IF_ERROR(check_dtype(call.inputs[1], DType::kI64, "input K"));
  }
  const DType dtype = x.dtype;
  return PreparedRoutine([op, dtype, has_k](std::span<const void* const> inputs,
                                            std::span<void* const> outputs) -> Status {
    if (has_k) {
      const int64_t k = *static_cast<const int64_t*>(inputs[1]);
      if (k != op.k) {
        return make_error(ErrorCode::kInvalidArgument,
                          "K is {} but the model was compiled for {}; compile it for this K", k,
                          op.k);
      }
    }
    auto* indices = outputs.size() > 1 ? static_cast<int64_t*>(outputs[1]) : nullptr;
    visit_dtype(dtype, [&]<typename T>(std::type_identity<T>) {
      run_top_k(op, static_cast<const T*>(inputs[0]), static_cast<T*>(outputs[0]), indices);
    });
    return {};
  });
}

}  // namespace corf::runtime
