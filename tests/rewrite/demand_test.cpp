#include "rewrite/demand.h"

#include "rewrite/rounding.h"
#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::Combiner;
using graph::Graph;
using graph::ScalarOp;
using graph::ValueId;

TEST(Demand, StepsAskForDigitsThroughWhatRoundsCorrectly) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {4, 8});
  const ValueId quotient = with_constant(graph, ScalarOp::kDiv, x, 41);
  const ValueId moved = graph.add_view("moved", graph::Transpose{{1, 0}}, {quotient}, {8, 4});
  const ValueId clipped = with_constant(graph, ScalarOp::kMax, moved, 0);
  const ValueId floor = unary(graph, ScalarOp::kFloor, clipped);
  const ValueId last = with_constant(graph, ScalarOp::kDiv, floor, 3);
  set_output(graph, last);
  const std::vector<Demand> found = demands(graph);
  for (ValueId value : {x, quotient, moved, clipped}) EXPECT_TRUE(found[value].digits) << value;
  for (ValueId value : {floor, last}) EXPECT_FALSE(found[value].digits) << value;
}

TEST(Demand, FunctionsAndSumsHaveRoundingsOfTheirOwn) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {4, 8});
  const ValueId scaled = with_constant(graph, ScalarOp::kDiv, x, 41);
  const ValueId power = unary(graph, ScalarOp::kExp, scaled);
  const ValueId sum = graph::reduce(graph, "sum", power, Combiner::kSum, {1}, true);
  const ValueId quotient = binary(graph, ScalarOp::kDiv, power, sum);
  set_output(graph, graph::reduce(graph, "arg", quotient, Combiner::kArgMax, {1}, false));
  const std::vector<Demand> found = demands(graph);
  EXPECT_TRUE(found[quotient].digits);
  EXPECT_TRUE(found[power].digits);
  EXPECT_TRUE(found[sum].digits);
  EXPECT_TRUE(found[sum].sign_of_zero);
  EXPECT_FALSE(found[scaled].digits);
  EXPECT_FALSE(found[x].digits);
}

/// A softmax of large numbers: what is taken from each of them lies as far out.
TEST(Demand, ExponentialsAskForTheAbsoluteError) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {4, 8});
  const ValueId scaled = with_constant(graph, ScalarOp::kDiv, x, 41);
  const ValueId most = graph::reduce(graph, "max", scaled, Combiner::kMax, {1}, true);
  const ValueId power = unary(graph, ScalarOp::kExp, binary(graph, ScalarOp::kSub, scaled, most));
  const ValueId other = unary(graph, ScalarOp::kTanh, scaled);
  set_output(graph, binary(graph, ScalarOp::kAdd, power, other));
  const std::vector<Demand> found = demands(graph);
  for (const ValueId value : {x, scaled, most}) EXPECT_TRUE(found[value].absolute) << value;
  EXPECT_FALSE(found[power].absolute);
  EXPECT_FALSE(inverse_factor(41, DType::kF32, found[scaled]));
  EXPECT_TRUE(inverse_factor(8, DType::kF32, found[scaled]));
  EXPECT_TRUE(inverse_factor(41, DType::kF32, found[other]));
}

TEST(Demand, MaximaPassItOnAndRoutinesAskForIt) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {4, 8});
  const ValueId scaled = with_constant(graph, ScalarOp::kMul, x, 0.1f);
  const ValueId most = graph::reduce(graph, "max", scaled, Combiner::kMax, {1}, false);
  set_output(graph, graph.add_opaque("top", {"TopK", {}}, {most},
                                     {{DType::kF32, {2}}, {DType::kI64, {2}}})[1]);
  const std::vector<Demand> found = demands(graph);
  EXPECT_TRUE(found[most].digits);
  EXPECT_TRUE(found[scaled].digits);
}

}  // namespace
}  // namespace corf::rewrite
