#include "search/known_choices.h"

#include <gtest/gtest.h>

#include "driver/prediction.h"
#include "fusion/prepare.h"
#include "fusion/text.h"
#include "graph/operators.h"
#include "search/find_plan.h"

namespace corf::search {
namespace {

using graph::Combiner;
using graph::Graph;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

/// x / sum(x) along the last dimension, as two operators.
ValueId normalised(Graph& graph, const std::string& name, ValueId x) {
  const ValueId sum = graph::reduce(graph, name + "/sum", x, Combiner::kSum, {1}, true);
  return graph::elementwise(graph, name, {x, sum},
                            [](ScalarBody& body, const std::vector<int>& in) {
                              return body.apply(ScalarOp::kDiv, in[0], in[1]);
                            });
}

Graph finished(Graph graph, const std::vector<ValueId>& outputs) {
  graph.outputs = outputs;
  for (ValueId output : outputs) graph.output_names.push_back(graph.values[output].name);
  return fusion::prepare(graph);
}

/// Equal blocks, one behind the other.
Graph blocks(int count, int64_t columns) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {64, columns});
  for (int i = 0; i < count; ++i) x = normalised(graph, "block" + std::to_string(i), x);
  return finished(std::move(graph), {x});
}

Machine some_machine() {
  Machine machine;
  machine.isa = Isa::kAvx2;
  machine.threads = 2;
  machine.fma_gflops_core = 100;
  machine.l1_gbps_core = 200;
  machine.l2_gbps_core = 80;
  machine.l3_gbps_core = 30;
  machine.dram_gbps_all = 20;
  return machine;
}

/// Signatures of the unfused plan's groups [first, first + 2), for each `first`.
std::vector<std::string> signatures(const Graph& graph) {
  const fusion::FusionPlan plan = find_unfused_plan(graph, some_machine());
  fusion::WalkCache cache(graph, plan.storage);
  RunWords words(graph, plan.storage, cache);
  std::vector<std::string> all;
  for (size_t first = 0; first + 2 <= plan.groups.size(); ++first) {
    all.push_back(words.signature(std::span(plan.groups).subspan(first, 2)));
  }
  return all;
}

TEST(KnownChoices, EqualBlocksHaveOneSignature) {
  const std::vector<std::string> all = signatures(blocks(4, 48));
  ASSERT_EQ(all.size(), 7u);  // sum and quotient, quotient and sum, and so on
  EXPECT_EQ(all[2], all[4]);
  EXPECT_EQ(all[3], all[5]);
  EXPECT_NE(all[3], all[2]);
  // The first block reads the graph's input, the last one gives its output.
  EXPECT_NE(all[0], all[2]);
  EXPECT_NE(all[6], all[2]);
}

TEST(KnownChoices, ExtentsAndReadersTellBlocksApart) {
  const std::string block = signatures(blocks(4, 48))[1];
  EXPECT_NE(signatures(blocks(4, 50))[1], block);
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {64, 48});
  std::vector<ValueId> outputs;
  for (int i = 0; i < 4; ++i) {
    x = normalised(graph, "block" + std::to_string(i), x);
    outputs.push_back(x);
  }
  EXPECT_NE(signatures(finished(std::move(graph), outputs))[1], block);
}

/// What is carried over to an equal block is what a search would find there.
TEST(KnownChoices, SchedulesFitEqualBlocks) {
  const Graph graph = blocks(6, 48);
  const Machine machine = some_machine();
  const GroupTime time = driver::prediction(graph, machine);
  fusion::FusionPlan plan = find_unfused_plan(graph, machine);
  StripSearch search(graph, plan.storage, machine, time);
  RunWords words(graph, plan.storage, search.walks);
  KnownChoices known;
  const auto joined = [&](size_t first) {
    fusion::GroupPlan group;
    for (size_t i = first; i < first + 2; ++i) {
      group.stages.push_back(plan.groups[i].stages[0]);
    }
    return group;
  };
  const auto run = [&](size_t first) { return std::span(plan.groups).subspan(first, 2); };
  const auto chosen = [&](size_t first) { return choose_strips(search, joined(first)); };
  int compared = 0;
  for (size_t first = 1; first + 2 <= plan.groups.size(); ++first) {
    const std::string signature = words.signature(run(first));
    const StripChoice own = chosen(first);
    std::optional<StripChoice> fresh;
    const KnownChoice& found = known.find(signature, [&] { return chosen(first); }, fresh);
    if (fresh) continue;
    EXPECT_EQ(found.legal, own.legal);
    ASSERT_EQ(found.best.size(), own.best.size());
    for (size_t i = 0; i < own.best.size(); ++i) {
      const auto carried =
          with_schedules(search, joined(first), found.best[i].strips,
                         [&](size_t s, const fusion::Nest&) { return found.best[i].of(s); });
      ASSERT_TRUE(carried);
      EXPECT_EQ(carried->time, own.best[i].time);
      ++compared;
    }
  }
  EXPECT_GT(compared, 0);
}

}  // namespace
}  // namespace corf::search
