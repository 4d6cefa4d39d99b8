#include "search/find_plan.h"

#include <gtest/gtest.h>
#include <optional>

#include "driver/prediction.h"
#include "fusion/prepare.h"
#include "fusion/text.h"
#include "graph/operators.h"
#include "tests/fusion/networks.h"
#include "tests/lower/lowered.h"

namespace corf::search {
namespace {

using graph::Combiner;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

Machine measured_machine() {
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
  return machine;
}

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
  const Machine machine = measured_machine();
  for (int64_t rows : {512, 1000, 2048}) {
    const graph::Graph graph = attention(8, rows);
    const fusion::FusionPlan plan = find_plan(graph, machine, driver::prediction(graph, machine));
    ASSERT_EQ(plan.groups.size(), 1u) << rows;
    ASSERT_TRUE(plan.groups[0].walk) << rows;
    EXPECT_EQ(plan.groups[0].stages.size(), 5u) << rows;
    EXPECT_EQ(plan.groups[0].walk->schedule.outer.size(), 1u) << rows;
    EXPECT_LT(plan.groups[0].walk->schedule.strip, rows);
  }
}

/// The position of the largest element, of a window that is walked across its rows.
TEST(FindPlan, EqualElementsAreLookedAtInTheirOrder) {
  graph::Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {64, 2, 3});
  graph::Compute compute;
  compute.space.axes = {{"c", 64, index::AxisKind::kParallel},
                        {"k", 6, index::AxisKind::kReduction}};
  const index::Expr c = index::Expr::variable(0), k = index::Expr::variable(1);
  compute.operands.resize(1);
  compute.operands[0].map.exprs = {c, mod(k, 2), floor_div(k, 2)};
  compute.body.operand(0, DType::kF32);
  compute.combiner = Combiner::kArgMax;
  graph.outputs = {graph.add_compute("position", std::move(compute), {x})};
  graph.output_names = {"position"};
  const fusion::FusionPlan plan = find_unfused_plan(graph, measured_machine());
  ASSERT_EQ(plan.groups.size(), 1u);
  for (const fusion::ScheduledNest& scheduled : plan.groups[0].nests) {
    const Status fits = fusion::check_schedule(scheduled.nest, scheduled.schedule);
    EXPECT_TRUE(fits) << fits.error().message;
    EXPECT_EQ(scheduled.schedule.reduction_order.size(), 2u);
  }
}

/// Rows [rows, k] times constant weights, one product after the other.
graph::Graph products(int64_t rows, const std::vector<int64_t>& columns) {
  graph::Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {rows, columns[0]});
  for (size_t i = 1; i < columns.size(); ++i) {
    Tensor weights(DType::kF32, {columns[i - 1], columns[i]});
    for (int64_t w = 0; w < weights.num_elems(); ++w) weights.set_f64(w, double(w % 3) - 1);
    const std::string number = std::to_string(i);
    x = graph::matmul(graph, "y" + number, x, graph.add_constant("w" + number, weights));
  }
  graph.outputs = {x};
  graph.output_names = {"y"};
  return fusion::prepare(graph);
}

/// What a worker has written is in its own caches: the next kernel shares out the same rows.
TEST(FindPlan, KernelsShareOutWhatTheirWorkersHaveWritten) {
  const Machine machine = measured_machine();
  const graph::Graph graph = products(784, {512, 128, 512, 128, 512});
  const fusion::FusionPlan plan =
      find_unfused_plan(graph, machine, driver::prediction(graph, machine));
  ASSERT_EQ(plan.groups.size(), 4u);
  fusion::DoneSoFar done;
  int num_reads = 0;
  for (const fusion::GroupPlan& group : plan.groups) {
    ASSERT_EQ(group.nests.size(), 1u);
    for (const fusion::Access& load : group.nests[0].nest->loads) {
      const std::optional<int64_t> span = done.before_next().span_of(load.root);
      if (!span) continue;
      ++num_reads;
      EXPECT_TRUE(fusion::same_split(*span, fusion::split_span(group, 0, load)))
          << "span written " << *span;
    }
    done.add(group);
  }
  EXPECT_EQ(num_reads, 3);
}

/// What takes less than waiting for another worker is left to one, without barriers in between.
TEST(FindPlan, SmallKernelsFollowEachOtherOnOneWorker) {
  Machine machine = measured_machine();
  machine.barrier_ns = 100;
  const graph::Graph small = products(1, {16, 16, 16, 16, 16});
  const fusion::FusionPlan plan = find_plan(small, machine, driver::prediction(small, machine));
  for (const fusion::GroupPlan& group : plan.groups) {
    EXPECT_TRUE(fusion::runs_on_one_worker(group)) << fusion::to_string(small, plan);
  }
  const graph::Graph large = products(512, {256, 256, 256});
  const fusion::FusionPlan shared = find_plan(large, machine, driver::prediction(large, machine));
  for (const fusion::GroupPlan& group : shared.groups) {
    EXPECT_FALSE(fusion::runs_on_one_worker(group)) << fusion::to_string(large, shared);
  }
}

/// Few rows of large weights: each worker reads its own part of them.
TEST(FindPlan, LargeWeightsAreSharedOut) {
  const Machine machine = measured_machine();
  const graph::Graph graph = products(32, {2048, 2048, 2048});
  const fusion::FusionPlan plan =
      find_unfused_plan(graph, machine, driver::prediction(graph, machine));
  for (const fusion::GroupPlan& group : plan.groups) {
    const auto& [nest, schedule] = group.nests[0];
    ASSERT_GE(schedule.partition_axis, 0);
    EXPECT_EQ(nest->axes[static_cast<size_t>(schedule.partition_axis)].extent, 2048);
  }
}

/// A batch of images through two inverted residuals, 32 -> 192 -> 32 channels each.
graph::Graph inverted_residuals(int64_t batch) {
  graph::Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {batch, 32, 28, 28});
  for (const std::string block : {"a", "b"}) {
    const ValueId expanded =
        fusion::relu(graph, block + "_relu", fusion::conv(graph, block + "_expand", x, 192, 1));
    const ValueId w = graph.add_constant(block + "_w", Tensor(DType::kF32, {192, 1, 3, 3}));
    const graph::Window window{{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
    const ValueId deep = graph::conv(graph, block + "_depthwise", expanded, w, window, 192);
    const ValueId narrow =
        fusion::conv(graph, block + "_project", fusion::relu(graph, block + "_relu2", deep), 32, 1);
    x = fusion::add(graph, block + "_sum", x, narrow);
  }
  fusion::finish(graph, {x});
  return fusion::prepare(graph);
}

/// Image by image, on the matrix unit: what turns in a ring is one image's rows.
TEST(FindPlan, BatchesOnTheMatrixUnitWalkTheirImages) {
  Machine machine = measured_machine();
  machine.isa = Isa::kAmx;
  machine.matrix_product_ns = 4;
  for (int64_t batch : {2, 4}) {
    const graph::Graph graph = inverted_residuals(batch);
    const fusion::FusionPlan plan = find_plan(graph, machine, driver::prediction(graph, machine));
    int num_on_unit = 0;
    for (const fusion::GroupPlan& group : plan.groups) {
      if (!group.walk || group.walk->schedule.outer.empty()) continue;
      for (const fusion::ScheduledNest& stage : group.nests) {
        num_on_unit += stage.schedule.matrix != 0;
      }
    }
    EXPECT_GT(num_on_unit, 0);
    const auto program = test::lowered(graph, plan);
    EXPECT_TRUE(program) << program.error().message;
    const auto parsed = fusion::parse_plan(graph, fusion::to_string(graph, plan));
    EXPECT_TRUE(parsed) << parsed.error().message;
  }
}

TEST(SplitSpan, PaddingDoesNotPartWorkersFromTheirRows) {
  EXPECT_TRUE(fusion::same_split(1000, 1000));
  EXPECT_TRUE(fusion::same_split(1000, 900));
  EXPECT_FALSE(fusion::same_split(1000, 500));
  EXPECT_FALSE(fusion::same_split(0, 0));
}

}  // namespace
}  // namespace corf::search
