// Means of bytes, of which ONNX Runtime has the operator's text but no implementation: against
// values worked out by hand.
#include <gtest/gtest.h>

#include "tests/onnx/model_builder.h"

namespace corf {
namespace {

/// Of [[0, 2], [4, 8]], which stand for [[-1, 0], [1, 3]].
Tensor mean(double scale, const ModelBuilder::Attributes& attributes) {
  ModelBuilder model;
  model.input("x", {2, 2}, onnx_proto::TensorProto::UINT8);
  const auto byte = [](uint8_t value) {
    return make_tensor<uint8_t>({}, std::vector<uint8_t>{value});
  };
  model.floats("x_scale", {}, {0.5F}).initializer("x_zero", byte(2));
  model.floats("y_scale", {}, {static_cast<float>(scale)}).initializer("y_zero", byte(10));
  model.node("QLinearReduceMean", {"x", "x_scale", "x_zero", "y_scale", "y_zero"}, {"y"},
             attributes);
  model.proto.mutable_graph()->mutable_node(0)->set_domain("com.microsoft");
  model.output("y");
  const auto results = model.run({make_tensor<uint8_t>({2, 2}, std::vector<uint8_t>{0, 2, 4, 8})});
  EXPECT_TRUE(results) << results.error().message;
  return results ? (*results)[0] : Tensor(DType::kU8, {0});
}

void expect_bytes(const Tensor& y, const Shape& shape, const std::vector<int64_t>& expected) {
  ASSERT_EQ(y.dtype(), DType::kU8);
  ASSERT_EQ(y.shape(), shape);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(y.at_i64(static_cast<int64_t>(i)), expected[i]) << "element " << i;
  }
}

using Ints = std::vector<int64_t>;

TEST(QuantizedMeans, AreRoundedToEvenAndSaturated) {
  // -0.5 and 2.
  expect_bytes(mean(0.25, {{"axes", Ints{1}}, {"keepdims", int64_t{0}}}), {2}, {8, 18});
  expect_bytes(mean(1, {{"axes", Ints{-1}}}), {2, 1}, {10, 12});
  expect_bytes(mean(0.005, {{"axes", Ints{1}}}), {2, 1}, {0, 255});
}

TEST(QuantizedMeans, AreOfAllAxesWhereNoneIsNamed) {
  expect_bytes(mean(0.25, {}), {1, 1}, {13});  // 0.75
  expect_bytes(mean(0.25, {{"keepdims", int64_t{0}}}), {}, {13});
}

}  // namespace
}  // namespace corf
