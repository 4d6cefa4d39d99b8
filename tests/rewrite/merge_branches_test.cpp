#include "rewrite/merge_branches.h"

#include <array>
#include <cstdlib>

#include "rewrite/fold_batch_norm.h"
#include "rewrite/rewrite.h"
#include "tests/rewrite/model_error.h"

namespace corf::rewrite {
namespace {
using graph::Compute;
using graph::Graph;
using graph::ScalarOp;
using graph::ValueId;

/// Convolutions, products and scales of one image or matrix.
struct Branches {
  Graph graph;
  ValueId x;
  uint32_t seed = 1;

  explicit Branches(Shape shape) : x(graph.add_input("x", DType::kF32, std::move(shape))) {}

  ValueId constant(Shape shape, double low = -1, double high = 1) {
    return graph.add_constant("w", random_tensor(std::move(shape), ++seed, low, high));
  }
  ValueId conv(Shape weights, int64_t pad, int64_t stride = 1, int64_t groups = 1) {
    graph::Window window{
        {weights[2], weights[3]}, {stride, stride}, {1, 1}, {pad, pad}, {pad, pad}};
    if (weights[2] == 1) window.pads_begin[0] = window.pads_end[0] = 0;
    if (weights[3] == 1) window.pads_begin[1] = window.pads_end[1] = 0;
    return graph::conv(graph, "conv", x, constant(std::move(weights)), window, groups);
  }
  ValueId biased(ValueId value) {
    return add(value, constant({graph.values[value].shape[1], 1, 1}));
  }
  ValueId scaled(double high = 1) {
    const Shape shape = {graph.values[x].shape[1], 1, 1};
    return binary(graph, ScalarOp::kMul, x, constant(shape, 0.5 * high, high));
  }
  ValueId product(int64_t columns) {
    return graph::matmul(graph, "product", x, constant({graph.values[x].shape.back(), columns}));
  }
  ValueId add(ValueId a, ValueId b) { return binary(graph, ScalarOp::kAdd, a, b); }

  /// The one contraction that is left, beside the addition of a constant.
  void expect_one(ValueId result, int64_t additions = 0) {
    set_output(graph, result);
    const Graph after = apply(merge_branches, apply(fold_batch_norm, graph));
    EXPECT_EQ(count_nodes<Compute>(after), 1 + additions) << graph::to_string(after);
    expect_same_results(graph, after);
    expect_as_exact(graph, after, random_inputs(graph));
  }
  void expect_unchanged(ValueId result) {
    set_output(graph, result);
    EXPECT_EQ(graph::to_string(apply(merge_branches, graph)), graph::to_string(graph));
  }
};

TEST(MergeBranches, BlockOfConvolutionsAndScaleOfItsInput) {
  Branches b({2, 4, 5, 6});
  const ValueId both = b.add(b.biased(b.conv({4, 4, 3, 3}, 1)), b.biased(b.conv({4, 4, 1, 1}, 0)));
  b.expect_one(b.add(both, b.biased(b.scaled())), 1);
}

TEST(MergeBranches, InAnyOrder) {
  Branches b({1, 4, 5, 6});
  const ValueId both = b.add(b.scaled(), b.conv({4, 4, 1, 1}, 0));
  b.expect_one(b.add(both, b.conv({4, 4, 3, 3}, 1)));
}

TEST(MergeBranches, OfStride2) {
  Branches b({1, 3, 8, 8});
  b.expect_one(b.add(b.conv({5, 3, 1, 1}, 0, 2), b.conv({5, 3, 3, 3}, 1, 2)));
}

TEST(MergeBranches, Depthwise) {
  Branches b({1, 6, 5, 5});
  ValueId sum = b.add(b.conv({6, 1, 3, 3}, 1, 1, 6), b.conv({6, 1, 3, 3}, 1, 1, 6));
  sum = b.add(sum, b.conv({6, 1, 1, 1}, 0, 1, 6));
  b.expect_one(b.add(sum, b.scaled()));
}

TEST(MergeBranches, Grouped) {
  Branches b({1, 6, 5, 5});
  const ValueId sum = b.add(b.conv({6, 3, 3, 3}, 1, 1, 2), b.conv({6, 3, 1, 1}, 0, 1, 2));
  b.expect_one(b.add(sum, b.scaled()));
}

TEST(MergeBranches, DepthwiseIntoDense) {
  Branches b({1, 6, 5, 5});
  b.expect_one(b.add(b.conv({6, 6, 3, 3}, 1), b.conv({6, 1, 3, 3}, 1, 1, 6)));
}

TEST(MergeBranches, AsymmetricIntoSquare) {
  Branches b({1, 3, 5, 5});
  const ValueId sum = b.add(b.conv({3, 3, 1, 3}, 1), b.conv({3, 3, 3, 3}, 1));
  b.expect_one(b.add(sum, b.conv({3, 3, 3, 1}, 1)));
}

TEST(MergeBranches, ProductsAndTheirInput) {
  Branches b({2, 5, 7});
  b.expect_one(b.add(b.add(b.product(7), b.x), b.product(7)));
}

TEST(MergeBranches, TheWholePipelineMergesTrainedBlocks) {
  Branches b({1, 4, 6, 6});
  const auto norm = [&](ValueId value) {
    const ValueId centred = binary(b.graph, ScalarOp::kSub, value, b.constant({4, 1, 1}));
    return b.add(binary(b.graph, ScalarOp::kMul, centred, b.constant({4, 1, 1}, 0.5, 1)),
                 b.constant({4, 1, 1}));
  };
  const ValueId both = b.add(norm(b.conv({4, 4, 3, 3}, 1)), norm(b.conv({4, 4, 1, 1}, 0)));
  set_output(b.graph, unary(b.graph, ScalarOp::kAbs, b.add(both, norm(b.x))));
  Result<Graph> after = rewrite(b.graph, {});
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(count_nodes<Compute>(*after), 2) << graph::to_string(*after);
  expect_same_results(b.graph, *after);
}

TEST(MergeBranches, RandomBlocksAreAsExactAsTheirOperators) {
  std::mt19937 generator(11);
  const auto pick = [&](size_t count) { return generator() % count; };
  constexpr std::array<double, 4> kOffsets = {0, 0, 127.5, -1e6}, kSizes = {1, 1, 1e3, 1e-12};
  for (int trial = 0; trial < (std::getenv("CORF_LONG_TESTS") ? 5000 : 60); ++trial) {
    Branches b({1, 4, 5, 5});
    b.seed = static_cast<uint32_t>(generator());
    const auto branch = [&](size_t kind) {
      if (kind == 0) return b.x;
      if (kind == 1) return b.scaled(kSizes[pick(4)]);
      const int64_t kernel = kind == 2 ? 1 : 3, groups = pick(3) == 0 ? 4 : 1;
      return b.conv({4, 4 / groups, kernel, kernel}, kernel / 2, 1, groups);
    };
    ValueId sum = branch(3);
    for (size_t i = 0; i < 1 + pick(3); ++i) {
      ValueId next = branch(pick(4));
      if (next != b.x && pick(2) == 0) next = b.biased(next);
      sum = pick(2) == 0 ? b.add(sum, next) : b.add(next, sum);
    }
    set_output(b.graph, sum);
    const double offset = kOffsets[pick(4)], size = kSizes[pick(4)];
    const Tensor x = random_tensor({1, 4, 5, 5}, static_cast<uint32_t>(generator()), offset - size,
                                   offset + size);
    Result<Graph> after = rewrite(b.graph, {}, {.verify_each = true});
    ASSERT_TRUE(after.ok()) << after.error().message;
    expect_as_exact(b.graph, *after, {x});
    ASSERT_FALSE(HasFatalFailure()) << "trial " << trial;
  }
}

TEST(MergeBranches, NothingIsWidened) {
  Branches lines({1, 3, 5, 5});
  lines.expect_unchanged(lines.add(lines.conv({3, 3, 1, 3}, 1), lines.conv({3, 3, 3, 1}, 1)));
  Branches groups({1, 6, 5, 5});
  groups.expect_unchanged(
      groups.add(groups.conv({6, 1, 3, 3}, 1, 1, 6), groups.conv({6, 6, 1, 1}, 0)));
  Branches scale({1, 6, 5, 5});
  scale.expect_unchanged(scale.add(scale.x, scale.scaled()));
}

TEST(MergeBranches, OtherSteps) {
  // Every element, and every second one.
  Branches b({1, 3, 5, 5});
  b.expect_unchanged(b.add(b.conv({3, 3, 3, 3}, 0), b.conv({3, 3, 1, 1}, 0, 2)));
}

TEST(MergeBranches, DilatedWindows) {
  const auto dilated = [](Branches& b) {
    const graph::Window window{{3, 3}, {1, 1}, {2, 2}, {2, 2}, {2, 2}};
    return graph::conv(b.graph, "conv", b.x, b.constant({3, 3, 3, 3}), window, 1);
  };
  Branches inside({1, 3, 6, 6});
  inside.expect_one(inside.add(dilated(inside), inside.conv({3, 3, 5, 5}, 2)));
  Branches outside({1, 3, 6, 6});
  outside.expect_unchanged(outside.add(dilated(outside), outside.conv({3, 3, 3, 3}, 1)));
}

TEST(MergeBranches, NotOfSumsThatOthersRead) {
  Branches b({1, 3, 5, 5});
  const ValueId conv = b.conv({3, 3, 1, 1}, 0);
  set_output(b.graph, conv);
  b.expect_unchanged(b.add(b.conv({3, 3, 3, 3}, 1), conv));
}

TEST(MergeBranches, NoLargeTermJoinsManySmallOnes) {
  Branches b({1, 4, 5, 5});
  b.expect_unchanged(b.add(b.conv({4, 4, 3, 3}, 1), b.scaled(1000)));
}

TEST(MergeBranches, NoWeightOverflows) {
  Branches b({1, 1, 5, 5});
  const auto huge = [&] {
    return graph::conv(b.graph, "conv", b.x, b.constant({1, 1, 1, 1}, 3e38, 3.1e38), window(1), 1);
  };
  b.expect_unchanged(b.add(huge(), huge()));
}

}  // namespace
}  // namespace corf::rewrite
