// ConvTranspose against its definition: what each element of the input adds to the result, and
// which part of that is shown, as the texts of opsets 1 and 11 say.
#include <gtest/gtest.h>

#include "tests/onnx/model_builder.h"

namespace corf {
namespace {

using Ints = std::vector<int64_t>;

struct Case {
  int64_t opset = 11, input = 4, kernel = 3, stride = 2, dilation = 1, output_padding = 0;
  std::string auto_pad = "NOTSET";
  std::optional<int64_t> output;  // output_shape
  Ints pads = {0, 0};
};

std::string describe(const Case& c) {
  return fmt::format("opset {} input {} kernel {} stride {} dilation {} output_padding {} {} {} {}",
                     c.opset, c.input, c.kernel, c.stride, c.dilation, c.output_padding, c.auto_pad,
                     c.output ? std::to_string(*c.output) : "-", c.pads[0]);
}

float input_at(int64_t i) { return static_cast<float>(i * i + 1); }
float weight_at(int64_t k) { return static_cast<float>(3 * k - 1); }

/// The result along one dimension, and how much padding is cut off at its beginning.
std::vector<float> expected(const Case& c) {
  const int64_t full =
      c.stride * (c.input - 1) + c.output_padding + (c.kernel - 1) * c.dilation + 1;
  std::vector<float> whole(full, 0);
  for (int64_t i = 0; i < c.input; ++i) {
    for (int64_t k = 0; k < c.kernel; ++k) {
      whole[i * c.stride + k * c.dilation] += input_at(i) * weight_at(k);
    }
  }
  const bool same = c.auto_pad.starts_with("SAME");
  int64_t extent = full - c.pads[0] - c.pads[1], begin = c.pads[0];
  if (c.auto_pad == "VALID") extent = full, begin = 0;
  if (c.output || same) {
    extent = c.output ? *c.output : c.input * c.stride;
    const int64_t total = std::max<int64_t>(0, full - extent), less = total / 2;
    if (c.output && c.opset < 11) {
      begin = c.auto_pad != "SAME_UPPER" ? less : total - less;
    } else {
      begin = c.auto_pad == "SAME_UPPER" ? less : total - less;
    }
  }
  std::vector<float> shown(extent, 0);
  for (int64_t o = 0; o < extent && o + begin < full; ++o) shown[o] = whole[o + begin];
  return shown;
}

void check(const Case& c) {
  std::vector<float> x, w;
  for (int64_t i = 0; i < c.input; ++i) x.push_back(input_at(i));
  for (int64_t k = 0; k < c.kernel; ++k) w.push_back(weight_at(k));
  ModelBuilder builder(c.opset);
  ModelBuilder::Attributes attributes = {
      {"strides", Ints{c.stride}}, {"dilations", Ints{c.dilation}}, {"auto_pad", c.auto_pad}};
  if (c.output_padding != 0) attributes.push_back({"output_padding", Ints{c.output_padding}});
  if (c.output) attributes.push_back({"output_shape", Ints{*c.output}});
  if (c.auto_pad == "NOTSET" && !c.output) attributes.push_back({"pads", c.pads});
  builder.input("x", {1, 1, c.input}).floats("w", {1, 1, c.kernel}, w);
  builder.node("ConvTranspose", {"x", "w"}, {"y"}, attributes).output("y");
  auto results = builder.run({floats({1, 1, c.input}, x)});
  ASSERT_TRUE(results.ok()) << describe(c) << ": " << results.error().message;
  const std::vector<float> wanted = expected(c);
  const Tensor& y = (*results)[0];
  ASSERT_EQ(y.shape(), (Shape{1, 1, static_cast<int64_t>(wanted.size())})) << describe(c);
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(y.at_f64(static_cast<int64_t>(i)), wanted[i]) << describe(c) << " element " << i;
  }
}

TEST(ConvTranspose, FindsThePaddingOfAnOutputShape) {
  for (const int64_t opset : {7, 11, 22}) {
    for (const char* auto_pad : {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"}) {
      for (const int64_t output : {4, 5, 6, 7, 8, 9, 10, 13}) {
        for (const int64_t output_padding : {0, 1}) {
          check({.opset = opset,
                 .output_padding = output_padding,
                 .auto_pad = auto_pad,
                 .output = output});
        }
      }
    }
  }
}

TEST(ConvTranspose, PadsAsToldOrToTheInputsExtent) {
  for (const int64_t opset : {7, 11, 22}) {
    for (const int64_t kernel : {1, 2, 3, 4, 5}) {
      for (const int64_t stride : {1, 2, 3}) {
        for (const int64_t dilation : {1, 2}) {
          for (const char* auto_pad : {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"}) {
            Case c = {.opset = opset, .kernel = kernel, .stride = stride, .dilation = dilation};
            c.auto_pad = auto_pad;
            if (c.auto_pad == "NOTSET" && kernel > 1) c.pads = {1, 0};
            check(c);
          }
        }
      }
    }
  }
}

TEST(ConvTranspose, RefusesWhatIsOutOfRange) {
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, Ints>>{{"output_shape", {INT64_MAX}},
                                                 {"output_shape", {0}},
                                                 {"output_shape", {-4}},
                                                 {"pads", {INT64_MIN, 0}},
                                                 {"pads", {INT64_MAX, 1}},
                                                 {"strides", {INT64_MAX}},
                                                 {"dilations", {INT64_MAX}},
                                                 {"output_padding", {INT64_MIN}}}) {
    ModelBuilder builder(11);
    builder.input("x", {1, 1, 4}).floats("w", {1, 1, 3}, {1, 2, 3});
    builder.node("ConvTranspose", {"x", "w"}, {"y"}, {{name, value}}).output("y");
    const auto graph = builder.import();
    ASSERT_FALSE(graph.ok()) << name;
    EXPECT_EQ(graph.error().code, ErrorCode::kInvalidModel);
    EXPECT_NE(graph.error().message.find("ConvTranspose_y"), std::string::npos);
  }
}

}  // namespace
}  // namespace corf
