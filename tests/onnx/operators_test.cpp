// Operators against values worked out by hand, over the variants that opsets give them.
// Longer than 500 lines because it holds the cases of all operators.
#include <cmath>
#include <gtest/gtest.h>

#include "tests/onnx/model_builder.h"

namespace corf {
namespace {

using Ints = std::vector<int64_t>;
using Doubles = std::vector<double>;

std::vector<ModelBuilder::Dim> dims(const Shape& shape) { return {shape.begin(), shape.end()}; }

/// Result of one node: float inputs x0, x1, ..., then whatever `more` names.
struct OneNode {
  std::string op;
  std::vector<Tensor> inputs;
  ModelBuilder::Attributes attributes = {};
  int64_t opset = 17;
  std::vector<std::pair<std::string, Ints>> more = {};  // known integers, "" for none
  int num_outputs = 1;
};

std::vector<Tensor> run(const OneNode& test) {
  ModelBuilder builder(test.opset);
  std::vector<std::string> names;
  for (const Tensor& input : test.inputs) {
    names.push_back("x" + std::to_string(names.size()));
    builder.input(names.back(), dims(input.shape()));
  }
  for (const auto& [name, values] : test.more) {
    names.push_back(name);
    if (!name.empty()) builder.ints(name, values);
  }
  std::vector<std::string> outputs;
  for (int i = 0; i < test.num_outputs; ++i) outputs.push_back("y" + std::to_string(i));
  builder.node(test.op, names, outputs, test.attributes);
  for (const std::string& name : outputs) builder.output(name);
  auto results = builder.run(test.inputs);
  EXPECT_TRUE(results.ok()) << test.op << ": " << results.error().message;
  if (!results.ok()) return std::vector<Tensor>(test.num_outputs);
  return *results;
}

void expect_values(const OneNode& test, const Shape& shape, const Doubles& expected) {
  Tensor y = run(test)[0];
  EXPECT_EQ(y.shape(), shape) << test.op;
  Doubles actual = values_of(y);
  ASSERT_EQ(actual.size(), expected.size()) << test.op;
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], 1e-6 * std::max(1.0, std::abs(expected[i])))
        << test.op << " element " << i;
  }
}

Tensor counting(Shape shape) {  // 1, 2, 3, ...
  Tensor tensor(DType::kF32, std::move(shape));
  for (int64_t i = 0; i < tensor.num_elems(); ++i) tensor.set_f64(i, static_cast<double>(i + 1));
  return tensor;
}

Tensor filled_bytes(const std::vector<uint8_t>& values) {  // a scalar if there is one value
  Shape shape = values.size() == 1 ? Shape{} : Shape{static_cast<int64_t>(values.size())};
  return make_tensor<uint8_t>(shape, values);
}

TEST(Operators, ConvWithBiasAndPadding) {
  Tensor w = floats({1, 1, 3, 3}, {0, 0, 0, 0, 1, 0, 0, 0, 1});
  expect_values(
      {"Conv", {counting({1, 1, 2, 2}), w, floats({1}, {10})}, {{"pads", Ints{1, 1, 1, 1}}}},
      {1, 1, 2, 2}, {15, 12, 13, 14});
}

TEST(Operators, ConvAutoPadPutsTheOddElementWhereItSays) {
  Tensor w = floats({1, 1, 2}, {1, 10});
  Tensor x = counting({1, 1, 3});
  expect_values({"Conv", {x, w}, {{"auto_pad", std::string("SAME_UPPER")}}}, {1, 1, 3},
                {21, 32, 3});
  expect_values({"Conv", {x, w}, {{"auto_pad", std::string("SAME_LOWER")}}}, {1, 1, 3},
                {10, 21, 32});
  expect_values({"Conv", {x, w}, {{"auto_pad", std::string("VALID")}}}, {1, 1, 2}, {21, 32});
}

TEST(Operators, ConvTransposeScatters) {
  expect_values({"ConvTranspose",
                 {counting({1, 1, 2}), floats({1, 1, 3}, {1, 10, 100})},
                 {{"strides", Ints{2}}}},
                {1, 1, 5}, {1, 10, 102, 20, 200});
  expect_values({"ConvTranspose",
                 {counting({1, 1, 2}), floats({1, 1, 3}, {1, 10, 100})},
                 {{"strides", Ints{2}}, {"pads", Ints{1, 1}}, {"output_padding", Ints{1}}}},
                {1, 1, 4}, {10, 102, 20, 200});
}

TEST(Operators, PoolsCountAndPadAsTold) {
  Tensor x = counting({1, 1, 4});
  expect_values({"MaxPool", {x}, {{"kernel_shape", Ints{2}}, {"strides", Ints{2}}}}, {1, 1, 2},
                {2, 4});
  expect_values({"MaxPool",
                 {x},
                 {{"kernel_shape", Ints{3}}, {"strides", Ints{2}}, {"ceil_mode", int64_t{1}}}},
                {1, 1, 2}, {3, 4});
  ModelBuilder::Attributes padded = {{"kernel_shape", Ints{3}}, {"pads", Ints{1, 1}}};
  expect_values({"AveragePool", {x}, padded}, {1, 1, 4}, {1.5, 2, 3, 3.5});
  padded.push_back({"count_include_pad", int64_t{1}});
  expect_values({"AveragePool", {x}, padded}, {1, 1, 4}, {1, 2, 3, 7.0 / 3});
  expect_values({"LpPool", {floats({1, 1, 2}, {-3, 4})}, {{"kernel_shape", Ints{2}}}}, {1, 1, 1},
                {5});
  expect_values({"GlobalAveragePool", {counting({1, 2, 2, 2})}}, {1, 2, 1, 1}, {2.5, 6.5});
  expect_values({"GlobalMaxPool", {counting({1, 2, 2, 2})}}, {1, 2, 1, 1}, {4, 8});
}

/// 5 x 5 windows over 6 x 7, beyond all edges; strides 1 and 2.
TEST(Operators, LargeWindowsArePooledDimensionByDimension) {
  const int64_t h = 6, w = 7;
  Tensor x(DType::kF32, {1, 1, h, w});
  for (int64_t i = 0; i < h * w; ++i) x.set_f64(i, static_cast<double>(i * 29 % 41) - 20);
  for (int64_t stride : {1, 2}) {
    const int64_t oh = (h - 1) / stride + 1, ow = (w - 1) / stride + 1;
    Doubles largest, mean;
    for (int64_t i = 0; i < oh * ow; ++i) {
      double most = -1e30, sum = 0, count = 0;
      for (int64_t k = 0; k < 25; ++k) {
        const int64_t row = i / ow * stride + k / 5 - 2, column = i % ow * stride + k % 5 - 2;
        if (row < 0 || row >= h || column < 0 || column >= w) continue;
        most = std::max(most, x.at_f64(row * w + column));
        sum += x.at_f64(row * w + column);
        ++count;
      }
      largest.push_back(most);
      mean.push_back(sum / count);
    }
    const ModelBuilder::Attributes window = {{"kernel_shape", Ints{5, 5}},
                                             {"pads", Ints{2, 2, 2, 2}},
                                             {"strides", Ints{stride, stride}}};
    expect_values({"MaxPool", {x}, window}, {1, 1, oh, ow}, largest);
    expect_values({"AveragePool", {x}, window}, {1, 1, oh, ow}, mean);
  }
}

/// Around the lengths at which sums come in blocks of 16, and blocks of blocks.
TEST(Operators, CumSumOfAnyLength) {
  for (int64_t length : {1, 31, 32, 33, 48, 100, 600}) {
    for (int64_t how = 0; how < 4; ++how) {
      const bool exclusive = how % 2 != 0, reverse = how / 2 != 0;
      const Tensor x = counting({2, length, 3});
      Doubles expected(static_cast<size_t>(x.num_elems()));
      for (int64_t outer = 0; outer < 2; ++outer) {
        for (int64_t inner = 0; inner < 3; ++inner) {
          double sum = 0;
          for (int64_t step = 0; step < length; ++step) {
            const int64_t i = reverse ? length - 1 - step : step;
            const int64_t at = (outer * length + i) * 3 + inner;
            expected[at] = exclusive ? sum : sum + x.at_f64(at);
            sum += x.at_f64(at);
          }
        }
      }
      expect_values({"CumSum",
                     {x},
                     {{"exclusive", int64_t{exclusive}}, {"reverse", int64_t{reverse}}},
                     17,
                     {{"axis", Ints{1}}}},
                    {2, length, 3}, expected);
    }
  }
}

TEST(Operators, GemmScalesAndTransposes) {
  Tensor a = counting({2, 2});
  Tensor b = floats({2, 2}, {1, 0, 0, 1});
  expect_values({"Gemm",
                 {a, b, floats({2}, {10, 20})},
                 {{"alpha", 2.0}, {"beta", 0.5}, {"transA", int64_t{1}}}},
                {2, 2}, {7, 16, 9, 18});
  expect_values({"MatMul", {counting({2, 1, 2}), counting({2})}}, {2, 1}, {5, 11});
}

TEST(Operators, EinsumIsAnyContraction) {
  Tensor a = counting({2, 2});
  expect_values({"Einsum", {a, a}, {{"equation", std::string("ij,kj->ik")}}}, {2, 2},
                {5, 11, 11, 25});
  expect_values({"Einsum", {a}, {{"equation", std::string("ii")}}}, {}, {5});
  expect_values({"Einsum", {a}, {{"equation", std::string("...j->j...")}}}, {2, 2}, {1, 3, 2, 4});
  expect_values({"Einsum", {a, a}, {{"equation", std::string("ij,jk")}}}, {2, 2}, {7, 10, 15, 22});
}

TEST(Operators, ClipTakesAttributesOrInputs) {
  Tensor x = floats({3}, {-5, 1, 5});
  expect_values({"Clip", {x}, {{"min", -1.0}, {"max", 2.0}}, 6 + 1}, {3}, {-1, 1, 2});
  ModelBuilder builder(13);
  builder.input("x", {3}).floats("hi", {}, {2}).node("Clip", {"x", "", "hi"}, {"y"}).output("y");
  auto outputs = builder.run({x});
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  EXPECT_EQ(values_of((*outputs)[0]), (Doubles{-5, 1, 2}));
}

TEST(Operators, ClipsBoundsAreFiniteByDefaultBeforeOpset11) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr double kLargest = std::numeric_limits<float>::max();
  const Tensor x = floats({3}, {-kInfinity, 1, kInfinity});
  expect_values({"Clip", {x}, {}, 6}, {3}, {-kLargest, 1, kLargest});
  expect_values({"Clip", {x}, {{"min", 0.0}}, 10}, {3}, {0, 1, kLargest});
  EXPECT_EQ(values_of(run({"Clip", {x}, {{"max", 0.0}}, 1})[0]), (Doubles{-kInfinity, 0, 0}));
}

TEST(Operators, NanIsTheLargestAndTheSmallest) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = floats({3, 3}, {1, kNan, 3, kNan, kNan, 1, 3, 3, 1});
  const auto with = [](int64_t last) {
    return ModelBuilder::Attributes{
        {"axis", int64_t{1}}, {"keepdims", int64_t{0}}, {"select_last_index", last}};
  };
  expect_values({"ArgMax", {x}, with(0), 13}, {3}, {1, 0, 0});
  expect_values({"ArgMax", {x}, with(1), 13}, {3}, {1, 1, 1});
  expect_values({"ArgMin", {x}, with(0), 13}, {3}, {1, 0, 2});
  expect_values({"ArgMin", {x}, with(1), 13}, {3}, {1, 1, 2});
}

TEST(Operators, FoldedQuotientsAreRoundedAsInARun) {
  // 0.5 divided by the scale is a tie in float32 and less than one in float64.
  ModelBuilder builder(13);
  builder.floats("x", {6}, {0, 2, -3, -2.5, 1.34F, 0.5});
  builder.node("DynamicQuantizeLinear", {"x"}, {"y", "scale", "zero"}).output("y");
  auto outputs = builder.run({});
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  EXPECT_EQ(values_of((*outputs)[0]), (Doubles{153, 255, 0, 26, 221, 179}));
}

TEST(Operators, NothingOverflowsInsideOfAFoldedMeanOfHalves) {
  Tensor x(DType::kF16, {300});
  for (int64_t i = 0; i < 300; ++i) x.set_f64(i, 300);
  Tensor axis = make_tensor<int64_t>({1}, std::vector<int64_t>{0});
  ModelBuilder builder(18);
  builder.initializer("x", x).initializer("axes", axis);
  builder.node("ReduceMean", {"x", "axes"}, {"y"}).output("y");
  auto outputs = builder.run({});
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  EXPECT_EQ(values_of((*outputs)[0]), Doubles{300});
}

TEST(Operators, WindowsOfOneElement) {
  expect_values({"HammingWindow", {}, {}, 17, {{"size", {1}}}}, {1}, {25.0 / 46 - 21.0 / 46});
  expect_values({"HannWindow", {}, {{"periodic", int64_t{0}}}, 17, {{"size", {1}}}}, {1}, {1});
}

TEST(Operators, DropoutThatDropsNothing) {
  ModelBuilder builder(13);
  Tensor yes(DType::kBool, {});
  yes.set_i64(0, 1);
  builder.input("x", {3}).floats("ratio", {}, {0}).initializer("train", yes);
  builder.node("Dropout", {"x", "ratio", "train"}, {"y", "mask"}).output("y").output("mask");
  auto outputs = builder.run({floats({3}, {1, 2, 3})});
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  EXPECT_EQ(values_of((*outputs)[0]), (Doubles{1, 2, 3}));
  EXPECT_EQ(values_of((*outputs)[1]), (Doubles{1, 1, 1}));
}

TEST(Operators, ActivationsFollowTheirFormulas) {
  Tensor x = floats({3}, {-2, 0, 3});
  auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  expect_values({"Relu", {x}}, {3}, {0, 0, 3});
  expect_values({"LeakyRelu", {x}, {{"alpha", 0.5}}}, {3}, {-1, 0, 3});
  expect_values({"HardSwish", {x}}, {3}, {-2.0 * (0.5 - 1.0 / 3), 0, 3});
  expect_values({"HardSigmoid", {x}}, {3}, {0.1, 0.5, 1});
  expect_values({"Elu", {x}}, {3}, {std::exp(-2.0) - 1, 0, 3});
  expect_values({"Sigmoid", {x}}, {3}, {sigmoid(-2), 0.5, sigmoid(3)});
  expect_values({"Softplus", {x}}, {3},
                {std::log1p(std::exp(-2.0)), std::log(2.0), 3 + std::log1p(std::exp(-3.0))});
  expect_values(
      {"Gelu", {x}, {}, 20}, {3},
      {-1 * (1 + std::erf(-2 / std::sqrt(2.0))), 0, 1.5 * (1 + std::erf(3 / std::sqrt(2.0)))});
  expect_values({"PRelu", {x, floats({1}, {0.25})}}, {3}, {-0.5, 0, 3});
}

TEST(Operators, SoftplusAndLogSumExpDoNotOverflow) {
  expect_values({"Softplus", {floats({1}, {1000})}}, {1}, {1000});
  expect_values({"ReduceLogSumExp", {floats({2}, {1000, 1000})}}, {1}, {1000 + std::log(2.0)});
}

TEST(Operators, SoftmaxFlattensBeforeOpset13) {
  Tensor x = floats({1, 2, 2}, {0, 0, 0, 0});
  expect_values({"Softmax", {x}, {{"axis", int64_t{1}}}, 12}, {1, 2, 2}, {0.25, 0.25, 0.25, 0.25});
  expect_values({"Softmax", {x}, {{"axis", int64_t{1}}}, 13}, {1, 2, 2}, {0.5, 0.5, 0.5, 0.5});
  expect_values({"LogSoftmax", {x}}, {1, 2, 2},
                {-std::log(2.0), -std::log(2.0), -std::log(2.0), -std::log(2.0)});
}

TEST(Operators, BatchNormalizationFoldsItsConstants) {
  ModelBuilder builder;
  builder.input("x", {1, 2, 1, 2}).floats("s", {2}, {2, 1}).floats("b", {2}, {1, 0});
  builder.floats("m", {2}, {1, 2}).floats("v", {2}, {4, 1});
  builder.node("BatchNormalization", {"x", "s", "b", "m", "v"}, {"y"}, {{"epsilon", 0.0}});
  builder.output("y");
  auto graph = builder.import();
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  EXPECT_EQ(graph->nodes.size(), 4U) << "input, scale, shift and one element-wise node";
  auto outputs = graph::evaluate(*graph, {counting({1, 2, 1, 2})}, {.round_to_dtype = true});
  ASSERT_TRUE(outputs.ok());
  EXPECT_EQ(values_of((*outputs)[0]), (Doubles{1, 2, 1, 2}));
}

TEST(Operators, NormalizationsCentreAndScale) {
  Tensor x = floats({1, 2, 2}, {1, 3, 10, 30});
  ModelBuilder::Attributes exact = {{"epsilon", 0.0}};
  expect_values({"LayerNormalization", {x, floats({2}, {1, 2}), floats({2}, {0, 5})}, exact},
                {1, 2, 2}, {-1, 7, -1, 7});
  expect_values({"InstanceNormalization", {x, floats({2}, {1, 2}), floats({2}, {0, 5})}, exact},
                {1, 2, 2}, {-1, 1, 3, 7});
  expect_values({"LRN",
                 {floats({1, 2, 1}, {1, 2})},
                 {{"size", int64_t{3}}, {"alpha", 3.0}, {"beta", 1.0}, {"bias", 1.0}}},
                {1, 2, 1}, {1.0 / 6, 2.0 / 6});
  expect_values({"RMSNormalization", {floats({1, 2}, {3, 4}), floats({2}, {1, 1})}, exact, 23},
                {1, 2}, {3 / std::sqrt(12.5), 4 / std::sqrt(12.5)});
}

TEST(Operators, ReductionsTakeAxesAsAttributeOrInput) {
  Tensor x = counting({2, 3});
  expect_values({"ReduceSum", {x}, {{"axes", Ints{1}}}, 11}, {2, 1}, {6, 15});
  expect_values({"ReduceSum", {x}, {{"keepdims", int64_t{0}}}, 13, {{"axes", {0}}}}, {3},
                {5, 7, 9});
  expect_values({"ReduceMean", {x}, {{"axes", Ints{-1}}, {"keepdims", int64_t{0}}}}, {2}, {2, 5});
  expect_values({"ReduceMax", {x}}, {1, 1}, {6});
  expect_values({"ReduceL2", {floats({2}, {3, 4})}}, {1}, {5});
  expect_values({"ReduceSum", {x}, {{"noop_with_empty_axes", int64_t{1}}}, 13}, {2, 3},
                {1, 2, 3, 4, 5, 6});
  Tensor arg = run({"ArgMax", {floats({3}, {1, 7, 7})}})[0];
  EXPECT_EQ(values_of(arg), Doubles{1});
  EXPECT_EQ(arg.dtype(), DType::kI64);
  expect_values({"CumSum", {x}, {{"exclusive", int64_t{1}}}, 17, {{"axis", {1}}}}, {2, 3},
                {0, 1, 3, 0, 4, 9});
}

TEST(Operators, ViewsKeepElements) {
  Tensor x = counting({2, 3});
  expect_values({"Transpose", {x}}, {3, 2}, {1, 4, 2, 5, 3, 6});
  expect_values({"Reshape", {x}, {}, 17, {{"shape", {0, -1, 1}}}}, {2, 3, 1}, {1, 2, 3, 4, 5, 6});
  expect_values({"Squeeze", {counting({1, 2, 1})}, {{"axes", Ints{0}}}, 11}, {2, 1}, {1, 2});
  expect_values({"Squeeze", {counting({1, 2, 1})}, {}, 13, {{"axes", {-1}}}}, {1, 2}, {1, 2});
  expect_values({"Unsqueeze", {counting({2})}, {}, 13, {{"axes", {0, 2}}}}, {1, 2, 1}, {1, 2});
  expect_values({"Slice", {x}, {{"starts", Ints{1}}, {"ends", Ints{99}}, {"axes", Ints{1}}}, 9},
                {2, 2}, {2, 3, 5, 6});
  expect_values({"Slice",
                 {x},
                 {},
                 17,
                 {{"starts", {-1}}, {"ends", {INT64_MIN}}, {"axes", {1}}, {"steps", {-2}}}},
                {2, 2}, {3, 1, 6, 4});
  expect_values({"Tile", {x}, {}, 17, {{"repeats", {1, 2}}}}, {2, 6},
                {1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6});
  expect_values({"Expand", {counting({2, 1})}, {}, 17, {{"shape", {3, 1, 2}}}}, {3, 2, 2},
                {1, 1, 2, 2, 1, 1, 2, 2, 1, 1, 2, 2});
  expect_values({"DepthToSpace", {counting({1, 4, 1, 1})}, {{"blocksize", int64_t{2}}}},
                {1, 1, 2, 2}, {1, 2, 3, 4});
}

TEST(Operators, PadModes) {
  Tensor x = counting({3});
  expect_values({"Pad", {x}, {}, 17, {{"pads", {1, 2}}}}, {6}, {0, 1, 2, 3, 0, 0});
  expect_values({"Pad", {x}, {{"pads", Ints{1, 0}}, {"value", 9.0}}, 10}, {4}, {9, 1, 2, 3});
  expect_values({"Pad", {x}, {{"mode", std::string("reflect")}}, 17, {{"pads", {2, 2}}}}, {7},
                {3, 2, 1, 2, 3, 2, 1});
  expect_values({"Pad", {x}, {{"mode", std::string("edge")}}, 17, {{"pads", {1, 1}}}}, {5},
                {1, 1, 2, 3, 3});
  expect_values({"Pad", {x}, {}, 17, {{"pads", {-1, 1}}}}, {3}, {2, 3, 0});
}

TEST(Operators, SplitsEvenlyOrAsTold) {
  auto parts = run({"Split", {counting({5})}, {{"num_outputs", int64_t{2}}}, 18, {}, 2});
  EXPECT_EQ(values_of(parts[0]), (Doubles{1, 2, 3}));
  EXPECT_EQ(values_of(parts[1]), (Doubles{4, 5}));
  parts = run({"Split", {counting({5})}, {{"split", Ints{1, 4}}}, 11, {}, 2});
  EXPECT_EQ(values_of(parts[1]), (Doubles{2, 3, 4, 5}));
}

TEST(Operators, GathersWithNegativeIndices) {
  Tensor x = counting({2, 3});
  expect_values({"Gather", {x}, {{"axis", int64_t{1}}}, 17, {{"i", {-1, 0}}}}, {2, 2},
                {3, 1, 6, 4});
  ModelBuilder builder;
  builder.input("x", {2, 3});
  int64_t ids[] = {2, -3, 1, 0};
  builder.initializer("i", make_tensor<int64_t>({2, 2}, std::span<const int64_t>(ids)));
  builder.node("GatherElements", {"x", "i"}, {"y"}, {{"axis", int64_t{1}}}).output("y");
  builder.node("GatherND", {"x", "j"}, {"z"}).output("z");
  int64_t pairs[] = {1, 2, 0, -1};
  builder.initializer("j", make_tensor<int64_t>({2, 2}, std::span<const int64_t>(pairs)));
  auto outputs = builder.run({x});
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  EXPECT_EQ(values_of((*outputs)[0]), (Doubles{3, 1, 5, 4}));
  EXPECT_EQ(values_of((*outputs)[1]), (Doubles{6, 3}));
}

TEST(Operators, ResizeModes) {
  auto resize = [](const std::string& mode, const std::string& transform, Shape shape,
                   std::vector<float> scales) {
    ModelBuilder builder(13);
    builder.input("x", dims(shape)).floats("s", {static_cast<int64_t>(scales.size())}, scales);
    builder.node("Resize", {"x", "", "s"}, {"y"},
                 {{"mode", mode},
                  {"coordinate_transformation_mode", transform},
                  {"nearest_mode", std::string("floor")}});
    builder.output("y");
    auto outputs = builder.run({counting(shape)});
    EXPECT_TRUE(outputs.ok()) << outputs.error().message;
    return outputs.ok() ? values_of((*outputs)[0]) : Doubles{};
  };
  EXPECT_EQ(resize("nearest", "asymmetric", {1, 1, 2}, {1, 1, 2}), (Doubles{1, 1, 2, 2}));
  EXPECT_EQ(resize("nearest", "asymmetric", {1, 1, 4}, {1, 1, 0.5F}), (Doubles{1, 3}));
  EXPECT_EQ(resize("linear", "half_pixel", {1, 1, 2}, {1, 1, 2}), (Doubles{1, 1.25, 1.75, 2}));
  EXPECT_EQ(resize("linear", "align_corners", {1, 1, 2}, {1, 1, 1.5F}), (Doubles{1, 1.5, 2}));
  EXPECT_EQ(resize("linear", "asymmetric", {1, 2, 2}, {1, 2, 1}),
            (Doubles{1, 2, 2, 3, 3, 4, 3, 4}));
  Doubles cubic = resize("cubic", "half_pixel", {1, 1, 3}, {1, 1, 1});
  EXPECT_EQ(cubic, (Doubles{1, 2, 3}));
}

TEST(Operators, NearestResizeByAnIntegerNeedsNoTable) {
  ModelBuilder builder(13);
  builder.input("x", {1, 8, 4, 4}).floats("s", {4}, {1, 1, 2, 2});
  builder.node("Resize", {"x", "", "s"}, {"y"},
               {{"mode", std::string("nearest")},
                {"coordinate_transformation_mode", std::string("half_pixel")}});
  builder.output("y");
  auto graph = builder.import();
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  EXPECT_EQ(graph->nodes.size(), 2U);
  const auto& compute = std::get<graph::Compute>(graph->nodes[1].op);
  auto name = [](int id) { return fmt::format("v{}", id); };
  EXPECT_EQ(index::to_string(compute.operands[0].map.exprs[2], name), "(v2 floordiv 2)");
}

TEST(Operators, ComparisonsAndChoices) {
  Tensor a = floats({3}, {1, 2, NAN});
  Tensor b = floats({3}, {2, 2, 1});
  EXPECT_EQ(values_of(run({"Less", {a, b}})[0]), (Doubles{1, 0, 0}));
  EXPECT_EQ(values_of(run({"GreaterOrEqual", {a, b}})[0]), (Doubles{0, 1, 0}));
  EXPECT_EQ(values_of(run({"Equal", {a, b}})[0]), (Doubles{0, 1, 0}));
  EXPECT_EQ(values_of(run({"IsNaN", {a}})[0]), (Doubles{0, 0, 1}));
  Tensor max = run({"Max", {a, b}})[0];
  EXPECT_EQ(max.at_f64(0), 2);
  EXPECT_TRUE(std::isnan(max.at_f64(2)));
}

TEST(Operators, DropoutIsNothingInInference) {
  auto outputs = run({"Dropout", {counting({2})}, {}, 12, {}, 2});
  EXPECT_EQ(values_of(outputs[0]), (Doubles{1, 2}));
  EXPECT_EQ(values_of(outputs[1]), (Doubles{1, 1}));
  EXPECT_EQ(outputs[1].dtype(), DType::kBool);
}

TEST(Operators, AttentionSharesKeyHeadsInRuns) {
  // One key, so every query sees its value whole: heads 0 and 1 the first, 2 and 3 the second.
  expect_values({"Attention",
                 {counting({1, 2, 4}), counting({1, 1, 2}), floats({1, 1, 2}, {10, 20})},
                 {{"q_num_heads", int64_t{4}}, {"kv_num_heads", int64_t{2}}},
                 23},
                {1, 2, 4}, {10, 10, 20, 20, 10, 10, 20, 20});
  // Causal: the first query sees the first value only, the second weighs both equally.
  expect_values(
      {"Attention",
       {floats({1, 2, 1}, {0, 0}), floats({1, 2, 1}, {5, 7}), floats({1, 2, 1}, {2, 4})},
       {{"q_num_heads", int64_t{1}}, {"kv_num_heads", int64_t{1}}, {"is_causal", int64_t{1}}},
       23},
      {1, 2, 1}, {2, 3});
}

TEST(Operators, QuantizationRoundsAndSaturates) {
  ModelBuilder builder;
  builder.input("x", {4}).floats("scale", {}, {2});
  builder.initializer("zero", filled_bytes({10}));
  builder.node("QuantizeLinear", {"x", "scale", "zero"}, {"q"});
  builder.node("DequantizeLinear", {"q", "scale", "zero"}, {"y"}).output("q").output("y");
  auto outputs = builder.run({floats({4}, {-100, 1, 3, 1000})});
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  EXPECT_EQ(values_of((*outputs)[0]), (Doubles{0, 10, 12, 255}));
  EXPECT_EQ(values_of((*outputs)[1]), (Doubles{-20, 0, 4, 490}));
}

TEST(Operators, AffineGridsGoFromTheLastDimensionOn) {
  // x -> -x, y -> y + 1.
  const Tensor theta = floats({1, 2, 3}, {-1, 0, 0, 0, 1, 1});
  expect_values(
      {"AffineGrid", {theta}, {{"align_corners", int64_t{1}}}, 20, {{"size", {1, 1, 2, 3}}}},
      {1, 2, 3, 2}, {1, 0, 0, 0, -1, 0, 1, 2, 0, 2, -1, 2});
  expect_values({"AffineGrid", {theta}, {}, 20, {{"size", {1, 1, 1, 2}}}}, {1, 1, 2, 2},
                {0.5, 1, -0.5, 1});
}

TEST(Operators, GridSampleOfMirroredPointsMirrors) {
  const Tensor image = counting({1, 2, 2, 3});
  const Doubles mirrored = {3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10};
  for (const int64_t align_corners : {0, 1}) {
    const Tensor grid = run({"AffineGrid",
                             {floats({1, 2, 3}, {-1, 0, 0, 0, 1, 0})},
                             {{"align_corners", align_corners}},
                             20,
                             {{"size", {1, 2, 2, 3}}}})[0];
    for (const char* mode : {"nearest", "linear", "cubic"}) {
      expect_values({"GridSample",
                     {image, grid},
                     {{"mode", std::string(mode)},
                      {"align_corners", align_corners},
                      {"padding_mode", std::string("border")}},
                     20},
                    {1, 2, 2, 3}, mirrored);
    }
  }
}

TEST(Operators, GridSampleBeyondTheBorder) {
  // One row of 4 pixels; samples half a pixel and 3 pixels beyond the last one's centre.
  const Tensor image = counting({1, 1, 1, 4});
  const Tensor grid = floats({1, 1, 3, 2}, {1, 0, 2.25, 0, NAN, 0});
  auto sample = [&](const std::string& padding) {
    return values_of(run({"GridSample", {image, grid}, {{"padding_mode", padding}}, 16})[0]);
  };
  EXPECT_EQ(sample("zeros")[0], 2);
  EXPECT_EQ(sample("zeros")[1], 0);
  EXPECT_EQ(sample("border")[0], 4);
  EXPECT_EQ(sample("border")[1], 4);
  EXPECT_EQ(sample("reflection")[0], 4);
  EXPECT_EQ(sample("reflection")[1], 2);  // the edge at 3.5 takes 6 to 1
}

TEST(Operators, RecurrencesCheckWhatTheyMayHave) {
  const auto with = [](int input, Shape shape) {
    std::vector<std::string> names = {"x", "w", "r", "", "", ""};
    names[input] = "more";
    ModelBuilder model;
    model.input("x", {2, 1, 4}).input("w", {1, 9, 4}).input("r", {1, 9, 3});
    model.initializer("more", Tensor(input == 4 ? DType::kI32 : DType::kF32, std::move(shape)));
    return model.node("GRU", names, {"y"}).output("y").import();
  };
  EXPECT_TRUE(with(4, {1}));
  EXPECT_TRUE(with(5, {1, 1, 3}));
  for (const auto& refused : {with(4, {2, 1, 4}), with(5, {1, 1, 4})}) {
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidModel);
    EXPECT_NE(refused.error().message.find("is expected"), std::string::npos)
        << refused.error().message;
  }
}

TEST(Operators, TriluKeepsATriangle) {
  expect_values({"Trilu", {counting({2, 3})}, {}, 17, {{"k", {1}}}}, {2, 3}, {0, 2, 3, 0, 0, 6});
  expect_values({"Trilu", {counting({2, 3})}, {{"upper", int64_t{0}}}}, {2, 3}, {1, 0, 0, 4, 5, 0});
}

}  // namespace
}  // namespace corf
