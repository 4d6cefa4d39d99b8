#include "rewrite/group_statistics.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "graph/operators.h"
#include "rewrite/merge_views.h"
#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Compute;
using graph::Graph;
using graph::ScalarOp;
using graph::ValueId;
using graph::View;

ValueId scaled(Graph& graph, const std::string& name, ValueId x, double by) {
  return graph::elementwise(graph, name, {x}, [&](graph::ScalarBody& body, const auto& in) {
    return body.apply(ScalarOp::kMul, in[0], body.constant(by, DType::kF32));
  });
}

/// (x - mean) * rsqrt(variance + eps) over groups: [N, G, rest...] of `grouped`.
Graph normalised(const Shape& shape, const Shape& grouped) {
  Graph graph;
  const ValueId x = unary(graph, ScalarOp::kAbs, graph.add_input("x", DType::kF32, shape));
  const ValueId v = graph.add_view("v", graph::Reshape{}, {x}, grouped);
  std::vector<int> rest;
  double count = 1;
  for (size_t d = 2; d < grouped.size(); ++d) {
    rest.push_back(static_cast<int>(d));
    count *= double(grouped[d]);
  }
  auto mean_of = [&](const std::string& name, ValueId of) {
    return scaled(graph, name,
                  graph::reduce(graph, name + "/sum", of, graph::Combiner::kSum, rest, true),
                  1 / count);
  };
  const ValueId centred = binary(graph, ScalarOp::kSub, v, mean_of("mean", v));
  const ValueId variance = mean_of("variance", binary(graph, ScalarOp::kMul, centred, centred));
  const ValueId inverse =
      graph::elementwise(graph, "inverse", {variance}, [](graph::ScalarBody& body, const auto& in) {
        return body.apply(ScalarOp::kRsqrt,
                          body.apply(ScalarOp::kAdd, in[0], body.constant(1e-5, DType::kF32)));
      });
  const ValueId y = binary(graph, ScalarOp::kMul, centred, inverse);
  set_output(graph, graph.add_view("y", graph::Reshape{}, {y}, shape));
  return graph;
}

/// Values as large as the image and of another shape that are computed.
int other_shapes(const Graph& graph, const Shape& shape) {
  int count = 0;
  for (const graph::Node& node : graph.nodes) {
    if (!std::holds_alternative<Compute>(node.op)) continue;
    const Shape& made = graph.values[node.outputs[0]].shape;
    count += num_elems(made) == num_elems(shape) && made != shape;
  }
  return count;
}

TEST(GroupStatistics, AreTakenByChannel) {
  struct Case {
    Shape shape, grouped;
  };
  for (const Case& c : {Case{{1, 8, 6, 5}, {1, 4, 60}},
                        {{2, 6, 4, 4}, {2, 1, 96}},
                        {{3, 4, 7, 3}, {3, 4, 21}},
                        {{2, 8, 5, 4}, {2, 2, 4, 20}},
                        {{2, 4, 20}, {2, 2, 40}},
                        {{1, 4, 3, 3, 3}, {1, 2, 54}}}) {
    SCOPED_TRACE(fmt::format("{} by {}", fmt::join(c.shape, "x"), fmt::join(c.grouped, "x")));
    const Graph before = normalised(c.shape, c.grouped);
    const Graph after = apply(merge_views, apply(group_statistics, before));
    EXPECT_EQ(other_shapes(after, c.shape), 0) << graph::to_string(after);
    expect_same_results(before, after);
  }
}

TEST(GroupStatistics, NotOfFewPointsOrOtherReshapes) {
  for (const auto& [shape, grouped] : {std::pair(Shape{2, 8, 3, 3}, Shape{2, 4, 18}),
                                       {{2, 6, 4, 4}, {3, 4, 16}},
                                       {{2, 6, 4, 4}, {2, 4, 24}},
                                       {{2, 6, 32}, {2, 6, 4, 8}}}) {
    const Graph before = normalised(shape, grouped);
    EXPECT_EQ(graph::to_string(apply(group_statistics, before)), graph::to_string(before));
  }
}

/// What differs within a group stays where it is.
TEST(GroupStatistics, NotBesideOtherOperands) {
  Graph graph;
  const ValueId x = unary(graph, ScalarOp::kAbs, graph.add_input("x", DType::kF32, {1, 8, 6, 5}));
  const ValueId v = graph.add_view("v", graph::Reshape{}, {x}, {1, 4, 60});
  const ValueId w = graph.add_input("w", DType::kF32, {60});
  const ValueId y =
      graph::elementwise(graph, "y", {v, w}, [](graph::ScalarBody& body, const auto& in) {
        return body.apply(ScalarOp::kMul, in[0], in[1]);
      });
  set_output(graph, y);
  EXPECT_EQ(graph::to_string(apply(group_statistics, graph)), graph::to_string(graph));
}

}  // namespace
}  // namespace corf::rewrite
