#pragma once
#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "support/result.h"
#include "tensor/dtype.h"

namespace corf {

/// Extents, outermost first. A scalar has no extents.
using Shape = std::vector<int64_t>;

/// Number of elements; kInvalidModel if an extent is negative or the product overflows int64.
Result<int64_t> checked_num_elems(const Shape& shape);
/// Number of elements of a shape that is known to be sound.
int64_t num_elems(const Shape& shape);
/// "1x3x224x224"; "scalar" for no extents.
std::string to_string(const Shape& shape);
/// Row-major strides in elements.
std::vector<int64_t> row_major_strides(const Shape& shape);

/// A dense row-major array. Copies share the bytes, which are written only before they are shared.
class Tensor {
 public:
  Tensor() = default;
  /// Owned, 64-byte aligned, zero-filled. Throws std::bad_alloc if it does not fit the memory.
  Tensor(DType dtype, Shape shape);
  /// A view of bytes that `owner` keeps alive (mapped files, the caller's buffers).
  Tensor(DType dtype, Shape shape, std::shared_ptr<void> owner, void* data);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t num_elems() const { return num_elems_; }
  int64_t size_bytes() const { return num_elems_ * corf::size_bytes(dtype_); }
  bool empty() const { return data_ == nullptr; }

  std::byte* bytes() { return static_cast<std::byte*>(data_); }
  const std::byte* bytes() const { return static_cast<const std::byte*>(data_); }
  template <typename T>
  T* data() {
    return static_cast<T*>(data_);
  }
  template <typename T>
  const T* data() const {
    return static_cast<const T*>(data_);
  }
  template <typename T>
  std::span<const T> elems() const {
    return {data<T>(), static_cast<size_t>(num_elems_)};
  }

  /// Expires when the bytes may be given back.
  std::weak_ptr<void> owner() const { return owner_; }

  /// The same bytes under another shape of equally many elements.
  Tensor reshaped(Shape shape) const;

  /// Element `i` (row-major) converted; f16 and bf16 are widened.
  double at_f64(int64_t i) const;
  int64_t at_i64(int64_t i) const;
  void set_f64(int64_t i, double value);
  void set_i64(int64_t i, int64_t value);

 private:
  DType dtype_ = DType::kF32;
  Shape shape_;
  int64_t num_elems_ = 0;
  std::shared_ptr<void> owner_;
  void* data_ = nullptr;
};

template <typename T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::kF32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::kF64;
}
template <>
constexpr DType dtype_of<int64_t>() {
  return DType::kI64;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::kI32;
}
template <>
constexpr DType dtype_of<int8_t>() {
  return DType::kI8;
}
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::kU8;
}
template <>
constexpr DType dtype_of<bool>() {
  return DType::kBool;
}

/// A tensor holding `values` row by row.
template <typename T>
Tensor make_tensor(Shape shape, std::span<const T> values) {
  Tensor result(dtype_of<T>(), std::move(shape));
  std::copy(values.begin(), values.end(), result.data<T>());
  return result;
}

}  // namespace corf
