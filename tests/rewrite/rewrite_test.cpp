#include "rewrite/rewrite.h"

#include <filesystem>
#include <fstream>

#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Combiner;
using graph::Compute;
using graph::Graph;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

Graph rewritten(const Graph& graph) {
  Result<Graph> result = rewrite(graph, {}, {.verify_each = true});
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return result.ok() ? *result : graph;
}

/// Mean along the last dimension, as ReduceMean is imported.
ValueId mean(Graph& graph, ValueId x) {
  const Shape& shape = graph.values[x].shape;
  const int last = static_cast<int>(shape.size()) - 1;
  const float count = static_cast<float>(shape[last]);
  return with_constant(graph, ScalarOp::kDiv, reduce(graph, "sum", x, Combiner::kSum, {last}, true),
                       count);
}

struct Norm {
  ValueId scale, shift;
};
Norm norm_constants(Graph& graph, int64_t channels) {
  return {graph.add_constant("scale", random_tensor({channels}, 1)),
          graph.add_constant("shift", random_tensor({channels}, 2))};
}

TEST(Rewrite, LayerNormsOfAllSpellingsAreOne) {
  const auto build = [](bool decomposed) {
    Graph graph;
    const auto x = graph.add_input("x", DType::kF32, {2, 5, 8});
    const Norm norm = norm_constants(graph, 8);
    const auto centred = binary(graph, ScalarOp::kSub, x, mean(graph, x));
    if (decomposed) {
      const auto variance = mean(graph, with_constant(graph, ScalarOp::kPow, centred, 2));
      const auto root =
          unary(graph, ScalarOp::kSqrt, with_constant(graph, ScalarOp::kAdd, variance, 1e-5f));
      const auto normal = binary(graph, ScalarOp::kDiv, centred, root);
      const auto scaled = binary(graph, ScalarOp::kMul, normal, norm.scale);
      set_output(graph, binary(graph, ScalarOp::kAdd, scaled, norm.shift));
      return graph;
    }
    const auto variance = mean(graph, binary(graph, ScalarOp::kMul, centred, centred));
    const auto inverse = elementwise(
        graph, "inverse", {variance}, [](ScalarBody& body, const std::vector<int>& args) {
          const int sum = body.apply(ScalarOp::kAdd, args[0], body.constant(1e-5, DType::kF32));
          return body.apply(ScalarOp::kRsqrt, sum);
        });
    const auto normal = binary(graph, ScalarOp::kMul, centred, inverse);
    set_output(graph, elementwise(graph, "affine", {normal, norm.scale, norm.shift},
                                  [](ScalarBody& body, const std::vector<int>& args) {
                                    const int product =
                                        body.apply(ScalarOp::kMul, args[0], args[1]);
                                    return body.apply(ScalarOp::kAdd, product, args[2]);
                                  }));
    return graph;
  };
  const Graph decomposed = rewritten(build(true));
  const Graph whole = rewritten(build(false));
  EXPECT_EQ(structure_text(decomposed), structure_text(whole));
  // sum, mean, centred, sum of squares, inverse root, result
  EXPECT_EQ(count_nodes<Compute>(decomposed), 6);
  expect_same_results(build(true), decomposed);
}

TEST(Rewrite, AttentionReadsItsHeadsInPlace) {
  constexpr int64_t kTokens = 6, kHeads = 2, kDepth = 4, kWidth = kHeads * kDepth;
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {1, kTokens, kWidth});
  const auto project = [&](ValueId input, uint32_t seed) {
    const auto w = graph.add_constant("w", random_tensor({kWidth, kWidth}, seed));
    const auto b = graph.add_constant("b", random_tensor({kWidth}, seed + 100));
    return binary(graph, ScalarOp::kAdd, matmul(graph, "mm", input, w), b);
  };
  const auto heads = [&](ValueId input, std::vector<int> permutation, Shape shape) {
    const auto split =
        graph.add_view("split", graph::Reshape{}, {input}, {1, kTokens, kHeads, kDepth});
    return graph.add_view("moved", graph::Transpose{std::move(permutation)}, {split},
                          std::move(shape));
  };
  const auto q = heads(project(x, 1), {0, 2, 1, 3}, {1, kHeads, kTokens, kDepth});
  const auto k = heads(project(x, 2), {0, 2, 3, 1}, {1, kHeads, kDepth, kTokens});
  const auto v = heads(project(x, 3), {0, 2, 1, 3}, {1, kHeads, kTokens, kDepth});
  const auto scores = with_constant(graph, ScalarOp::kDiv, matmul(graph, "qk", q, k), 2);
  const auto most = reduce(graph, "max", scores, Combiner::kMax, {3}, true);
  const auto exp = unary(graph, ScalarOp::kExp, binary(graph, ScalarOp::kSub, scores, most));
  const auto sum = reduce(graph, "sum", exp, Combiner::kSum, {3}, true);
  const auto context = matmul(graph, "pv", binary(graph, ScalarOp::kDiv, exp, sum), v);
  const auto moved = graph.add_view("moved", graph::Transpose{{0, 2, 1, 3}}, {context},
                                    {1, kTokens, kHeads, kDepth});
  const auto joined = graph.add_view("joined", graph::Reshape{}, {moved}, {1, kTokens, kWidth});
  set_output(graph, project(joined, 4));

  const Graph after = rewritten(graph);
  EXPECT_EQ(count_nodes<graph::View>(after), 0);
  // Three projections with their biases; QK, scale, maximum, exp, sum, quotient, PV; the last
  // projection with its bias.
  EXPECT_EQ(count_nodes<Compute>(after), 6 + 7 + 2);
  expect_same_results(graph, after);
}

TEST(Rewrite, ResidualBlockEndsInOneElementwiseNode) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {1, 4, 6, 6});
  const auto w = graph.add_constant("w", random_tensor({4, 4, 3, 3}, 1));
  auto y = conv(graph, "conv", x, w, window(3, 1, 1), 1);
  y = binary(graph, ScalarOp::kMul, y, graph.add_constant("s", random_tensor({4, 1, 1}, 2)));
  y = binary(graph, ScalarOp::kAdd, y, graph.add_constant("t", random_tensor({4, 1, 1}, 3)));
  const auto shortcut = graph.add_input("shortcut", DType::kF32, {1, 4, 6, 6});
  y = with_constant(graph, ScalarOp::kMax, binary(graph, ScalarOp::kAdd, y, shortcut), 0);
  set_output(graph, y);
  const Graph after = rewritten(graph);
  EXPECT_EQ(count_nodes<Compute>(after), 2);
  EXPECT_EQ(after.producer(after.outputs[0]).inputs.size(), 3u);
  expect_same_results(graph, after);
}

TEST(Rewrite, EpiloguesStayWithTheirConvolution) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {1, 4, 6, 6});
  const auto w = graph.add_constant("w", random_tensor({4, 4, 3, 3}, 1));
  const auto b = graph.add_constant("b", random_tensor({4, 1, 1}, 2));
  const auto y = binary(graph, ScalarOp::kAdd, conv(graph, "conv", x, w, window(3, 1, 1), 1), b);
  const auto active = binary(graph, ScalarOp::kMul, y, unary(graph, ScalarOp::kSigmoid, y));
  set_output(graph, reduce(graph, "pool", active, Combiner::kSum, {2, 3}, true));
  const Graph after = rewritten(graph);
  ASSERT_EQ(count_nodes<Compute>(after), 3);
  const auto& pool = std::get<Compute>(after.producer(after.outputs[0]).op);
  EXPECT_EQ(pool.body.nodes.size(), 1u);
  expect_same_results(graph, after);
}

TEST(Rewrite, OutputsThatAreInputsOrConstants) {
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {3});
  set_output(graph, with_constant(graph, ScalarOp::kMul, x, 1));
  const auto c = graph.add_constant("c", random_tensor({3}, 1));
  set_output(graph, unary(graph, ScalarOp::kAbs, c));
  const Graph after = rewritten(graph);
  EXPECT_EQ(after.outputs[0], after.inputs[0]);
  EXPECT_EQ(count_nodes<Compute>(after), 0);
  expect_same_results(graph, after);
}

TEST(Rewrite, DumpsThePassesThatChangedSomething) {
  const std::filesystem::path directory =
      std::filesystem::path(testing::TempDir()) / "corf_rewrite_dump";
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {3});
  set_output(graph, unary(graph, ScalarOp::kExp, unary(graph, ScalarOp::kAbs, x)));
  Result<Graph> after = rewrite(graph, {}, {.verify_each = true, .dump_dir = directory.string()});
  ASSERT_TRUE(after.ok());
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    ++files;
    EXPECT_NE(entry.path().filename().string().find("merge_elementwise"), std::string::npos);
    std::ifstream file(entry.path());
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    EXPECT_EQ(text, graph::to_string(*after));
  }
  EXPECT_EQ(files, 1);
  std::filesystem::remove_all(directory);

  Result<Graph> nowhere = rewrite(graph, {}, {.dump_dir = "/proc/corf/missing"});
  ASSERT_FALSE(nowhere.ok());
  EXPECT_EQ(nowhere.error().code, ErrorCode::kIo);
}

/// Random element-wise graphs over shared values, constants, views and sums.
TEST(Rewrite, RandomGraphsComputeTheSame) {
  std::mt19937 generator(11);
  const auto pick = [&](size_t count) { return static_cast<size_t>(generator() % count); };
  for (int trial = 0; trial < 150; ++trial) {
    Graph graph;
    const Shape shape = {2, 3, 4};
    std::vector<ValueId> values = {graph.add_input("a", DType::kF32, shape),
                                   graph.add_input("b", DType::kF32, shape)};
    const std::vector<ScalarOp> ops = {ScalarOp::kAdd, ScalarOp::kSub, ScalarOp::kMul,
                                       ScalarOp::kMax, ScalarOp::kMin};
    for (int i = 0; i < 14; ++i) {
      const ValueId x = values[pick(values.size())];
      const ValueId y = values[pick(values.size())];
      const auto seed = static_cast<uint32_t>(generator());
      switch (pick(8)) {
        case 0:
          values.push_back(unary(graph, ScalarOp::kTanh, x));
          break;
        case 1: {
          const Shape extents = pick(2) == 0 ? Shape{3, 1} : Shape{4};
          const auto c = graph.add_constant("c", random_tensor(extents, seed));
          values.push_back(binary(graph, ops[pick(3)], x, c));
          break;
        }
        case 2: {
          const auto turned = graph.add_view("t", graph::Transpose{{2, 0, 1}}, {x}, {4, 2, 3});
          const auto active = unary(graph, ScalarOp::kSigmoid, turned);
          values.push_back(graph.add_view("u", graph::Transpose{{1, 2, 0}}, {active}, shape));
          break;
        }
        case 3: {
          const auto sum = reduce(graph, "sum", x, Combiner::kSum, {2}, true);
          values.push_back(
              binary(graph, ScalarOp::kSub, x, with_constant(graph, ScalarOp::kMul, sum, 0.25f)));
          break;
        }
        case 4: {
          const auto w = graph.add_constant("w", random_tensor({4, 4}, seed));
          values.push_back(matmul(graph, "mm", x, w));
          break;
        }
        case 5: {
          const auto left = graph.add_view("l", graph::Slice{{0, 0, 0}, {1, 1, 1}}, {x}, {2, 3, 1});
          const auto right =
              graph.add_view("r", graph::Slice{{1, 0, 3}, {-1, 1, -1}}, {y}, {2, 3, 3});
          values.push_back(graph.add_view("j", graph::Concat{2}, {left, right}, shape));
          break;
        }
        default:
          values.push_back(binary(graph, ops[pick(ops.size())], x, y));
      }
    }
    set_output(graph, unary(graph, ScalarOp::kTanh,
                            with_constant(graph, ScalarOp::kMul, values.back(), 0.01f)));
    set_output(graph, values[values.size() / 2]);
    expect_same_results(graph, rewritten(graph), 1e-5);
  }
}

}  // namespace
}  // namespace corf::rewrite
