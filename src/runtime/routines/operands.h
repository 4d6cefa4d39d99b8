#pragma once
#include <atomic>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "runtime/routines/routine.h"
#include "support/assert.h"

/// What the routines share: attributes, checks of operands, element types.
namespace corf::runtime {

/// The attribute, or `absent` where the node has none.
/// Errors: kInvalidModel if it has another type.
template <typename T>
Result<T> attribute_or(const RoutineCall& call, const std::string& name, T absent) {
  const auto found = call.attributes.find(name);
  if (found == call.attributes.end()) return absent;
  const T* value = std::get_if<T>(&found->second);
  if (value == nullptr) {
    return make_error(ErrorCode::kInvalidModel, "attribute '{}' has the wrong type", name);
  }
  return *value;
}

/// Checks how many operands there are. Errors: kInvalidModel.
Status check_operand_counts(const RoutineCall& call, size_t min_inputs, size_t max_inputs,
                            size_t min_outputs, size_t max_outputs);

/// Whether optional input `i` is there: not left out and not of shape {0}.
bool has_input(const RoutineCall& call, size_t i);
/// Whether output `i` is wanted.
bool has_output(const RoutineCall& call, size_t i);

/// Errors: kInvalidModel naming the operand and both shapes.
Status check_shape(const RoutineOperand& operand, const Shape& expected, std::string_view name);
Status check_dtype(const RoutineOperand& operand, DType expected, std::string_view name);
/// i32 or i64. Errors: kInvalidModel.
Status check_index_dtype(const RoutineOperand& operand, std::string_view name);

/// `axis`, counted from the end if negative. Errors: kInvalidModel if it is out of range.
Result<int64_t> normalize_axis(int64_t axis, size_t rank);

/// A 16-bit float that converts through f32.
template <DType kType>
struct NarrowFloat {
  uint16_t bits = 0;

  NarrowFloat() = default;
  NarrowFloat(float value) : bits(kType == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value)) {}
  operator float() const { return kType == DType::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits); }
};

/// Calls f(std::type_identity<T>()) with the type that holds elements of `dtype`.
template <typename F>
auto visit_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kBool:
    case DType::kU8:
      return f(std::type_identity<uint8_t>());
    case DType::kI8:
      return f(std::type_identity<int8_t>());
    case DType::kI16:
      return f(std::type_identity<int16_t>());
    case DType::kU16:
      return f(std::type_identity<uint16_t>());
    case DType::kI32:
      return f(std::type_identity<int32_t>());
    case DType::kU32:
      return f(std::type_identity<uint32_t>());
    case DType::kI64:
      return f(std::type_identity<int64_t>());
    case DType::kU64:
      return f(std::type_identity<uint64_t>());
    case DType::kF16:
      return f(std::type_identity<NarrowFloat<DType::kF16>>());
    case DType::kBF16:
      return f(std::type_identity<NarrowFloat<DType::kBF16>>());
    case DType::kF32:
      return f(std::type_identity<float>());
    case DType::kF64:
      return f(std::type_identity<double>());
  }
  CORF_ASSERT(false, "unknown element type");
}

/// Integers of type i32 or i64 as i64.
class IndexReader {
 public:
  IndexReader(DType dtype, const void* data) : wide_(dtype == DType::kI64), data_(data) {}
  int64_t operator[](int64_t i) const {
    return wide_ ? static_cast<const int64_t*>(data_)[i] : static_cast<const int32_t*>(data_)[i];
  }

 private:
  bool wide_;
  const void* data_;
};

/// `index` counted from the end if negative; nullopt if outside of [-extent, extent).
inline std::optional<int64_t> wrap_index(int64_t index, int64_t extent) {
  if (index < -extent || index >= extent) return std::nullopt;
  return index < 0 ? index + extent : index;
}
Error index_out_of_range(int64_t index, int64_t extent);

/// What workers that share out indices find together: the first one that is outside. A barrier
/// stands between its reset, what the workers find, and the verdict of all.
class FirstOutside {
 public:
  static constexpr int64_t kNone = INT64_MAX;

  void reset() { position_.store(kNone, std::memory_order_relaxed); }
  void lower_to(int64_t other) {
    int64_t seen = get();
    while (other < seen && !position_.compare_exchange_weak(seen, other)) {
    }
  }
  int64_t get() const { return position_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> position_{kNone};
};

Result<PreparedRoutine> prepare_bit_cast(RoutineCall call);
Result<PreparedRoutine> prepare_top_k(RoutineCall call);
Result<PreparedRoutine> prepare_scatter_elements(RoutineCall call);
Result<PreparedRoutine> prepare_scatter_nd(RoutineCall call);
Result<PreparedRoutine> prepare_gather_nd(RoutineCall call);
Result<PreparedRoutine> prepare_check_indices(RoutineCall call);
Result<PreparedRoutine> prepare_cum_sum(RoutineCall call);
Result<PreparedRoutine> prepare_tree_ensemble(RoutineCall call);
Result<PreparedRoutine> prepare_random(RoutineCall call);
Result<PreparedRoutine> prepare_roi_align(RoutineCall call);
Result<PreparedRoutine> prepare_det(RoutineCall call);
Result<PreparedRoutine> prepare_inverse(RoutineCall call);
Result<PreparedRoutine> prepare_lstm(RoutineCall call);
Result<PreparedRoutine> prepare_dynamic_quantize_lstm(RoutineCall call);
Result<PreparedRoutine> prepare_gru(RoutineCall call);
Result<PreparedRoutine> prepare_rnn(RoutineCall call);

}  // namespace corf::runtime
