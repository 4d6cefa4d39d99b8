#include "rewrite/winograd.h"

#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {

using graph::Graph;
using graph::ValueId;

WinogradOptions always(int m) {
  WinogradOptions options;
  options.output_tile = [m](const WinogradShape&) { return m; };
  return options;
}

struct Padding {
  int64_t top, left, bottom, right;
};

Graph conv_graph(Shape x, int64_t outputs, Padding pad, uint32_t seed, bool residual = false) {
  Graph graph;
  const int64_t channels = x[1];
  ValueId input = graph.add_input("x", DType::kF32, x);
  ValueId image = unary(graph, graph::ScalarOp::kAbs, input);
  ValueId w = graph.add_constant("w", random_tensor({outputs, channels, 3, 3}, seed));
  const graph::Window window{{3, 3}, {1, 1}, {1, 1}, {pad.top, pad.left}, {pad.bottom, pad.right}};
  ValueId y = graph::conv(graph, "conv", image, w, window, 1);
  if (residual) y = binary(graph, graph::ScalarOp::kAdd, y, y);
  set_output(graph, y);
  return graph;
}

int num_products(const Graph& graph) {
  int count = 0;
  for (const graph::Node& node : graph.nodes) count += node.name.ends_with(".products");
  return count;
}

TEST(Winograd, MatricesComputeConvolutionsOfOneDimension) {
  for (int m : {2, 4, 6}) {
    const WinogradMatrices f = winograd_matrices(m);
    ASSERT_EQ(f.t, m + 2);
    const Tensor d = random_tensor({f.t}, 5), g = random_tensor({3}, 6);
    for (int64_t i = 0; i < m; ++i) {
      double expected = 0, actual = 0;
      for (int64_t k = 0; k < 3; ++k) expected += d.at_f64(i + k) * g.at_f64(k);
      for (int64_t p = 0; p < f.t; ++p) {
        double gg = 0, bd = 0;
        for (int64_t k = 0; k < 3; ++k) gg += f.g[p * 3 + k] * g.at_f64(k);
        for (int64_t j = 0; j < f.t; ++j) bd += f.b[p * f.t + j] * d.at_f64(j);
        actual += f.a[i * f.t + p] * gg * bd;
      }
      EXPECT_NEAR(actual, expected, 1e-13);
    }
    for (double entry : f.a) EXPECT_EQ(entry, static_cast<float>(entry));
    for (double entry : f.b) EXPECT_EQ(entry, static_cast<float>(entry));
  }
}

TEST(Winograd, GivesTheConvolutionsResults) {
  std::mt19937 random(3);
  auto pick = [&](int64_t lo, int64_t hi) {
    return lo + static_cast<int64_t>(random() % static_cast<uint64_t>(hi - lo + 1));
  };
  for (uint32_t seed = 0; seed < 60; ++seed) {
    const int m = std::array{2, 4, 6}[seed % 3];
    const Padding pad{pick(0, 2), pick(0, 2), pick(0, 2), pick(0, 2)};
    const Shape x{pick(1, 3), pick(1, 5), pick(3, 17), pick(3, 17)};
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Graph before = conv_graph(x, pick(1, 6), pad, seed, seed % 2 == 0);
    Result<Graph> after = winograd(before, always(m));
    ASSERT_TRUE(after.ok()) << after.error().message;
    ASSERT_EQ(num_products(*after), 1);
    // Float64 throughout but for the rounding of the transformed weights.
    expect_same_results(before, *after, 0.2 * typical_error(m) * 5);
    if (HasFailure()) return;
  }
}

TEST(Winograd, ImagesSmallerThanATile) {
  for (int m : {2, 4, 6}) {
    for (int64_t size = 1; size <= 3; ++size) {
      const Graph before = conv_graph({1, 2, size, size + 1}, 3, {1, 1, 1, 1}, 9);
      expect_same_results(before,
                          apply([m](const Graph& g) { return winograd(g, always(m)); }, before),
                          typical_error(m));
    }
  }
}

Graph single_conv(const graph::Window& window, int64_t groups, Shape weights,
                  bool constant = true) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {1, 32, 16, 16});
  ValueId w = constant ? graph.add_constant("w", random_tensor(weights, 1))
                       : graph.add_input("w", DType::kF32, weights);
  set_output(graph, graph::conv(graph, "conv", x, w, window, groups));
  return graph;
}

struct Volume {
  int64_t depth;
  int64_t kernel, stride, dilation, before, after;  // across planes
};

TEST(Winograd, VolumesPlaneByPlane) {
  for (const auto& [depth, kernel, stride, dilation, before, after] :
       {Volume{4, 3, 1, 1, 1, 1}, Volume{5, 1, 1, 1, 0, 0}, Volume{7, 3, 2, 1, 1, 0},
        Volume{6, 2, 1, 3, 2, 1}, Volume{1, 3, 1, 1, 1, 1}, Volume{3, 5, 1, 1, 2, 2}}) {
    for (int m : {2, 4}) {
      Graph graph;
      const ValueId x = graph.add_input("x", DType::kF32, {2, 3, depth, 7, 6});
      const ValueId w = graph.add_constant("w", random_tensor({5, 3, kernel, 3, 3}, 3));
      const graph::Window window{
          {kernel, 3, 3}, {stride, 1, 1}, {dilation, 1, 1}, {before, 1, 0}, {after, 1, 2}};
      set_output(graph, graph::conv(graph, "conv", x, w, window, 1));
      const Graph after_pass = apply([&](const Graph& g) { return winograd(g, always(m)); }, graph);
      EXPECT_EQ(num_products(after_pass), 1) << depth << " " << kernel;
      expect_same_results(graph, after_pass, 1e-5);
    }
  }
}

TEST(Winograd, LeavesOtherConvolutionsAlone) {
  const Shape dense{32, 32, 3, 3};
  graph::Window dilated = window(3, 1, 2);
  dilated.dilations = {2, 2};
  const Graph others[] = {
      single_conv(window(3, 2, 1), 1, dense),
      single_conv(dilated, 1, dense),
      single_conv(window(3, 1, 1), 2, {32, 16, 3, 3}),
      single_conv(window(3, 1, 1), 32, {32, 1, 3, 3}),
      single_conv(window(5, 1, 2), 1, {32, 32, 5, 5}),
      single_conv(window(1), 1, {32, 32, 1, 1}),
      single_conv(window(3, 1, 1), 1, dense, false),
  };
  for (const Graph& graph : others) {
    EXPECT_EQ(num_products(apply([](const Graph& g) { return winograd(g, always(4)); }, graph)), 0)
        << graph::to_string(graph);
  }
  EXPECT_EQ(num_products(apply([](const Graph& g) { return winograd(g, always(4)); },
                               single_conv(window(3, 1, 1), 1, dense))),
            1);
}

TEST(Winograd, ThePredicateSeesTheShapeAndDecides) {
  const Graph graph = conv_graph({2, 20, 9, 7}, 24, {1, 0, 1, 0}, 4);
  WinogradOptions options;
  int calls = 0;
  options.output_tile = [&](const WinogradShape& shape) {
    ++calls;
    EXPECT_EQ(shape.batch, 2);
    EXPECT_EQ(shape.channels, 20);
    EXPECT_EQ(shape.outputs, 24);
    EXPECT_EQ(shape.height, 9);
    EXPECT_EQ(shape.width, 5);
    return 0;
  };
  Result<Graph> after = winograd(graph, options);
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(graph::to_string(*after), graph::to_string(graph));
}

TEST(Winograd, LoneConvolutionsAreOfTheirShape) {
  for (const WinogradShape& shape : {WinogradShape{1, 64, 48, 56, 28},
                                     {3, 5, 7, 9, 1},
                                     {6, 5, 7, 9, 8, 3},
                                     {2, 4, 4, 1, 1, 2}}) {
    int calls = 0;
    WinogradOptions options;
    options.transforms_weights = false;
    options.output_tile = [&](const WinogradShape& seen) {
      ++calls;
      EXPECT_EQ(seen, shape);
      return 4;
    };
    Result<Graph> after = winograd(lone_convolution(shape), options);
    ASSERT_TRUE(after.ok());
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(num_products(*after), 1);
    EXPECT_TRUE(graph::verify(*after).ok());
  }
}

}  // namespace
}  // namespace corf::rewrite
