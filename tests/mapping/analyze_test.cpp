#include "mapping/analyze.h"

#include <array>
#include <gtest/gtest.h>

#include "graph/operators.h"
#include "mapping/rows.h"

namespace corf::mapping {
namespace {
using graph::Combiner;
using graph::Graph;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

ValueId relu(Graph& graph, ValueId x) {
  return graph::elementwise(graph, "relu", {x}, [](ScalarBody& body, const std::vector<int>& args) {
    return body.apply(ScalarOp::kMax, args[0], body.constant(0, DType::kF32));
  });
}

ValueId weights(Graph& graph, Shape shape) {
  return graph.add_constant("w", Tensor(DType::kF32, std::move(shape)));
}

graph::Window window(int64_t kernel, int64_t stride, int64_t dilation, int64_t pad) {
  return {{kernel, kernel}, {stride, stride}, {dilation, dilation}, {pad, pad}, {pad, pad}};
}

/// The table's only pair; the text must parse back to it.
PairMapping only_pair(const Graph& graph) {
  Result<MappingTable> table = analyze(graph);
  EXPECT_TRUE(table.ok());
  EXPECT_EQ(table->pairs.size(), 1u);
  const std::string text = to_string(*table);
  Result<MappingTable> parsed = parse(text);
  EXPECT_TRUE(parsed.ok()) << (parsed.ok() ? "" : parsed.error().message) << text;
  EXPECT_EQ(parsed.ok() ? to_string(*parsed) : "", text);
  return table->pairs.at(0);
}

struct Image {
  Graph graph;
  ValueId x;
};
Image image(Shape shape) {
  Image result;
  result.x = relu(result.graph, result.graph.add_input("x", DType::kF32, std::move(shape)));
  return result;
}

/// Rows 2 r + 3 k - 4 are read: row 2 r + 5 last (k = 3), so that row r is finished by it.
TEST(RowTaps, RunAheadOfTheLast) {
  const Expr row = Expr::variable(0), tap = Expr::variable(1);
  const int64_t extents[] = {10, 4};
  const auto taps = row_taps(Expr(2) * row + Expr(3) * tap - Expr(4), extents, 0, 1);
  ASSERT_TRUE(taps);
  EXPECT_EQ(*taps, (RowTaps{2, 3, 4, false}));
  for (int64_t finished : {0, 1, 5}) {
    const int64_t last_read = 2 * (finished - 1) + 5;
    for (int64_t k = 0; k < 4; ++k) {
      const int64_t rows = finished + taps->lag(k);  // that tap k can have been added to
      EXPECT_LE(2 * (rows - 1) + 3 * k - 4, last_read);
      EXPECT_GT(2 * rows + 3 * k - 4, last_read);
    }
  }
  EXPECT_EQ(index::evaluate(taps->lag(tap), std::array<int64_t, 2>{0, 1}), taps->lag(int64_t{1}));
}

TEST(RowTaps, OfATransposedConvolutionRunBackwards) {
  const Expr row = Expr::variable(0), tap = Expr::variable(1);
  const int64_t extents[] = {10, 3};
  const auto taps = row_taps(row - tap, extents, 0, 1);
  ASSERT_TRUE(taps);
  EXPECT_EQ(*taps, (RowTaps{1, 1, 3, true}));
  EXPECT_EQ(index::evaluate(taps->position(tap), std::array<int64_t, 2>{0, 0}), 2);
  EXPECT_FALSE(row_taps(floor_div(row, Expr(2)) + tap, extents, 0, 1));
  EXPECT_FALSE(row_taps(row * Expr(-1) + tap, extents, 0, 1));
  EXPECT_FALSE(row_taps(row, extents, 0, 1));
}

TEST(Analyze, ElementwiseIsOneToOne) {
  Image in = image({2, 3, 5, 7});
  relu(in.graph, in.x);
  const PairMapping pair = only_pair(in.graph);
  EXPECT_EQ(pair.forward, MappingKind::kOneToOne);
  EXPECT_EQ(pair.backward, MappingKind::kOneToOne);
  EXPECT_EQ(pair.producer, 1);
  EXPECT_EQ(pair.consumer, 2);
  EXPECT_TRUE(pair.spread_axes.empty());
  EXPECT_TRUE(pair.contracted_axes.empty());
  for (int d = 0; d < 4; ++d) {
    EXPECT_EQ(pair.dims[d].consumer_axis, d);
    EXPECT_EQ(pair.dims[d].stride, 1);
    EXPECT_EQ(pair.dims[d].halo, 0);
  }
}

TEST(Analyze, ConvolutionIsManyToManyWithAWindow) {
  Image in = image({1, 6, 11, 11});
  conv(in.graph, "conv", in.x, weights(in.graph, {8, 6, 3, 3}), window(3, 2, 2, 2), 1);
  const PairMapping pair = only_pair(in.graph);
  EXPECT_EQ(pair.forward, MappingKind::kManyToMany);
  EXPECT_EQ(pair.reads_per_output, 6 * 3 * 3);
  // Taps are two apart, and so are the outputs: each of the three taps reaches an even row.
  EXPECT_EQ(pair.outputs_per_element, 8 * 3 * 3);
  const DimMapping& rows = pair.dims[2];
  EXPECT_TRUE(rows.regular);
  EXPECT_EQ(rows.consumer_axis, 2);
  EXPECT_EQ(rows.window, 3);
  EXPECT_EQ(rows.stride, 2);
  EXPECT_EQ(rows.dilation, 2);
  EXPECT_EQ(rows.offset, -2);
  EXPECT_EQ(rows.span, 5);
  EXPECT_EQ(rows.halo, 3);
  EXPECT_EQ(rows.pad_before, 2);
  EXPECT_EQ(rows.pad_after, 2);
  EXPECT_EQ(pair.dims[1].consumer_axis, -1);
  EXPECT_EQ(pair.dims[1].window, 6);
  EXPECT_EQ(pair.spread_axes, (std::vector<int>{1}));
  EXPECT_EQ(pair.contracted_axes, (std::vector<int>{4, 5, 6}));
}

TEST(Analyze, StridedWindowsFeedFewerOutputs) {
  Image in = image({1, 4, 12, 12});
  conv(in.graph, "depthwise", in.x, weights(in.graph, {4, 1, 3, 3}), window(3, 2, 1, 1), 4);
  const PairMapping pair = only_pair(in.graph);
  EXPECT_EQ(pair.forward, MappingKind::kManyToMany);
  EXPECT_EQ(pair.reads_per_output, 9);
  EXPECT_EQ(pair.outputs_per_element, 4);
  EXPECT_EQ(pair.dims[1].consumer_axis, 1);
  EXPECT_EQ(pair.dims[2].halo, 1);
  EXPECT_TRUE(pair.spread_axes.empty());
}

TEST(Analyze, GroupsShareTheirChannels) {
  Image in = image({1, 6, 4, 4});
  conv(in.graph, "grouped", in.x, weights(in.graph, {8, 3, 1, 1}), window(1, 1, 1, 0), 2);
  const PairMapping pair = only_pair(in.graph);
  EXPECT_EQ(pair.reads_per_output, 3);
  EXPECT_EQ(pair.outputs_per_element, 4);
  const DimMapping& channels = pair.dims[1];
  EXPECT_TRUE(channels.regular);
  EXPECT_EQ(channels.consumer_axis, 1);
  EXPECT_EQ(channels.divisor, 4);
  EXPECT_EQ(channels.stride, 3);
  EXPECT_EQ(channels.window, 3);
  EXPECT_EQ(footprint(channels, {4, 8}), (Range{3, 6}));
}

TEST(Analyze, ReductionsAndBroadcasts) {
  Image pooled = image({1, 3, 8, 8});
  reduce(pooled.graph, "pool", pooled.x, Combiner::kSum, {2, 3}, true);
  const PairMapping reduced = only_pair(pooled.graph);
  EXPECT_EQ(reduced.forward, MappingKind::kManyToOne);
  EXPECT_EQ(reduced.backward, MappingKind::kOneToMany);
  EXPECT_EQ(reduced.reads_per_output, 64);
  EXPECT_EQ(reduced.outputs_per_element, 1);

  Image gate = image({1, 3, 1, 1});
  const ValueId y = gate.graph.add_input("y", DType::kF32, {1, 3, 8, 8});
  graph::elementwise(gate.graph, "scale", {y, gate.x},
                     [](ScalarBody& body, const std::vector<int>& args) {
                       return body.apply(ScalarOp::kMul, args[0], args[1]);
                     });
  const PairMapping spread = only_pair(gate.graph);
  EXPECT_EQ(spread.operand, 1);
  EXPECT_EQ(spread.forward, MappingKind::kOneToMany);
  EXPECT_EQ(spread.outputs_per_element, 64);
  EXPECT_EQ(spread.spread_axes, (std::vector<int>{2, 3}));
}

TEST(Analyze, PoolingWithoutOverlapIsManyToOne) {
  Image in = image({1, 3, 8, 8});
  pool(in.graph, "pool", in.x, Combiner::kMax, window(2, 2, 1, 0), {4, 4});
  const PairMapping pair = only_pair(in.graph);
  EXPECT_EQ(pair.forward, MappingKind::kManyToOne);
  EXPECT_EQ(pair.dims[2].halo, 0);
}

TEST(Analyze, ViewsReorganise) {
  Image in = image({2, 3, 4});
  const ValueId moved = in.graph.add_view("t", graph::Transpose{{2, 0, 1}}, {in.x}, {4, 2, 3});
  relu(in.graph, moved);
  const PairMapping transposed = only_pair(in.graph);
  EXPECT_EQ(transposed.forward, MappingKind::kReorganising);
  EXPECT_EQ(transposed.views.size(), 1u);
  EXPECT_EQ(transposed.dims[2].consumer_axis, 0);

  Image flat = image({2, 3, 4});
  relu(flat.graph, flat.graph.add_view("r", graph::Reshape{}, {flat.x}, {24}));
  const PairMapping reshaped = only_pair(flat.graph);
  EXPECT_EQ(reshaped.forward, MappingKind::kReorganising);
  EXPECT_EQ(reshaped.outputs_per_element, 1);
}

TEST(Analyze, UpsamplingFeedsSeveralRows) {
  Image in = image({1, 2, 5});
  graph::Compute resize;
  resize.space.axes = {{"n", 1}, {"c", 2}, {"o", 15}};
  index::IndexMap map = index::IndexMap::identity(3);
  map.exprs[2] = floor_div(index::Expr::variable(2), index::Expr(3));
  resize.operands.push_back({map});
  resize.body.operand(0, DType::kF32);
  in.graph.add_compute("resize", resize, {in.x});
  const PairMapping pair = only_pair(in.graph);
  EXPECT_EQ(pair.forward, MappingKind::kOneToMany);
  EXPECT_EQ(pair.outputs_per_element, 3);
  EXPECT_EQ(footprint(pair.dims[2], {4, 7}), (Range{1, 3}));
  EXPECT_EQ(retired_outputs(pair.dims[2], 2, 15), 6);
}

TEST(Analyze, PartsOfAConcatenationAndSlices) {
  Image in = image({1, 4, 6});
  const ValueId other = in.graph.add_input("other", DType::kF32, {1, 2, 6});
  const ValueId joined = in.graph.add_view("join", graph::Concat{1}, {other, in.x}, {1, 6, 6});
  const ValueId part =
      in.graph.add_view("part", graph::Slice{{0, 0, 1}, {1, 1, 2}}, {joined}, {1, 6, 2});
  relu(in.graph, part);
  const PairMapping pair = only_pair(in.graph);
  EXPECT_TRUE(pair.guarded);
  EXPECT_EQ(pair.forward, MappingKind::kOneToOne);
  EXPECT_EQ(pair.views.size(), 2u);
  EXPECT_EQ(pair.dims[1].offset, -2);
  EXPECT_EQ(pair.dims[1].pad_before, 2);
  EXPECT_EQ(pair.dims[2].stride, 2);
  EXPECT_EQ(pair.dims[2].offset, 1);
}

TEST(Analyze, MatrixProductsOfBothOperands) {
  Graph graph;
  const ValueId a = relu(graph, graph.add_input("a", DType::kF32, {2, 5, 8}));
  const ValueId b = relu(graph, graph.add_input("b", DType::kF32, {8, 7}));
  matmul(graph, "mm", a, b);
  Result<MappingTable> table = analyze(graph);
  ASSERT_TRUE(table.ok());
  ASSERT_EQ(table->pairs.size(), 2u);
  EXPECT_EQ(table->pairs[0].reads_per_output, 8);
  EXPECT_EQ(table->pairs[0].outputs_per_element, 7);
  EXPECT_EQ(table->pairs[0].spread_axes, (std::vector<int>{2}));
  EXPECT_EQ(table->pairs[1].outputs_per_element, 2 * 5);
  EXPECT_EQ(table->pairs[1].spread_axes, (std::vector<int>{0, 1}));
}

TEST(Analyze, GatheredCoordinatesAreIrregular) {
  Image in = image({9, 4});
  const ValueId indices = in.graph.add_input("i", DType::kI64, {3});
  gather(in.graph, "gather", in.x, indices, 0);
  const PairMapping pair = only_pair(in.graph);
  EXPECT_FALSE(pair.dims[0].regular);
  EXPECT_EQ(footprint(pair.dims[0], {0, 1}), (Range{0, 9}));
  EXPECT_EQ(retired_outputs(pair.dims[0], 8, 3), 0);
  EXPECT_EQ(retired_outputs(pair.dims[0], 9, 3), 3);
}

/// Against the definition, for many windows: which rows are read, which are complete.
TEST(Windows, FootprintAndRetirementByEnumeration) {
  for (int64_t stride : {1, 2, 3}) {
    for (int64_t kernel : {1, 2, 3, 5}) {
      for (int64_t dilation : {1, 2}) {
        for (int64_t pad : {0, 1, 2}) {
          constexpr int64_t kRows = 13;
          const int64_t covered = (kernel - 1) * dilation + 1;
          if (covered > kRows + 2 * pad) continue;
          Image in = image({1, 1, kRows, kRows});
          conv(in.graph, "conv", in.x, weights(in.graph, {1, 1, kernel, kernel}),
               window(kernel, stride, dilation, pad), 1);
          const PairMapping pair = only_pair(in.graph);
          const DimMapping& rows = pair.dims[2];
          const int64_t outputs = pair.consumer_space.axes[2].extent;
          const auto row = [&](int64_t o, int64_t k) { return o * stride + k * dilation - pad; };
          for (int64_t begin = 0; begin < outputs; ++begin) {
            for (int64_t end = begin + 1; end <= outputs; ++end) {
              int64_t low = kRows;
              int64_t high = -1;
              for (int64_t o = begin; o < end; ++o) {
                for (int64_t k = 0; k < kernel; ++k) {
                  if (row(o, k) < 0 || row(o, k) >= kRows) continue;
                  low = std::min(low, row(o, k));
                  high = std::max(high, row(o, k));
                }
              }
              const Range range = footprint(rows, {begin, end});
              EXPECT_EQ(range, high < 0 ? (Range{0, 0}) : (Range{low, high + 1}));
            }
          }
          for (int64_t produced = 0; produced <= kRows; ++produced) {
            int64_t complete = 0;
            for (; complete < outputs; ++complete) {
              bool all = true;
              for (int64_t k = 0; k < kernel; ++k) {
                const int64_t at = row(complete, k);
                all = all && (at < 0 || at >= kRows || at < produced);
              }
              if (!all) break;
            }
            const int64_t retired = retired_outputs(rows, produced, outputs);
            EXPECT_EQ(retired, complete) << produced;
            if (produced == kRows) {
              EXPECT_EQ(retired, outputs);
            }
          }
        }
      }
    }
  }
}

TEST(MappingText, RefusesWhatItCannotRead) {
  for (const char* text : {"", "mapping {", "mapping { n1 }", "mapping {} more",
                           "mapping { n0 \"a\" -> n1 \"b\" operand 0 value 0 through [] {\n"
                           "producer x=2\nconsumer x=2\nmap [y]\n} }",
                           "mapping { n0 \"a\" -> n1 \"b\" operand 0 value 0 through [] {\n"
                           "producer x=2, y=2\nconsumer x=2\nmap [x]\n} }"}) {
    Result<MappingTable> table = parse(text);
    ASSERT_FALSE(table.ok()) << text;
    EXPECT_NE(table.error().message.find("line "), std::string::npos);
  }
}

}  // namespace
}  // namespace corf::mapping
