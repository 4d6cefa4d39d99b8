// A convolution with channels last, against values worked out by hand: ONNX Runtime has it on other
// devices only.
#include <gtest/gtest.h>

#include "tests/onnx/model_builder.h"

namespace corf {
namespace {

TEST(NhwcConv, TakesAndGivesChannelsLast) {
  ModelBuilder builder(17);
  builder.input("x", {1, 1, 2, 2}).floats("w", {1, 2, 1, 1}, {10, 1}).floats("b", {1}, {100});
  builder.node("NhwcConv", {"x", "w", "b"}, {"y"}).output("y");
  builder.proto.mutable_graph()->mutable_node(0)->set_domain("com.microsoft");
  auto results = builder.run({floats({1, 1, 2, 2}, {1, 2, 3, 4})});
  ASSERT_TRUE(results.ok()) << results.error().message;
  EXPECT_EQ((*results)[0].shape(), (Shape{1, 1, 2, 1}));
  EXPECT_EQ(values_of((*results)[0]), (std::vector<double>{112, 134}));
}

}  // namespace
}  // namespace corf
