#include "fusion/resolve.h"

#include <gtest/gtest.h>

#include "fusion/prepare.h"
#include "graph/text.h"
#include "rewrite/winograd.h"
#include "tests/fusion/walks.h"

namespace corf::fusion {
namespace {

/// The last `stages` operators of a graph as one group.
struct Chain {
  Graph graph;
  FusionPlan plan;
  GroupPlan group;

  Chain(Graph source, ValueId output, size_t stages) {
    source.outputs = {output};
    source.output_names = {"y"};
    graph = prepare(source);
    plan = plan_unfused(graph);
    EXPECT_GE(plan.groups.size(), stages);
    for (size_t i = plan.groups.size() - stages; i < plan.groups.size(); ++i) {
      EXPECT_EQ(plan.groups[i].kind, GroupKind::kCompute);
      group.stages.push_back(plan.groups[i].stages[0]);
    }
  }

  Result<Walk> resolve(const StripSchedule& strips) {
    return resolve_walk(graph, plan.storage, group.stages, strips);
  }
  /// Resolves what must be legal.
  Walk legal(const StripSchedule& strips) {
    auto result = resolve(strips);
    EXPECT_TRUE(result) << result.error().message << graph::to_string(graph);
    return result ? result.take() : Walk{};
  }
  std::string refusal(const StripSchedule& strips) {
    auto result = resolve(strips);
    return result ? "legal" : result.error().message;
  }
};

std::vector<int64_t> first_rows(const Walk& walk, size_t ring) {
  return in_strips(walk, row_expressions(walk).rings[ring].first, 0);
}

std::vector<int64_t> needed_rows(const Walk& walk, size_t ring) {
  return in_strips(walk, row_expressions(walk).rings[ring].needed, 0);
}

/// Two convolutions of an image of eight rows, each padded by one.
Chain three_by_three_twice() {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {1, 4, 8, 8});
  const ValueId mid = conv(graph, "first", x, 4, 3, 1, 1);
  const ValueId y = conv(graph, "second", mid, 4, 3, 1, 1);
  return {graph, y, 2};
}

TEST(ResolveWalk, ThreeByThreeTwice) {
  Chain chain = three_by_three_twice();
  const Walk strips = chain.legal(stream(kRows, 2));
  ASSERT_EQ(strips.stages.size(), 2u);
  const WalkStage &first = strips.stages[0], &second = strips.stages[1];
  EXPECT_EQ(prev_rows(strips, 1), (Values{0, 2, 4, 6}));
  EXPECT_EQ(done_rows(strips, 1), (Values{2, 4, 6, 8}));
  // Row r of the second reads rows r - 1 to r + 1 of the first.
  EXPECT_EQ(prev_rows(strips, 0), (Values{0, 3, 5, 7}));
  EXPECT_EQ(done_rows(strips, 0), (Values{3, 5, 7, 8}));
  EXPECT_EQ(first.rows_in_strip, 3);
  EXPECT_EQ(first.rows_made, 8);
  EXPECT_EQ(first.granule, 1);
  EXPECT_EQ(second.granule, 2);
  EXPECT_FALSE(first.overlaps);
  ASSERT_EQ(strips.rings.size(), 1u);
  const WalkRing& ring = strips.rings[0];
  EXPECT_EQ(ring.stages, std::vector<int>{0});
  EXPECT_EQ(first_rows(strips, 0), (Values{-1, 1, 3, 5}));
  EXPECT_EQ(needed_rows(strips, 0), (Values{3, 5, 7, 9}));
  EXPECT_EQ(ring.rows, 4);
  EXPECT_EQ(ring.kept_rows, 2);
}

/// The same with rows scattered as they come: row r of the first is added to partial results of
/// rows r - 1, r and r + 1 of the second, of which the first is then finished.
TEST(ResolveWalk, RowsAreScattered) {
  Chain chain = three_by_three_twice();
  constexpr int kWindowRows = 5;
  StripSchedule schedule = stream(kRows, 1);
  EXPECT_EQ(chain.legal(schedule).rings[0].rows, 3);
  EXPECT_EQ(chain.legal(schedule).stages[1].window_axis, kWindowRows);
  schedule.row_scatters = {{1, kWindowRows}};
  const Walk walk = chain.legal(schedule);
  EXPECT_EQ(walk.lead_strips, 2);
  EXPECT_EQ(done_rows(walk, 1), (Values{0, 0, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(done_rows(walk, 0), (Values{0, 1, 2, 3, 4, 5, 6, 7, 8, 8}));
  ASSERT_EQ(walk.rings.size(), 1u);
  EXPECT_EQ(walk.rings[0].rows, 1);
  EXPECT_EQ(walk.rings[0].kept_rows, 0);
  EXPECT_EQ(first_rows(walk, 0), (Values{-1, 0, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(walk.stages[1].partial->rows, 3);
  using Rows = std::pair<int64_t, int64_t>;
  auto tap_rows = [&](int64_t strip, int64_t tap) {
    return rows_of_tap(walk.stages[1], rows_at(walk, 0, strip)[1], tap);
  };
  EXPECT_EQ(tap_rows(4, 0), Rows(4, 5));
  EXPECT_EQ(tap_rows(4, 1), Rows(3, 4));
  EXPECT_EQ(tap_rows(4, 2), Rows(2, 3));
  EXPECT_EQ(tap_rows(0, 0), Rows(0, 1));  // of the margin
  schedule.row_scatters = {{1, 4}};
  EXPECT_EQ(chain.refusal(schedule),
            "'second' cannot walk in step with the group: its window does not move over the rows "
            "that it reads");
  schedule.row_scatters = {{0, kWindowRows}};
  EXPECT_EQ(chain.refusal(schedule),
            "'second' cannot walk in step with the group: no such stage to scatter rows to");
  schedule.row_scatters = {{1, kWindowRows}, {1, kWindowRows}};
  EXPECT_EQ(chain.refusal(schedule),
            "'second' cannot walk in step with the group: it has one kind of partial results");
}

TEST(ResolveWalk, WorkersComputeTheRowsAtTheirSeamTwice) {
  Chain chain = three_by_three_twice();
  const Walk strips = chain.legal(stream(kRows, 2, 2));
  const WalkStage& first = strips.stages[0];
  // Rows 0 to 3 of the result on one side, 4 to 7 on the other.
  EXPECT_EQ(done_rows(strips, 0, 0), (Values{3, 5}));
  EXPECT_EQ(prev_rows(strips, 0, 1), (Values{3, 7}));
  EXPECT_EQ(done_rows(strips, 0, 1), (Values{7, 8}));
  EXPECT_TRUE(first.overlaps);
  EXPECT_FALSE(strips.stages[1].overlaps);
  EXPECT_EQ(first.rows_made, 5 + 5);
  EXPECT_EQ(first.rows_in_strip, 4);
  EXPECT_EQ(strips.rings[0].rows, 4);
  // As many workers as strips, and more.
  EXPECT_EQ(chain.legal(stream(kRows, 2, 4)).stages[0].rows_made, 3 + 4 + 4 + 3);
  EXPECT_EQ(chain.legal(stream(kRows, 2, 5)).stages[0].rows_made, 3 + 4 + 4 + 3);
}

TEST(ResolveWalk, StrideTwoTakesTwoRowsForOne) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {1, 4, 8, 8});
  const ValueId mid = conv(graph, "first", x, 4, 3, 1, 1);
  const ValueId y = conv(graph, "second", mid, 4, 3, 2, 1);
  Chain chain(graph, y, 2);
  const Walk strips = chain.legal(stream(kRows, 1));
  const WalkStage& first = strips.stages[0];
  EXPECT_EQ(strips.stages[1].rows, 4);
  // Row r reads rows 2r - 1 to 2r + 1.
  EXPECT_EQ(prev_rows(strips, 0), (Values{0, 2, 4, 6}));
  EXPECT_EQ(done_rows(strips, 0), (Values{2, 4, 6, 8}));
  EXPECT_EQ(first.granule, 2);
  EXPECT_EQ(first.rows_in_strip, 2);
  EXPECT_EQ(first_rows(strips, 0), (Values{-1, 1, 3, 5}));
  EXPECT_EQ(strips.rings[0].rows, 3);
  EXPECT_EQ(strips.rings[0].kept_rows, 1);
}

TEST(ResolveWalk, RowsThatNoOneReadsAreSkipped) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {1, 4, 9, 9});
  const ValueId mid = conv(graph, "first", x, 4, 3, 1, 1);
  const ValueId y = conv(graph, "second", mid, 4, 1, 3, 0);
  Chain chain(graph, y, 2);
  const Walk strips = chain.legal(stream(kRows, 1));
  // Rows 0, 3 and 6 are read; what lies between two strips is made with the later one.
  EXPECT_EQ(done_rows(strips, 0), (Values{1, 4, 7}));
  EXPECT_EQ(strips.rings[0].kept_rows, 0);
}

TEST(ResolveWalk, DepthwiseThenPointwise) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {1, 4, 8, 8});
  const ValueId mid = conv(graph, "depthwise", x, 4, 3, 1, 1, 4);
  const ValueId y = conv(graph, "pointwise", mid, 8, 1, 1, 0);
  Chain chain(graph, y, 2);
  const Walk strips = chain.legal(stream(kRows, 3, 2));
  const WalkStage& first = strips.stages[0];
  EXPECT_EQ(done_rows(strips, 0, 0), (Values{3}));
  EXPECT_EQ(prev_rows(strips, 0, 1), (Values{3, 6}));
  EXPECT_EQ(done_rows(strips, 0, 1), (Values{6, 8}));
  EXPECT_FALSE(first.overlaps);
  EXPECT_EQ(first.granule, 3);
  EXPECT_EQ(first.rows_made, 8);
  EXPECT_EQ(strips.rings[0].rows, 3);
  EXPECT_EQ(strips.rings[0].kept_rows, 0);
  EXPECT_EQ(chain.refusal(stream(1, 1)),
            "'depthwise' cannot walk in step with the group: it is read as a whole by every strip");
}

/// The ring of a value as storage.
TEST(ResolveWalk, RingsTakeThePlaceOfTheIntermediate) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {2, 4, 8, 8});
  const ValueId mid = conv(graph, "first", x, 4, 3, 1, 1);
  const ValueId y = conv(graph, "second", mid, 4, 3, 1, 1);
  Chain chain(graph, y, 2);
  StripSchedule schedule = stream(kRows, 2);
  schedule.outer.push_back({0, 1});
  const Walk strips = chain.legal(schedule);
  const StorageView storage(chain.plan.storage, strips);
  const Storage& place = storage.place(strips.rings[0].value);
  // One image, four rows, the width with a column of zeros on either side, channels innermost.
  EXPECT_EQ(storage.root(place.root).kind, Root::Kind::kRing);
  EXPECT_EQ(storage.root(place.root).size_elems, 4 * (8 + 2) * 4);
  EXPECT_EQ(place.strides[kRows], (8 + 2) * 4);
  EXPECT_EQ(place.strides[1], 1);
  EXPECT_EQ(place.offset, 4);
  // The plan of the storage is as it was.
  const Storage& whole = chain.plan.storage.values[strips.rings[0].value];
  EXPECT_EQ(whole.root, place.root);
  EXPECT_EQ(chain.plan.storage.roots[whole.root].kind, Root::Kind::kArena);
}

/// Rows of 2 KiB would all begin in the same set of the first cache level.
TEST(ResolveWalk, RingsSpreadTheirRowsOverCacheSets) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {10, 8});
  const ValueId mid = graph::matmul(graph, "first", x, graph.add_constant("w1", ones({8, 512})));
  const ValueId y = graph::matmul(graph, "second", mid, graph.add_constant("w2", ones({512, 4})));
  Chain chain(graph, y, 2);
  const Walk strips = chain.legal(stream(0, 4));
  const StorageView storage(chain.plan.storage, strips);
  const Storage& place = storage.place(strips.rings[0].value);
  EXPECT_EQ(place.strides, (std::vector<int64_t>{512 + 16, 1}));
  EXPECT_EQ(storage.root(place.root).size_elems, 4 * (512 + 16));
}

TEST(ResolveWalk, ProductsWalkTheirRows) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {10, 8});
  const ValueId mid = graph::matmul(graph, "first", x, graph.add_constant("w1", ones({8, 16})));
  const ValueId y = graph::matmul(graph, "second", mid, graph.add_constant("w2", ones({16, 4})));
  Chain chain(graph, y, 2);
  const Walk strips = chain.legal(stream(0, 4));
  EXPECT_EQ(prev_rows(strips, 0), (Values{0, 4, 8}));
  EXPECT_EQ(done_rows(strips, 0), (Values{4, 8, 10}));
  EXPECT_EQ(strips.stages[0].granule, 4);
  EXPECT_EQ(strips.rings[0].rows, 4);
  EXPECT_EQ(strips.rings[0].kept_rows, 0);
  EXPECT_EQ(chain.refusal(stream(1, 2)),
            "'first' cannot walk in step with the group: it is read as a whole by every strip");
}

TEST(ResolveWalk, SoftmaxWalksQueriesButNotKeys) {
  Graph graph;
  const ValueId q = graph.add_input("q", DType::kF32, {2, 9, 8});
  const ValueId k = graph.add_input("k", DType::kF32, {2, 12, 8});
  const ValueId v = graph.add_input("v", DType::kF32, {2, 12, 8});
  const ValueId scores = graph::matmul(graph, "scores", q, k, false, true);
  const ValueId largest = graph::reduce(graph, "largest", scores, Combiner::kMax, {2}, true);
  const ValueId powers = graph::elementwise(
      graph, "powers", {scores, largest}, [](ScalarBody& body, const std::vector<int>& in) {
        return body.apply(ScalarOp::kExp, body.apply(ScalarOp::kSub, in[0], in[1]));
      });
  const ValueId total = graph::reduce(graph, "total", powers, Combiner::kSum, {2}, true);
  const ValueId weights = graph::elementwise(graph, "weights", {powers, total},
                                             [](ScalarBody& body, const std::vector<int>& in) {
                                               return body.apply(ScalarOp::kDiv, in[0], in[1]);
                                             });
  const ValueId y = graph::matmul(graph, "values", weights, v);
  const size_t stages = [&] {
    Graph copy = graph;
    copy.outputs = {y};
    copy.output_names = {"y"};
    const Graph prepared = prepare(copy);
    size_t count = 0;
    for (const GroupPlan& group : plan_unfused(prepared).groups) {
      const auto nodes = group.nodes();
      const std::string& name = prepared.nodes[nodes[0]].name;
      if (name.find("/copy") == std::string::npos) ++count;
    }
    return count;
  }();
  Chain chain(graph, y, stages);
  StripSchedule schedule = stream(1, 4);
  schedule.outer.push_back({0, 1});
  const Walk strips = chain.legal(schedule);
  EXPECT_GE(strips.rings.size(), 3u);
  for (size_t s = 0; s < strips.stages.size(); ++s) {
    EXPECT_EQ(strips.stages[s].rows, 9);
    EXPECT_EQ(done_rows(strips, s), (Values{4, 8, 9}));
    EXPECT_EQ(strips.stages[s].outer_dims, (std::vector<int>{0}));
  }
  for (const WalkRing& ring : strips.rings) {
    EXPECT_EQ(ring.rows, 4);
    EXPECT_EQ(ring.kept_rows, 0);
  }
  EXPECT_NE(chain.refusal(stream(2, 1)), "legal");
}

TEST(ResolveWalk, WinogradsOperatorsWalkTilesOfFourRows) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {1, 8, 12, 12});
  graph.outputs = {conv(graph, "conv", x, 8, 3, 1, 1)};
  graph.output_names = {"y"};
  rewrite::WinogradOptions options;
  options.output_tile = [](const rewrite::WinogradShape&) { return 4; };
  auto rewritten = rewrite::winograd(graph, options);
  ASSERT_TRUE(rewritten) << rewritten.error().message;
  const ValueId y = rewritten->outputs[0];
  Chain chain(rewritten.take(), y, 3);
  const Walk strips = chain.legal(stream(kRows, 4));
  ASSERT_EQ(strips.stages.size(), 3u);
  // One row of tiles a strip: tiles, products; then four rows of the result.
  for (int s : {0, 1}) {
    EXPECT_EQ(strips.stages[s].rows, 3) << s;
    EXPECT_EQ(done_rows(strips, s), (Values{1, 2, 3})) << s;
  }
  const WalkStage& result = strips.stages[2];
  EXPECT_EQ(result.unit, 4);
  EXPECT_EQ(done_rows(strips, 2), (Values{4, 8, 12}));
  EXPECT_EQ(result.granule, 4);
  for (const WalkRing& ring : strips.rings) EXPECT_EQ(ring.kept_rows, 0);
  // Strips of one row: a row of tiles is made when its first row is due.
  const Walk fine = chain.legal(stream(kRows, 1));
  EXPECT_EQ(done_rows(fine, 1), (Values{1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3}));
}

TEST(ResolveWalk, WhatMakesNoSenseIsRefused) {
  Chain chain = three_by_three_twice();
  for (int dim : {-1, 0, 4, 1 << 30}) {
    EXPECT_NE(chain.refusal(stream(dim, 1)).find("no such stream dimension"), std::string::npos);
  }
  constexpr int64_t kHuge = INT64_MAX;
  for (int64_t wrong : {int64_t{0}, int64_t{-1}, INT64_MIN, kHuge}) {
    EXPECT_NE(chain.refusal(stream(kRows, wrong)), "legal") << wrong;
    EXPECT_NE(chain.refusal(stream(kRows, 1, wrong)), "legal") << wrong;
    StripSchedule schedule = stream(kRows, 1);
    schedule.outer.push_back({1, wrong});
    EXPECT_NE(chain.refusal(schedule), "legal") << wrong;
  }
  for (int loop : {-1, 1, 1 << 30}) {
    StripSchedule schedule = stream(kRows, 1);
    schedule.partition_loop = loop;
    EXPECT_NE(chain.refusal(schedule), "legal") << loop;
  }
  for (int dim : {-1, 0, kRows, 9}) {
    StripSchedule schedule = stream(kRows, 1);
    schedule.outer.push_back({dim, 1});
    EXPECT_NE(chain.refusal(schedule).find("no such"), std::string::npos) << dim;
  }
}

/// Rings have no zeros along the dimensions that outer loops walk.
TEST(ResolveWalk, OuterLoopsStayWithinEveryStage) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {1, 4, 8, 8});
  const ValueId mid = conv(graph, "first", x, 4, 3, 1, 1);
  const ValueId w = graph.add_constant("w", ones({4, 4, 1, 3}));
  auto second = [&](int64_t after) {
    Graph source = graph;
    const graph::Window window{{1, 3}, {1, 1}, {1, 1}, {0, 1}, {after, 1}};
    const ValueId y = graph::conv(source, "second", mid, w, window, 1);
    return Chain(source, y, 2);
  };
  StripSchedule schedule = stream(3, 2);
  schedule.outer.push_back({kRows, 2});
  EXPECT_EQ(second(0).refusal(schedule), "legal");
  EXPECT_EQ(second(1).refusal(schedule),
            "'first' cannot walk in step with the group: an outer dimension goes on beyond it");
}

}  // namespace
}  // namespace corf::fusion
