#include "tensor/tensor.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <sys/mman.h>

#include "support/assert.h"
#include "support/budget.h"
#include "support/checked.h"

namespace corf {
namespace {

// Larger blocks are refused without asking the system; below this sizes in bytes do not overflow.
constexpr int64_t kMaxBytes = int64_t{1} << 39;

/// Whole huge pages inside of a block: to touch small ones takes longer than to fill them.
void ask_for_huge_pages(void* block, size_t bytes) {
  constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
  const auto begin = reinterpret_cast<uintptr_t>(block);
  const uintptr_t first = (begin + kHugePage - 1) & ~(kHugePage - 1);
  const uintptr_t last = (begin + bytes) & ~(kHugePage - 1);
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
}

}  // namespace

Result<int64_t> checked_num_elems(const Shape& shape) {
  int64_t product = 1;
  bool has_zero = false;
  for (int64_t extent : shape) {
    if (extent < 0) {
      return make_error(ErrorCode::kInvalidModel, "the shape {} has a negative extent",
                        to_string(shape));
    }
    // An empty tensor's other extents must be sound too: strides are products of them.
    if (extent == 0) {
      has_zero = true;
      continue;
    }
    auto next = checked_mul(product, extent);
    if (!next) {
      return make_error(ErrorCode::kInvalidModel, "the shape {} has more than 2^63 elements",
                        to_string(shape));
    }
    product = *next;
  }
  return has_zero ? 0 : product;
}

int64_t num_elems(const Shape& shape) {
  int64_t product = 1;
  for (int64_t extent : shape) product *= extent;
  return product;
}

std::string to_string(const Shape& shape) {
  if (shape.empty()) return "scalar";
  std::string text;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i) text += 'x';
    text += std::to_string(shape[i]);
  }
  return text;
}

std::vector<int64_t> row_major_strides(const Shape& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= shape[i];
  }
  return strides;
}

Tensor::Tensor(DType dtype, Shape shape)
    : dtype_(dtype), shape_(std::move(shape)), num_elems_(corf::num_elems(shape_)) {
  CORF_ASSERT(num_elems_ >= 0, "a tensor's extents are not negative");
  if (num_elems_ > kMaxBytes / corf::size_bytes(dtype)) throw std::bad_alloc();
  size_t bytes = static_cast<size_t>(round_up(std::max<int64_t>(size_bytes(), 1), 64));
  std::shared_ptr<Budget> budget = shared_budget();
  if (budget) budget->hold_bytes(static_cast<int64_t>(bytes));
  // Large blocks come zeroed from the system, so that untouched pages cost nothing.
  void* block = std::calloc(bytes + 64, 1);
  if (block == nullptr) {
    if (budget) budget->release_bytes(static_cast<int64_t>(bytes));
    throw std::bad_alloc();
  }
  ask_for_huge_pages(block, bytes);
  owner_ = std::shared_ptr<void>(block, [budget = std::move(budget), bytes](void* owned) {
    std::free(owned);
    if (budget) budget->release_bytes(static_cast<int64_t>(bytes));
  });
  auto address = reinterpret_cast<uintptr_t>(block);
  data_ = reinterpret_cast<void*>((address + 63) & ~uintptr_t{63});
}

Tensor::Tensor(DType dtype, Shape shape, std::shared_ptr<void> owner, void* data)
    : dtype_(dtype),
      shape_(std::move(shape)),
      num_elems_(corf::num_elems(shape_)),
      owner_(std::move(owner)),
      data_(data) {}

Tensor Tensor::reshaped(Shape shape) const {
  CORF_ASSERT(corf::num_elems(shape) == num_elems_, "a reshape keeps the number of elements");
  Tensor result = *this;
  result.shape_ = std::move(shape);
  return result;
}

double Tensor::at_f64(int64_t i) const {
  switch (dtype_) {
    case DType::kF32:
      return data<float>()[i];
    case DType::kF64:
      return data<double>()[i];
    case DType::kF16:
      return f16_to_f32(data<uint16_t>()[i]);
    case DType::kBF16:
      return bf16_to_f32(data<uint16_t>()[i]);
    case DType::kU64:
      return static_cast<double>(data<uint64_t>()[i]);
    default:
      return static_cast<double>(at_i64(i));
  }
}

int64_t Tensor::at_i64(int64_t i) const {
  switch (dtype_) {
    case DType::kBool:
    case DType::kU8:
      return data<uint8_t>()[i];
    case DType::kI8:
      return data<int8_t>()[i];
    case DType::kI16:
      return data<int16_t>()[i];
    case DType::kU16:
      return data<uint16_t>()[i];
    case DType::kI32:
      return data<int32_t>()[i];
    case DType::kU32:
      return data<uint32_t>()[i];
    case DType::kI64:
      return data<int64_t>()[i];
    case DType::kU64:
      return static_cast<int64_t>(data<uint64_t>()[i]);
    default: {
      // Out-of-range conversions saturate; NaN becomes 0.
      double value = at_f64(i);
      if (std::isnan(value)) return 0;
      if (value >= 0x1p63) return std::numeric_limits<int64_t>::max();
      if (value < -0x1p63) return std::numeric_limits<int64_t>::min();
      return static_cast<int64_t>(value);
    }
  }
}

void Tensor::set_f64(int64_t i, double value) {
  switch (dtype_) {
    case DType::kF32:
      data<float>()[i] = static_cast<float>(value);
      break;
    case DType::kF64:
      data<double>()[i] = value;
      break;
    case DType::kF16:
      data<uint16_t>()[i] = f32_to_f16(static_cast<float>(value));
      break;
    case DType::kBF16:
      data<uint16_t>()[i] = f32_to_bf16(static_cast<float>(value));
      break;
    case DType::kBool:
      data<uint8_t>()[i] = value != 0;
      break;
    default:
      if (std::isnan(value)) {
        set_i64(i, 0);
      } else if (value >= 0x1p63) {
        set_i64(i, dtype_ == DType::kU64 && value < 0x1p64
                       ? static_cast<int64_t>(static_cast<uint64_t>(value))
                       : std::numeric_limits<int64_t>::max());
      } else if (value < -0x1p63) {
        set_i64(i, std::numeric_limits<int64_t>::min());
      } else {
        set_i64(i, static_cast<int64_t>(value));
      }
  }
}

void Tensor::set_i64(int64_t i, int64_t value) {
  switch (dtype_) {
    case DType::kBool:
      data<uint8_t>()[i] = value != 0;
      break;
    case DType::kU8:
    case DType::kI8:
      data<uint8_t>()[i] = static_cast<uint8_t>(value);
      break;
    case DType::kI16:
    case DType::kU16:
      data<uint16_t>()[i] = static_cast<uint16_t>(value);
      break;
    case DType::kI32:
    case DType::kU32:
      data<uint32_t>()[i] = static_cast<uint32_t>(value);
      break;
    case DType::kI64:
    case DType::kU64:
      data<int64_t>()[i] = value;
      break;
    default:
      set_f64(i, static_cast<double>(value));
  }
}

}  // namespace corf
