#include <gtest/gtest.h>
#include <set>

#include "fusion/prepare.h"
#include "graph/operators.h"
#include "rewrite/winograd.h"
#include "search/find_plan.h"
#include "tests/lower/lowered.h"

namespace corf {
namespace {

/// Runs a kernel's loops and gathers the offsets of its loads and prefetches of one buffer.
class Walk {
 public:
  Walk(const loop::Kernel& kernel, int buffer)
      : buffer_(buffer), values_(kernel.var_names.size()) {}

  void run(const loop::Kernel& kernel, int64_t partition) {
    values_[0] = partition;
    run(kernel.body);
  }
  std::set<int64_t> loaded_lines, fetched_lines;

 private:
  static constexpr int64_t kLineElems = 16;

  void run(const std::vector<loop::Stmt>& body) {
    for (const loop::Stmt& stmt : body) {
      if (const auto* loop = std::get_if<loop::For>(&stmt)) {
        repeat(*loop);
      } else {
        run(std::get<loop::Tile>(stmt).body);
      }
    }
  }
  void run(const std::vector<loop::TileStmt>& body) {
    for (const loop::TileStmt& stmt : body) {
      if (const auto* loop = std::get_if<loop::TileLoop>(&stmt)) {
        repeat(*loop);
      } else if (const auto* prefetch = std::get_if<loop::TilePrefetch>(&stmt)) {
        if (prefetch->buffer == buffer_) {
          fetched_lines.insert(index::evaluate(prefetch->offset, values_) / kLineElems);
        }
      } else if (const auto* let = std::get_if<loop::TileLet>(&stmt)) {
        const auto* load = std::get_if<loop::TileLoad>(&let->value);
        if (load && load->buffer == buffer_) {
          loaded_lines.insert(index::evaluate(load->offset, values_) / kLineElems);
        }
      }
    }
  }
  template <typename Loop>
  void repeat(const Loop& loop) {
    const int64_t hi = index::evaluate(loop.hi, values_);
    for (int64_t i = index::evaluate(loop.lo, values_); i < hi; i += loop.step) {
      values_[static_cast<size_t>(loop.var)] = i;
      run(loop.body);
    }
  }

  int buffer_;
  std::vector<int64_t> values_;
};

TEST(Prefetch, EachPanelButAWorkersFirstIsAskedFor) {
  for (int64_t rows : {33, 49, 100}) {
    SCOPED_TRACE(rows);
    const int64_t k = 256, n = 512;
    graph::Graph graph;
    const graph::ValueId x = graph.add_input("x", DType::kF32, {rows, k});
    const graph::ValueId w = graph.add_constant("w", Tensor(DType::kF32, {k, n}));
    graph.outputs = {graph::matmul(graph, "product", x, w)};
    graph.output_names = {"y"};
    graph = fusion::prepare(graph);
    Machine machine;
    machine.isa = Isa::kAvx512;
    machine.threads = 2;
    machine.l2_bytes = 2 << 20;
    const fusion::FusionPlan plan = search::find_unfused_plan(graph, machine);
    const fusion::NestSchedule& schedule = plan.groups[0].nests[0].schedule;
    ASSERT_EQ(schedule.prefetch, fusion::Prefetch::kPanel);
    ASSERT_EQ(schedule.partition_axis, schedule.vector_axis);
    auto program = test::lowered(graph, plan);
    ASSERT_TRUE(program) << program.error().message;
    const loop::Kernel& kernel = program->kernels[0];
    int weights = -1;
    for (size_t i = 0; i < kernel.buffers.size(); ++i) {
      if (kernel.buffers[i].size_elems == k * n) weights = static_cast<int>(i);
    }
    const int64_t panel_lines = k * schedule.vector_tile / 16;
    for (int64_t part = 0; part < schedule.partitions; ++part) {
      Walk walk(kernel, weights);
      walk.run(kernel, part);
      const int64_t first = *walk.loaded_lines.begin(), last = *walk.loaded_lines.rbegin();
      ASSERT_GT(last - first, 2 * panel_lines);
      int64_t missing = 0;
      for (int64_t line = first + panel_lines; line <= last; ++line) {
        missing += 1 - static_cast<int64_t>(walk.fetched_lines.count(line));
      }
      // The share of a point is rounded to elements: the end of a panel may lack a few lines.
      EXPECT_LE(missing * 50, last - first) << "partition " << part;
      // Nothing of what only another worker reads, but for that rounding.
      EXPECT_LE(*walk.fetched_lines.rbegin(), last + panel_lines / 4);
    }
  }
}

/// Where each matrix of a batch has one panel, as Winograd's products have, the next panel is the
/// next matrix's.
TEST(Prefetch, PanelsOfABatchAreAskedForAMatrixAhead) {
  const int64_t channels = 128, filters = 32, products = 36;
  graph::Graph graph;
  const graph::ValueId x = graph.add_input("x", DType::kF32, {1, channels, 14, 14});
  const graph::ValueId w = graph.add_constant("w", Tensor(DType::kF32, {filters, channels, 3, 3}));
  graph.outputs = {graph::conv(graph, "conv", x, w, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, 1)};
  graph.output_names = {"y"};
  rewrite::WinogradOptions always;
  always.output_tile = [](const rewrite::WinogradShape&) { return 4; };
  auto rewritten = rewrite::winograd(graph, always);
  ASSERT_TRUE(rewritten);
  graph = fusion::prepare(*rewritten);
  Machine machine;
  machine.isa = Isa::kAvx512;
  machine.threads = 2;
  const fusion::FusionPlan plan = search::find_unfused_plan(graph, machine);
  auto program = test::lowered(graph, plan);
  ASSERT_TRUE(program) << program.error().message;
  int found = 0;
  for (const loop::Kernel& kernel : program->kernels) {
    for (size_t weights = 0; weights < kernel.buffers.size(); ++weights) {
      if (kernel.buffers[weights].size_elems != products * channels * filters) continue;
      ++found;
      for (int64_t part = 0; part < 2; ++part) {
        Walk walk(kernel, static_cast<int>(weights));
        walk.run(kernel, part);
        const int64_t panel_lines = channels * filters / 16;
        const int64_t first = *walk.loaded_lines.begin(), last = *walk.loaded_lines.rbegin();
        // Of a step's two lines the walk sees the first.
        ASSERT_EQ(last + 2 - first, panel_lines * products / 2);
        for (int64_t line = first + panel_lines; line <= last; ++line) {
          ASSERT_TRUE(walk.fetched_lines.count(line)) << "partition " << part << ", line " << line;
        }
      }
    }
  }
  EXPECT_EQ(found, 1);
}

}  // namespace
}  // namespace corf
