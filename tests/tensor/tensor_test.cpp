#include "tensor/tensor.h"

#include <gtest/gtest.h>
#include <limits>

namespace corf {
namespace {

TEST(Shape, CountsElementsWithoutOverflow) {
  EXPECT_EQ(*checked_num_elems({}), 1);
  EXPECT_EQ(*checked_num_elems({2, 3, 4}), 24);
  EXPECT_EQ(*checked_num_elems({2, 0, 4}), 0);
  EXPECT_EQ(checked_num_elems({2, -1}).error().code, ErrorCode::kInvalidModel);
  EXPECT_FALSE(checked_num_elems({int64_t{1} << 40, int64_t{1} << 40}).ok());
  EXPECT_FALSE(checked_num_elems({0, int64_t{1} << 40, int64_t{1} << 40}).ok());
  EXPECT_EQ(to_string(Shape{1, 3, 224}), "1x3x224");
  EXPECT_EQ(to_string(Shape{}), "scalar");
  EXPECT_EQ(row_major_strides({2, 3, 4}), (std::vector<int64_t>{12, 4, 1}));
}

TEST(Tensor, IsZeroFilledAlignedAndShared) {
  Tensor tensor(DType::kF32, {3, 5});
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.bytes()) % 64, 0u);
  for (float value : tensor.elems<float>()) EXPECT_EQ(value, 0);
  tensor.data<float>()[7] = 2;
  Tensor other = tensor.reshaped({5, 3});
  EXPECT_EQ(other.bytes(), tensor.bytes());
  EXPECT_EQ(other.at_f64(7), 2);
  EXPECT_EQ(other.shape(), (Shape{5, 3}));
}

TEST(Tensor, KeepsLargeIntegersExactly) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  Tensor tensor(DType::kI64, {1});
  tensor.set_i64(0, kMax);
  EXPECT_EQ(tensor.at_i64(0), kMax);
  Tensor wide(DType::kU64, {1});
  wide.set_i64(0, -1);
  EXPECT_EQ(wide.at_f64(0), 0x1p64);
}

TEST(Tensor, ConvertsBetweenTypes) {
  for (DType dtype : {DType::kF16, DType::kBF16, DType::kF32, DType::kF64, DType::kI8, DType::kI16,
                      DType::kI32, DType::kI64}) {
    Tensor tensor(dtype, {2});
    tensor.set_f64(1, -5);
    EXPECT_EQ(tensor.at_f64(1), -5) << to_string(dtype);
    EXPECT_EQ(tensor.at_i64(1), -5) << to_string(dtype);
    EXPECT_EQ(tensor.at_i64(0), 0) << to_string(dtype);
  }
  Tensor floats(DType::kF64, {2});
  floats.set_f64(0, 1e300);
  floats.set_f64(1, std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(floats.at_i64(0), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(floats.at_i64(1), 0);
}

}  // namespace
}  // namespace corf
