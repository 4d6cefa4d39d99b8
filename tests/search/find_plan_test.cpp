#include "search/find_plan.h"

#include <gtest/gtest.h>

#include "cost/group_cost.h"
#include "fusion/prepare.h"
#include "graph/operators.h"

namespace corf::search {
namespace {

using graph::Combiner;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

/// softmax(q k') v of `heads` heads of 64 columns, its keys transposed already.
graph::Graph attention(int64_t heads, int64_t rows) {
  graph::Graph graph;
  const ValueId q = graph.add_input("q", DType::kF32, {heads, rows, 64});
  const ValueId k = graph.add_input("k", DType::kF32, {heads, 64, rows});
  const ValueId v = graph.add_input("v", DType::kF32, {heads, rows, 64});
  const ValueId scores = graph::matmul(graph, "scores", q, k);
  const ValueId largest = graph::reduce(graph, "largest", scores, Combiner::kMax, {2}, true);
  const ValueId powers = graph::elementwise(
      graph, "powers", {scores, largest}, [](ScalarBody& body, const std::vector<int>& in) {
        return body.apply(ScalarOp::kExp, body.apply(ScalarOp::kSub, in[0], in[1]));
      });
  const ValueId total = graph::reduce(graph, "total", powers, Combiner::kSum, {2}, true);
  const ValueId values = graph::matmul(graph, "values", powers, v);
  const ValueId y = graph::elementwise(graph, "weights", {values, total},
                                       [](ScalarBody& body, const std::vector<int>& in) {
                                         return body.apply(ScalarOp::kDiv, in[0], in[1]);
                                       });
  graph.outputs = {y};
  graph.output_names = {"y"};
  return fusion::prepare(graph);
}

/// Scores of all heads fit no cache, and neither do strips of all rows: the search goes on to
/// shorter ones within each head.
TEST(FindPlan, LongAttentionsAreOneKernel) {
  Machine machine;
  machine.isa = Isa::kAvx512;
  machine.threads = 2;
  machine.l1_bytes = 48 << 10;
  machine.l2_bytes = 2 << 20;
  machine.l3_bytes = 16 << 20;
  machine.fma_gflops_core = 240;
  machine.l1_gbps_core = 380;
  machine.l2_gbps_core = 190;
  machine.l3_gbps_core = 31;
  machine.dram_gbps_all = 58;
  for (int64_t rows : {512, 1000, 2048}) {
    const graph::Graph graph = attention(8, rows);
    const fusion::FusionPlan plan =
        find_plan(graph, machine,
                  [&](const fusion::StoragePlan& storage, const fusion::FusionGroup& group,
                      const fusion::StripAnalysis* strips, const fusion::WrittenSpans& written) {
                    return cost::predict(graph, storage, group, strips, machine, written).total();
                  });
    ASSERT_EQ(plan.groups.size(), 1u) << rows;
    ASSERT_TRUE(plan.groups[0].strips) << rows;
    EXPECT_EQ(plan.groups[0].stages.size(), 5u) << rows;
    EXPECT_EQ(plan.groups[0].strips->outer.size(), 1u) << rows;
    EXPECT_LT(plan.groups[0].strips->strip, rows);
  }
}

}  // namespace
}  // namespace corf::search
