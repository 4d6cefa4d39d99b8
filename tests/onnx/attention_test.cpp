// Attention's masks and outputs against values worked out by hand.
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

#include "tests/onnx/model_builder.h"

namespace corf {
namespace {

using Doubles = std::vector<double>;
constexpr double kHidden = -std::numeric_limits<double>::infinity();

/// One head of size 1: all keys are 0, so that a query sees its keys equally, unless `keys` says
/// otherwise; the values are 1, 2, 4, ...
struct Case {
  int64_t opset = 24;
  int64_t queries = 2;
  Doubles keys = {0, 0, 0};
  int64_t past = 0;  // so many of the keys are the past's
  std::optional<Tensor> mask;
  std::optional<int64_t> length;
  ModelBuilder::Attributes attributes = {};
};

Tensor column(const Doubles& values) {
  Tensor tensor(DType::kF32, {1, 1, static_cast<int64_t>(values.size()), 1});
  for (size_t i = 0; i < values.size(); ++i) tensor.set_f64(static_cast<int64_t>(i), values[i]);
  return tensor;
}

/// Outputs Y and qk_matmul_output.
std::vector<Doubles> run(const Case& test) {
  ModelBuilder builder(test.opset);
  std::vector<Tensor> inputs;
  std::vector<std::string> names;
  auto add = [&](const std::string& name, const Tensor& tensor, int type) {
    builder.input(name, {tensor.shape().begin(), tensor.shape().end()}, type);
    inputs.push_back(tensor);
    names.push_back(name);
  };
  Doubles values;
  for (size_t i = 0; i < test.keys.size(); ++i)
    values.push_back(std::ldexp(1, static_cast<int>(i)));
  auto split = [&](const Doubles& all, bool past) {
    const auto middle = all.begin() + test.past;
    return column(past ? Doubles(all.begin(), middle) : Doubles(middle, all.end()));
  };
  using onnx_proto::TensorProto;
  add("q", column(Doubles(test.queries, 1)), TensorProto::FLOAT);
  add("k", split(test.keys, false), TensorProto::FLOAT);
  add("v", split(values, false), TensorProto::FLOAT);
  if (test.mask) {
    add("mask", *test.mask,
        test.mask->dtype() == DType::kBool ? TensorProto::BOOL : TensorProto::FLOAT);
  } else {
    names.push_back("");
  }
  if (test.past > 0) {
    add("past_k", split(test.keys, true), TensorProto::FLOAT);
    add("past_v", split(values, true), TensorProto::FLOAT);
  } else {
    names.insert(names.end(), {"", ""});
  }
  if (test.length) {
    Tensor lengths(DType::kI64, {1});
    lengths.set_i64(0, *test.length);
    add("lengths", lengths, TensorProto::INT64);
  }
  builder.node("Attention", names, {"y", "", "", "scores"}, test.attributes);
  auto results = builder.output("y").output("scores").run(inputs);
  EXPECT_TRUE(results.ok()) << results.error().message;
  if (!results.ok()) return {{}, {}};
  return {values_of((*results)[0]), values_of((*results)[1])};
}

void expect_output(const Case& test, const Doubles& expected) {
  const Doubles actual = run(test)[0];
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 1e-6) << i;
}

Tensor booleans(Shape shape, const std::vector<int64_t>& values) {
  Tensor tensor(DType::kBool, std::move(shape));
  for (size_t i = 0; i < values.size(); ++i) tensor.set_i64(static_cast<int64_t>(i), values[i]);
  return tensor;
}

const ModelBuilder::Attributes kCausal = {{"is_causal", int64_t{1}}};

TEST(Attention, CausalQueriesSeeThePastAndThemselves) {
  expect_output({.attributes = kCausal}, {1, 1.5});
  expect_output({.past = 1, .attributes = kCausal}, {1.5, 7.0 / 3});
}

TEST(Attention, RowsThatSeeNothingGiveZero) {
  const Tensor half = booleans({2, 3}, {0, 0, 0, 1, 1, 0});
  expect_output({.mask = half}, {0, 1.5});
  expect_output({.keys = {INFINITY, 0, 0}, .mask = booleans({2, 3}, {0, 0, 0, 0, 1, 0})}, {0, 2});
  const auto hidden = static_cast<float>(kHidden);
  expect_output({.mask = floats({2, 3}, {hidden, hidden, hidden, 0, 0, hidden})}, {0, 1.5});
  expect_output({.length = 1, .attributes = kCausal}, {0, 1});
  const ModelBuilder::Attributes shown = {{"qk_matmul_output_mode", int64_t{3}}};
  EXPECT_EQ(run({.mask = half, .attributes = shown})[1], (Doubles{0, 0, 0, 0.5, 0.5, 0}));
}

TEST(Attention, LengthsHidePaddingAndPlaceTheQueries) {
  expect_output({.length = 2}, {1.5, 1.5});
  expect_output({.keys = {0, 0, 0, 0}, .length = 3, .attributes = kCausal}, {1.5, 7.0 / 3});
}

TEST(Attention, MasksMayBeShorterThanTheKeys) {
  expect_output({.mask = booleans({2, 2}, {1, 1, 0, 1})}, {1.5, 2});
  expect_output({.mask = floats({2, 2}, {0, 0, 0, 0})}, {1.5, 1.5});
}

TEST(Attention, WindowsAreCountedFromTheQuerysPosition) {
  const ModelBuilder::Attributes left = {{"left_window_size", int64_t{0}}};
  expect_output({.opset = 25, .attributes = left}, {7.0 / 3, 3});
  const ModelBuilder::Attributes right = {{"right_window_size", int64_t{0}}};
  expect_output({.opset = 25, .attributes = right}, {1, 1.5});
  expect_output({.opset = 25, .past = 1, .attributes = right}, {1.5, 7.0 / 3});
}

TEST(Attention, TheMaskIsAddedBehindTheSoftcap) {
  ModelBuilder::Attributes attributes = {{"softcap", 2.0}, {"qk_matmul_output_mode", int64_t{0}}};
  const Tensor mask = floats({1, 2}, {3, static_cast<float>(kHidden)});
  const double capped = 2 * std::tanh(0.5);
  const std::vector<Doubles> expected = {{1, 1}, {capped, capped}, {capped + 3, kHidden}, {1, 0}};
  for (int64_t mode = 0; mode < 4; ++mode) {
    attributes[1].second = mode;
    const auto outputs =
        run({.queries = 1, .keys = {1, 1}, .mask = mask, .attributes = attributes});
    EXPECT_NEAR(outputs[0][0], 1, 1e-6);
    for (int i : {0, 1}) {
      const double wanted = expected[mode][i];
      if (std::isinf(wanted)) {
        EXPECT_EQ(outputs[1][i], wanted) << mode;
      } else {
        EXPECT_NEAR(outputs[1][i], wanted, 1e-6) << mode;
      }
    }
  }
}

}  // namespace
}  // namespace corf
