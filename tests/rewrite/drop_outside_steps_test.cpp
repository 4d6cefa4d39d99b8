#include "rewrite/drop_outside_steps.h"

#include "graph/operators.h"
#include "rewrite/fold_constants.h"
#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Compute;
using graph::Graph;
using graph::ScalarOp;
using graph::ValueId;

Graph convolved(const Shape& shape, int64_t outputs, const graph::Window& window, int64_t groups) {
  Graph graph;
  const ValueId x = unary(graph, ScalarOp::kAbs, graph.add_input("x", DType::kF32, shape));
  Shape taps{outputs, shape[1] / groups};
  taps.insert(taps.end(), window.kernel.begin(), window.kernel.end());
  const ValueId w = graph.add_constant("w", random_tensor(taps, 3));
  set_output(graph, graph::conv(graph, "conv", x, w, window, groups));
  return graph;
}

/// Steps of the sum that makes the output.
int64_t num_steps(const Graph& graph) {
  int64_t steps = 1;
  const auto& compute = std::get<Compute>(graph.producer(graph.outputs[0]).op);
  for (const index::Axis& axis : compute.space.axes) {
    if (axis.kind == index::AxisKind::kReduction) steps *= axis.extent;
  }
  return steps;
}

TEST(DropOutsideSteps, OfWindowsThatReachBeyondTheImage) {
  struct Case {
    Shape shape;
    graph::Window window;
    int64_t groups, taps;
  };
  const Case cases[] = {
      {{2, 4, 1, 1}, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, 1, 1},
      {{1, 4, 1, 5}, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, 1, 3},
      {{1, 4, 4, 5}, {{3, 3}, {1, 1}, {6, 6}, {6, 6}, {6, 6}}, 1, 1},
      {{1, 4, 4, 5}, {{3, 3}, {1, 1}, {4, 4}, {4, 4}, {4, 4}}, 1, 3},
      {{1, 4, 2, 2}, {{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}}, 1, 4},
      {{1, 4, 1, 1}, {{3, 3}, {1, 1}, {1, 1}, {2, 2}, {2, 2}}, 1, 9},
      {{1, 4, 2, 3}, {{7, 7}, {1, 1}, {1, 1}, {3, 3}, {3, 3}}, 1, 15},
      {{1, 4, 1, 1}, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, 4, 1},
      {{1, 4, 3, 1, 1}, {{3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}}, 2, 3},
      {{1, 4, 3, 3}, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, 1, 9},
  };
  for (const Case& c : cases) {
    const Graph before = convolved(c.shape, 4, c.window, c.groups);
    SCOPED_TRACE(graph::to_string(before));
    const Graph after = apply(fold_all_but_dequantizations, apply(drop_outside_steps, before));
    const int64_t channels = c.groups == 4 ? 1 : c.shape[1] / c.groups;
    EXPECT_EQ(num_steps(after), channels * c.taps);
    EXPECT_EQ(count_nodes<graph::View>(after), 0);
    expect_same_results(before, after);
  }
}

/// Where 0 is not the factor that makes a product 0, nothing is left out.
TEST(DropOutsideSteps, NotOfOtherSums) {
  Graph graph = convolved({1, 4, 1, 1}, 4, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, 1);
  auto& compute = std::get<Compute>(graph.nodes[graph.values[graph.outputs[0]].producer].op);
  compute.operands[0].padding = 1;
  EXPECT_EQ(graph::to_string(apply(drop_outside_steps, graph)), graph::to_string(graph));
  compute.operands[0].padding = 0;
  compute.body.nodes.back().op = ScalarOp::kAdd;
  EXPECT_EQ(graph::to_string(apply(drop_outside_steps, graph)), graph::to_string(graph));
}

}  // namespace
}  // namespace corf::rewrite
