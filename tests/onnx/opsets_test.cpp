// What operators meant in old opsets, and which opsets know an operator at all.
#include <gtest/gtest.h>

#include "tests/onnx/model_builder.h"

namespace corf {
namespace {

using Ints = std::vector<int64_t>;
using Doubles = std::vector<double>;

/// y = op(x0, x1, ...) in one opset; the inputs behind the first `num_open` are initialisers.
struct Case {
  int64_t opset = 1;
  std::string op;
  std::vector<Tensor> inputs;
  ModelBuilder::Attributes attributes = {};
  size_t num_open = 100;
};

ModelBuilder build(const Case& test) {
  ModelBuilder builder(test.opset);
  std::vector<std::string> names;
  for (const Tensor& input : test.inputs) {
    const std::string name = "x" + std::to_string(names.size());
    if (names.size() < test.num_open) {
      builder.input(name, {input.shape().begin(), input.shape().end()});
    } else {
      builder.initializer(name, input);
    }
    names.push_back(name);
  }
  return builder.node(test.op, names, {"y"}, test.attributes).output("y");
}

void expect_values(const Case& test, const Shape& shape, const Doubles& expected) {
  std::vector<Tensor> inputs = test.inputs;
  inputs.resize(std::min(inputs.size(), test.num_open));
  auto results = build(test).run(inputs);
  ASSERT_TRUE(results.ok()) << test.op << ": " << results.error().message;
  EXPECT_EQ((*results)[0].shape(), shape) << test.op;
  EXPECT_EQ(values_of((*results)[0]), expected) << test.op;
}

void expect_error(const Case& test, ErrorCode code, const std::string& says) {
  auto graph = build(test).import();
  ASSERT_FALSE(graph.ok()) << test.op;
  EXPECT_EQ(graph.error().code, code) << graph.error().message;
  EXPECT_NE(graph.error().message.find(says), std::string::npos) << graph.error().message;
}

TEST(Opsets, FromTheFirstToTheLastAreAccepted) {
  const Tensor x = floats({1, 1, 2}, {-1, 2}), w = floats({1, 1, 1}, {3});
  for (int64_t opset = 1; opset <= 28; ++opset) {
    SCOPED_TRACE(opset);
    expect_values({opset, "Relu", {x}}, {1, 1, 2}, {0, 2});
    expect_values({opset, "Conv", {x, w}}, {1, 1, 2}, {-3, 6});
  }
  expect_error({29, "Relu", {x}}, ErrorCode::kUnsupported, "opset 29; 1 to 28 are supported");
}

TEST(Opsets, AnOperatorIsNamedWithTheOpsetsThatKnowIt) {
  const Tensor x = floats({2}, {-1, 2});
  expect_error({23, "Swish", {x}}, ErrorCode::kUnsupported, "supported in opsets 24 to 28");
  expect_error({10, "Upsample", {x}}, ErrorCode::kUnsupported, "supported in opsets 1 to 9");
  expect_error({28, "ImageDecoder", {x}}, ErrorCode::kUnsupported, "the operator is not supported");
}

TEST(Opsets, BroadcastingWasAnAttributeBefore7) {
  const Tensor a = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  const ModelBuilder::Attributes rows = {{"broadcast", int64_t{1}}, {"axis", int64_t{0}}};
  const ModelBuilder::Attributes last = {{"broadcast", int64_t{1}}};
  expect_values({6, "Add", {a, floats({2}, {10, 20})}, rows}, {2, 3}, {11, 12, 13, 24, 25, 26});
  expect_values({1, "Mul", {a, floats({3}, {1, 10, 100})}, last}, {2, 3}, {1, 20, 300, 4, 50, 600});
  expect_values({6, "Sub", {a, a}}, {2, 3}, {0, 0, 0, 0, 0, 0});
  expect_values({6, "Pow", {a, floats({2}, {1, 2})}, rows}, {2, 3}, {1, 2, 3, 16, 25, 36});
  expect_values({6, "Greater", {a, floats({2}, {2, 4})}, rows}, {2, 3}, {0, 0, 1, 0, 1, 1});
  expect_error({6, "Add", {a, floats({3}, {1, 2, 3})}}, ErrorCode::kInvalidModel, "'broadcast'");
  expect_error({6, "Add", {a, floats({2, 2}, {1, 2, 3, 4})}, rows}, ErrorCode::kInvalidModel,
               "do not broadcast");
}

TEST(Opsets, ShapesWereAttributes) {
  const Tensor a = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  expect_values({4, "Reshape", {a}, {{"shape", Ints{3, -1}}}}, {3, 2}, {1, 2, 3, 4, 5, 6});
  expect_values({1, "Pad", {floats({2}, {1, 2})}, {{"paddings", Ints{1, 0}}, {"value", 9.0}}}, {3},
                {9, 1, 2});
  expect_values({1, "Tile", {floats({1, 2}, {1, 2}), floats({1}, {2}), floats({1}, {1})}, {}, 1},
                {1, 4}, {1, 2, 1, 2});
  expect_values({1, "Split", {floats({2}, {1, 2})}, {{"axis", int64_t{0}}, {"split", Ints{2}}}},
                {2}, {1, 2});
  expect_values({1,
                 "Upsample",
                 {floats({1, 1, 1, 2}, {1, 2})},
                 {{"height_scale", 2.0}, {"width_scale", 1.0}}},
                {1, 1, 2, 2}, {1, 2, 1, 2});
}

TEST(Opsets, TypesWereNamedInCasts) {
  expect_values({5, "Cast", {floats({2}, {1.5, -2.5})}, {{"to", std::string("INT32")}}}, {2},
                {1, -2});
  expect_error({5, "Cast", {floats({1}, {1})}, {{"to", std::string("WORD")}}},
               ErrorCode::kUnsupported, "'WORD'");
}

TEST(Opsets, OnlyInferenceIsSupported) {
  const Tensor x = floats({1, 2, 1}, {1, 2}), ones = floats({2}, {1, 1}),
               zeros = floats({2}, {0, 0});
  const Case norm = {6,
                     "BatchNormalization",
                     {x, ones, ones, zeros, ones},
                     {{"is_test", int64_t{1}}, {"epsilon", 0.0}}};
  expect_values(norm, {1, 2, 1}, {2, 3});
  Case training = norm;
  training.attributes.erase(training.attributes.begin());
  expect_error(training, ErrorCode::kUnsupported, "training");
  expect_values({6, "Dropout", {x}, {{"is_test", int64_t{1}}}}, {1, 2, 1}, {1, 2});
  expect_error({6, "Dropout", {x}}, ErrorCode::kUnsupported, "training");
}

TEST(Opsets, SlopesBelongedToChannelsAndExponentsWereFloats) {
  expect_values({6, "PRelu", {floats({1, 2, 2}, {-1, 1, -1, 1}), floats({2}, {2, 3})}}, {1, 2, 2},
                {-2, 1, -3, 1});
  expect_values({1, "GlobalLpPool", {floats({1, 1, 2}, {3, -4})}, {{"p", 2.0}}}, {1, 1, 1}, {5});
}

}  // namespace
}  // namespace corf
