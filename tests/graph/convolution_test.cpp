#include "tests/graph/random_tensors.h"

namespace corf::graph {
namespace {

struct Case {
  int64_t n, c, m, groups, h, w, kh, kw;
  std::vector<int64_t> strides, dilations, pads_begin, pads_end;
};

Window window_of(const Case& c) {
  return {{c.kh, c.kw}, c.strides, c.dilations, c.pads_begin, c.pads_end};
}

double at(const Tensor& t, int64_t a, int64_t b, int64_t c, int64_t d) {
  const Shape& s = t.shape();
  if (c < 0 || c >= s[2] || d < 0 || d >= s[3]) return 0;
  return t.at_f64(((a * s[1] + b) * s[2] + c) * s[3] + d);
}

std::vector<double> naive_conv(const Case& p, const Tensor& x, const Tensor& w, int64_t oh_extent,
                               int64_t ow_extent) {
  std::vector<double> out;
  int64_t group_c = p.c / p.groups, group_m = p.m / p.groups;
  for (int64_t n = 0; n < p.n; ++n)
    for (int64_t m = 0; m < p.m; ++m)
      for (int64_t oh = 0; oh < oh_extent; ++oh)
        for (int64_t ow = 0; ow < ow_extent; ++ow) {
          double sum = 0;
          for (int64_t c = 0; c < group_c; ++c)
            for (int64_t kh = 0; kh < p.kh; ++kh)
              for (int64_t kw = 0; kw < p.kw; ++kw) {
                sum += at(x, n, m / group_m * group_c + c,
                          oh * p.strides[0] + kh * p.dilations[0] - p.pads_begin[0],
                          ow * p.strides[1] + kw * p.dilations[1] - p.pads_begin[1]) *
                       at(w, m, c, kh, kw);
              }
          out.push_back(sum);
        }
  return out;
}

/// Scatters each input into the outputs that it reaches, as the operator is defined.
std::vector<double> naive_conv_transpose(const Case& p, const Tensor& x, const Tensor& w,
                                         int64_t oh_extent, int64_t ow_extent) {
  std::vector<double> out(p.n * p.m * oh_extent * ow_extent);
  int64_t group_c = p.c / p.groups, group_m = p.m / p.groups;
  for (int64_t n = 0; n < p.n; ++n)
    for (int64_t c = 0; c < p.c; ++c)
      for (int64_t m = 0; m < group_m; ++m)
        for (int64_t h = 0; h < p.h; ++h)
          for (int64_t v = 0; v < p.w; ++v)
            for (int64_t kh = 0; kh < p.kh; ++kh)
              for (int64_t kw = 0; kw < p.kw; ++kw) {
                int64_t oh = h * p.strides[0] + kh * p.dilations[0] - p.pads_begin[0];
                int64_t ow = v * p.strides[1] + kw * p.dilations[1] - p.pads_begin[1];
                if (oh < 0 || oh >= oh_extent || ow < 0 || ow >= ow_extent) continue;
                int64_t channel = c / group_c * group_m + m;
                out[((n * p.m + channel) * oh_extent + oh) * ow_extent + ow] +=
                    at(x, n, c, h, v) * at(w, c, m, kh, kw);
              }
  return out;
}

const std::vector<Case> kCases = {
    {1, 3, 4, 1, 7, 9, 3, 3, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {2, 4, 6, 2, 8, 7, 3, 2, {2, 1}, {1, 2}, {1, 0}, {0, 2}},
    {1, 6, 6, 6, 9, 9, 3, 3, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
    {1, 3, 6, 3, 6, 6, 5, 5, {1, 1}, {1, 1}, {2, 2}, {2, 2}},
    {2, 5, 3, 1, 5, 5, 1, 1, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
    {1, 2, 2, 1, 7, 7, 2, 2, {2, 2}, {1, 1}, {0, 0}, {0, 0}},
    {1, 1, 3, 1, 8, 8, 3, 3, {3, 2}, {2, 2}, {2, 1}, {1, 2}},
    {1, 2, 3, 1, 4, 4, 3, 3, {1, 1}, {1, 1}, {4, 4}, {4, 4}},
};

TEST(Convolution, AgreesWithItsDefinition) {
  std::mt19937 random(1);
  for (const Case& p : kCases) {
    for (int threads : {1, 3}) {
      Graph graph;
      ValueId x = graph.add_input("x", DType::kF32, {p.n, p.c, p.h, p.w});
      Tensor w = random_tensor(DType::kF32, {p.m, p.c / p.groups, p.kh, p.kw}, random);
      ValueId y = conv(graph, "y", x, graph.add_constant("w", w), window_of(p), p.groups);
      const Shape& shape = graph.values[y].shape;
      Tensor input = random_tensor(DType::kF32, {p.n, p.c, p.h, p.w}, random);
      EvaluateOptions options;
      options.threads = threads;
      expect_elems(evaluated(graph, y, {input}, options),
                   naive_conv(p, input, w, shape[2], shape[3]));
    }
  }
}

TEST(Convolution, HasTheAxesThatLoweringReliesOn) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {1, 8, 6, 6});
  auto text_of = [&](int64_t m, int64_t groups) {
    ValueId w = graph.add_constant("w", Tensor(DType::kF32, {m, 8 / groups, 3, 3}));
    ValueId y = conv(graph, "y", x, w, {{3, 3}, {1, 1}, {1, 1}, {0, 0}, {0, 0}}, groups);
    const auto& compute = std::get<Compute>(graph.producer(y).op);
    std::string text;
    for (const auto& axis : compute.space.axes) text += axis.name + " ";
    text += to_string(compute.operands[0].map.exprs[1],
                      [&](int v) { return compute.space.axes[v].name; });
    EXPECT_FALSE(compute.operands[0].guarded);
    return text;
  };
  EXPECT_EQ(text_of(16, 1), "n m oh ow c kh kw c");
  EXPECT_EQ(text_of(16, 2), "n m oh ow c kh kw 4*(m floordiv 8) + c");
  EXPECT_EQ(text_of(8, 8), "n m oh ow kh kw m");
  EXPECT_EQ(text_of(16, 8), "n m oh ow kh kw (m floordiv 2)");
}

TEST(TransposedConvolution, AgreesWithItsDefinition) {
  std::mt19937 random(2);
  for (const Case& p : kCases) {
    Graph graph;
    ValueId x = graph.add_input("x", DType::kF32, {p.n, p.c, p.h, p.w});
    Tensor w = random_tensor(DType::kF32, {p.c, p.m / p.groups, p.kh, p.kw}, random);
    for (int64_t output_padding : {0, 1}) {
      int64_t extents[2];
      for (int i = 0; i < 2; ++i) {
        extents[i] = ((i ? p.w : p.h) - 1) * p.strides[i] +
                     ((i ? p.kw : p.kh) - 1) * p.dilations[i] + 1 - p.pads_begin[i] -
                     p.pads_end[i] + output_padding;
      }
      if (extents[0] <= 0 || extents[1] <= 0) continue;
      ValueId y = conv_transpose(graph, "y", x, graph.add_constant("w", w), window_of(p), p.groups,
                                 {extents[0], extents[1]});
      Tensor input = random_tensor(DType::kF32, {p.n, p.c, p.h, p.w}, random);
      expect_elems(evaluated(graph, y, {input}),
                   naive_conv_transpose(p, input, w, extents[0], extents[1]));
    }
  }
}

TEST(Convolution, InOneDimension) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {1, 1, 5});
  ValueId w = graph.add_constant("w", make_tensor<float>({1, 1, 3}, std::vector<float>{1, 0, -1}));
  ValueId y = conv(graph, "y", x, w, {{3}, {1}, {1}, {1}, {1}}, 1);
  Tensor input = make_tensor<float>({1, 1, 5}, std::vector<float>{1, 2, 4, 8, 16});
  expect_elems(evaluated(graph, y, {input}), {-2, -3, -6, -12, 8});
}

TEST(Pool, MaximumIgnoresPaddingAndPropagatesNan) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {1, 1, 1, 5});
  Window window{{1, 3}, {1, 2}, {1, 1}, {0, 1}, {0, 1}};
  ValueId max = pool(graph, "max", x, Combiner::kMax, window, {1, 3});
  ValueId sum = pool(graph, "sum", x, Combiner::kSum, window, {1, 3});
  Tensor input = make_tensor<float>({1, 1, 1, 5}, std::vector<float>{-3, -5, -1, -2, -9});
  expect_elems(evaluated(graph, max, {input}), {-3, -1, -2});
  expect_elems(evaluated(graph, sum, {input}), {-8, -8, -11});
  input.data<float>()[2] = NAN;
  Tensor result = evaluated(graph, max, {input});
  EXPECT_EQ(result.at_f64(0), -3);
  EXPECT_TRUE(std::isnan(result.at_f64(1)));
  EXPECT_EQ(result.at_f64(2), -2);
}

TEST(Pool, OfIntegersPadsWithTheirLowest) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kI8, {1, 1, 3});
  // The last window hangs over the end, as ceil_mode allows.
  ValueId y = pool(graph, "y", x, Combiner::kMax, {{2}, {2}, {1}, {0}, {0}}, {2});
  Tensor input = make_tensor<int8_t>({1, 1, 3}, std::vector<int8_t>{-100, -120, -128});
  expect_elems(evaluated(graph, y, {input}), {-100, -128});
}

}  // namespace
}  // namespace corf::graph
