#include "rewrite/softmax_in_blocks.h"

#include <limits>

#include "rewrite/divide_after_products.h"
#include "rewrite/remove_identities.h"
#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Combiner;
using graph::Compute;
using graph::Graph;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

using Operands = std::vector<int>;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Whatever can be cut, into blocks of about so many columns.
SoftmaxBlockOptions blocks_of(int64_t columns) { return {1, 1, columns}; }

struct Softmax {
  ValueId powers = -1, weights = -1;
};

/// Along the last dimension, as the importer writes it.
Softmax softmax(Graph& graph, ValueId x) {
  const auto last = static_cast<int>(graph.values[x].shape.size()) - 1;
  const ValueId max = graph::reduce(graph, "max", x, Combiner::kMax, {last}, true);
  const ValueId powers = graph::elementwise(
      graph, "powers", std::vector<ValueId>{x, max}, [](ScalarBody& body, const Operands& in) {
        return body.apply(ScalarOp::kExp, body.apply(ScalarOp::kSub, in[0], in[1]));
      });
  const ValueId sum = graph::reduce(graph, "sum", powers, Combiner::kSum, {last}, true);
  return {powers, binary(graph, ScalarOp::kDiv, powers, sum)};
}

/// As many blocks as the maxima are merged from; 1 if nothing was cut.
int64_t num_blocks(const Graph& graph) {
  for (const graph::Node& node : graph.nodes) {
    if (node.name == "max/merge") return std::get<Compute>(node.op).space.axes.back().extent;
  }
  return 1;
}

Graph in_blocks(const Graph& graph, int64_t columns) {
  const Graph divided = apply(divide_after_products, graph);
  return apply([&](Graph g) { return softmax_in_blocks(std::move(g), blocks_of(columns)); },
               divided);
}

struct Attention {
  Graph graph;
  ValueId scores = -1, v = -1;
};

Attention attention(int64_t queries, int64_t keys) {
  Attention a;
  const ValueId q = a.graph.add_input("q", DType::kF32, {2, 3, queries, 4});
  const ValueId k = a.graph.add_input("k", DType::kF32, {2, 3, keys, 4});
  a.v = a.graph.add_input("v", DType::kF32, {2, 3, keys, 5});
  a.scores = graph::matmul(a.graph, "scores", q, k, false, /*transpose_b=*/true);
  return a;
}

/// Adds a constant [rows, columns] to the scores.
ValueId masked(Graph& graph, ValueId scores, const Tensor& mask) {
  return binary(graph, ScalarOp::kAdd, scores, graph.add_constant("mask", mask));
}

TEST(SoftmaxInBlocks, CutsScoresBackToTheirProduct) {
  Attention a = attention(5, 24);
  const ValueId scaled = with_constant(a.graph, ScalarOp::kMul, a.scores, 0.5F);
  set_output(a.graph, graph::matmul(a.graph, "values", softmax(a.graph, scaled).weights, a.v));
  const Graph after = in_blocks(a.graph, 8);
  EXPECT_EQ(num_blocks(after), 3);
  for (const graph::Value& value : after.values) {
    EXPECT_TRUE(value.shape.empty() || value.shape.back() != 24) << graph::to_string(after);
  }
  expect_same_results(a.graph, after);
}

TEST(SoftmaxInBlocks, OneQueryAndBlocksOfOneKey) {
  Attention a = attention(1, 7);
  set_output(a.graph, graph::matmul(a.graph, "values", softmax(a.graph, a.scores).weights, a.v));
  // 7 has no other divisors, and blocks of one column are none.
  EXPECT_EQ(num_blocks(in_blocks(a.graph, 2)), 1);
  Attention b = attention(1, 6);
  set_output(b.graph, graph::matmul(b.graph, "values", softmax(b.graph, b.scores).weights, b.v));
  const Graph after = in_blocks(b.graph, 2);
  EXPECT_EQ(num_blocks(after), 3);
  expect_same_results(b.graph, after);
}

TEST(SoftmaxInBlocks, AllOfABlockMasked) {
  Attention a = attention(6, 12);
  Tensor mask(DType::kF32, {6, 12});
  for (int64_t q = 0; q < 6; ++q) {
    for (int64_t k = 0; k < 12; ++k) mask.set_f64(q * 12 + k, k <= 2 * q ? 0 : -kInfinity);
  }
  const ValueId x = masked(a.graph, a.scores, mask);
  set_output(a.graph, graph::matmul(a.graph, "values", softmax(a.graph, x).weights, a.v));
  const Graph after = in_blocks(a.graph, 3);
  EXPECT_EQ(num_blocks(after), 4);
  expect_same_results(a.graph, after);
}

TEST(SoftmaxInBlocks, RowsWithoutAValueStayNaN) {
  for (const float extreme : {-kInfinity, kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    Attention a = attention(4, 8);
    Tensor mask(DType::kF32, {4, 8});
    for (int64_t k = 0; k < 8; ++k) {
      mask.set_f64(8 + k, extreme);                // all of row 1
      mask.set_f64(16 + k, k == 5 ? extreme : 0);  // one of row 2
    }
    const ValueId x = masked(a.graph, a.scores, mask);
    set_output(a.graph, graph::matmul(a.graph, "values", softmax(a.graph, x).weights, a.v));
    const Graph after = in_blocks(a.graph, 4);
    ASSERT_EQ(num_blocks(after), 2);
    const std::vector<Tensor> inputs = random_inputs(a.graph);
    const Tensor expected = (*graph::evaluate(a.graph, inputs))[0];
    const Tensor actual = (*graph::evaluate(after, inputs))[0];
    for (int64_t i = 0; i < expected.num_elems(); ++i) {
      if (std::isnan(expected.at_f64(i))) {
        EXPECT_TRUE(std::isnan(actual.at_f64(i))) << extreme << " at " << i;
      } else {
        EXPECT_NEAR(actual.at_f64(i), expected.at_f64(i), 1e-5) << extreme << " at " << i;
      }
    }
  }
}

TEST(SoftmaxInBlocks, CoordinatesOfColumns) {
  Attention a = attention(9, 10);
  // The causal mask, as a select by position.
  graph::Graph& graph = a.graph;
  Compute causal;
  const Shape shape = graph.values[a.scores].shape;
  for (size_t d = 0; d < shape.size(); ++d) {
    causal.space.axes.push_back({"d" + std::to_string(d), shape[d], index::AxisKind::kParallel});
  }
  causal.operands.push_back({index::IndexMap::identity(4)});
  ScalarBody& body = causal.body;
  const int x = body.operand(0, DType::kF32);
  const int within = body.apply(ScalarOp::kLessEqual, body.axis_index(3), body.axis_index(2));
  body.apply(ScalarOp::kSelect, within, x, body.constant(-kInfinity, DType::kF32));
  const ValueId scores = graph.add_compute("causal", causal, {a.scores});
  set_output(graph, graph::matmul(graph, "values", softmax(graph, scores).weights, a.v));
  const Graph after = in_blocks(graph, 5);
  EXPECT_EQ(num_blocks(after), 2);
  expect_same_results(graph, after);
}

TEST(SoftmaxInBlocks, ScoresFromOutside) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {4, 12});
  const ValueId v = graph.add_input("v", DType::kF32, {12, 3});
  set_output(graph, graph::matmul(graph, "values", softmax(graph, x).weights, v));
  const Graph after = in_blocks(graph, 4);
  EXPECT_EQ(num_blocks(after), 3);
  expect_same_results(graph, after);
}

TEST(SoftmaxInBlocks, ValuesThatComeBehindTheSum) {
  Attention a = attention(5, 12);
  const Softmax s = softmax(a.graph, a.scores);
  const ValueId v = with_constant(a.graph, ScalarOp::kAdd, a.v, 1.0F);
  set_output(a.graph, graph::matmul(a.graph, "values", s.weights, v));
  const Graph after = in_blocks(a.graph, 4);
  EXPECT_EQ(num_blocks(after), 3);
  expect_same_results(a.graph, after);
}

TEST(SoftmaxInBlocks, NotWhereOthersReadThem) {
  Attention a = attention(5, 12);
  const Softmax s = softmax(a.graph, a.scores);
  set_output(a.graph, graph::matmul(a.graph, "values", s.weights, a.v));
  Graph powers = a.graph, scores = a.graph;
  set_output(powers, s.powers);
  set_output(scores, a.scores);
  EXPECT_EQ(num_blocks(in_blocks(a.graph, 4)), 3);
  EXPECT_EQ(num_blocks(in_blocks(powers, 4)), 1);
  EXPECT_EQ(num_blocks(in_blocks(scores, 4)), 1);
}

TEST(SoftmaxInBlocks, LengthOfABlock) {
  const SoftmaxBlockOptions machine{1 << 20, 2};
  EXPECT_EQ(softmax_block(1 << 12, 1024, machine), 1024);  // fits
  EXPECT_EQ(softmax_block(1 << 12, 2048, machine), 512);
  EXPECT_EQ(softmax_block(1 << 12, 3136, machine), 448);
  EXPECT_EQ(softmax_block(1 << 12, 2053, machine), 2053);  // a prime
  EXPECT_EQ(softmax_block(1, 1024, machine), 512);         // something for each worker
  EXPECT_EQ(softmax_block(1, 200, machine), 100);
  EXPECT_EQ(softmax_block(1, 32, machine), 32);
  EXPECT_EQ(softmax_block(1 << 12, 1 << 20, SoftmaxBlockOptions{}), 1 << 20);
}

}  // namespace
}  // namespace corf::rewrite
