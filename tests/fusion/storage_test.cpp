#include "fusion/prepare.h"
#include "rewrite/rewrite.h"
#include "tests/fusion/networks.h"
#include "tests/rewrite/compare.h"

namespace corf::fusion {
namespace {

using Strides = std::vector<int64_t>;

TEST(PlanStorage, PutsTheChannelsInnermost) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 3, 6, 5});
  const ValueId a = relu(g, "a", conv(g, "c1", x, 24, 1));
  const ValueId y = conv(g, "c2", a, 40, 1);
  finish(g, {y});
  const StoragePlan plan = plan_storage(g);
  expect_sound(g, plan);
  EXPECT_EQ(plan.values[a].strides, (Strides{6 * 5 * 24, 1, 5 * 24, 24}));
  EXPECT_EQ(kind_of(plan, a), Root::Kind::kArena);
  // Models keep NCHW at their borders: the input as it is, the output through a copy.
  EXPECT_EQ(plan.values[x].strides, (Strides{90, 30, 5, 1}));
  EXPECT_EQ(kind_of(plan, x), Root::Kind::kInput);
  EXPECT_EQ(plan.copied_outputs, std::vector<int>{0});
  EXPECT_EQ(plan.roots[plan.output_roots[0]].kind, Root::Kind::kOutput);
  EXPECT_EQ(plan.roots[plan.output_roots[0]].size_elems, 40 * 6 * 5);
  EXPECT_TRUE(plan.copied_views.empty());
}

/// Samples of an image at places that other data say: each place once, for all channels.
TEST(PlanStorage, SampledChannelsLieInnermost) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 24, 9});
  const ValueId places = g.add_input("places", DType::kI32, {50, 2});
  graph::Compute samples;
  samples.space.axes = {{"c", 24, index::AxisKind::kParallel},
                        {"o", 50, index::AxisKind::kParallel},
                        {"tap", 2, index::AxisKind::kReduction}};
  const auto axis = [](int number) { return index::Expr::variable(number); };
  samples.operands.resize(2);
  samples.operands[0].map.exprs = {0, axis(0), min(max(axis(3 + 1), 0), 8)};
  samples.operands[1].map.exprs = {axis(1), axis(2)};
  samples.body.operand(0, DType::kF32);
  samples.combiner = graph::Combiner::kSum;
  const ValueId y = g.add_compute("samples", std::move(samples), {x, places});
  finish(g, {relu(g, "y", y)});
  const StoragePlan plan = plan_storage(g);
  EXPECT_EQ(plan.values[y].strides, (Strides{1, 24}));
}

/// Whichever way the operands stand: as the convolution behind them reads them, not as the caller's
/// input lies.
TEST(PlanStorage, JoinedValuesLieAsTheirReadersWish) {
  const Strides channels_last = {6 * 5 * 48, 1, 5 * 48, 48};
  for (const bool skip_first : {true, false}) {
    for (const bool activated : {true, false}) {
      Graph g;
      const ValueId skip = g.add_input("skip", DType::kF32, {1, 24, 6, 5});
      const ValueId x = g.add_input("x", DType::kF32, {1, 24, 6, 5});
      const ValueId up = conv(g, "up", x, 24, 1);
      const std::vector<ValueId> parts =
          skip_first ? std::vector<ValueId>{skip, up} : std::vector<ValueId>{up, skip};
      const ValueId joined = g.add_view("joined", graph::Concat{1}, parts, {1, 48, 6, 5});
      const ValueId read = activated ? relu(g, "activated", joined) : joined;
      finish(g, {conv(g, "c", read, 16, 3)});
      const StoragePlan plan = plan_storage(g);
      expect_sound(g, plan);
      EXPECT_EQ(plan.values[joined].strides[1], 1) << skip_first << activated;
      EXPECT_EQ(plan.values[read].strides[1], 1) << skip_first << activated;
      if (activated) {
        EXPECT_EQ(plan.values[joined].strides, channels_last);
      }
    }
  }
  // A sum likewise.
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 24, 6, 5});
  const ValueId sum = add(g, "sum", x, conv(g, "c1", x, 24, 1));
  finish(g, {conv(g, "c2", sum, 16, 3)});
  EXPECT_EQ(plan_storage(g).values[sum].strides[1], 1);
}

/// Behind attention: the rows of a head stay rows, however many heads a projection sums over.
TEST(PlanStorage, RowsOfHeadsStayRowsWhereHeadsAreSummedToo) {
  constexpr int64_t kHeads = 24, kTokens = 49, kRow = 32;
  Graph g;
  const ValueId weights = g.add_input("weights", DType::kF32, {kHeads, kTokens, kTokens});
  const ValueId values = g.add_input("values", DType::kF32, {kHeads, kTokens, kRow});
  const ValueId rows = relu(g, "rows", graph::matmul(g, "product", weights, values));
  const ValueId w = g.add_constant("w", Tensor(DType::kF32, {kHeads * kRow, 64}));
  const ValueId turned =
      g.add_view("turned", graph::Transpose{{1, 0, 2}}, {rows}, {kTokens, kHeads, kRow});
  const ValueId wide = g.add_view("wide", graph::Reshape{}, {turned}, {kTokens, kHeads * kRow});
  finish(g, {graph::matmul(g, "projection", wide, w)});
  const auto rewritten = rewrite::rewrite(std::move(g), {});
  ASSERT_TRUE(rewritten);
  const Graph prepared = prepare(*rewritten);
  const StoragePlan plan = plan_storage(prepared);
  bool found = false;
  for (size_t v = 0; v < plan.values.size(); ++v) {
    if (prepared.values[v].name != "rows") continue;
    found = true;
    EXPECT_EQ(plan.values[v].strides.back(), 1);
  }
  EXPECT_TRUE(found);
}

TEST(PlanStorage, WritesRowMajorOutputsInPlace) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {4, 6});
  const ValueId y = relu(g, "y", x);
  finish(g, {y});
  const StoragePlan plan = plan_storage(g);
  expect_sound(g, plan);
  EXPECT_EQ(kind_of(plan, y), Root::Kind::kOutput);
  EXPECT_TRUE(plan.copied_outputs.empty());
  EXPECT_EQ(plan.output_roots[0], plan.values[y].root);
}

/// Rows of 512 bytes, which lie apart where no caller sees them.
TEST(PlanStorage, WritesReshapedOutputsInPlace) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {24, 128});
  const ValueId rows = relu(g, "rows", x);
  const ValueId y = g.add_view("y", graph::Reshape{}, {rows}, {2, 12, 128});
  finish(g, {y});
  const Graph prepared = prepare(g);
  const StoragePlan plan = plan_storage(prepared);
  expect_sound(prepared, plan);
  EXPECT_TRUE(plan.copied_outputs.empty());
  EXPECT_EQ(kind_of(plan, prepared.outputs[0]), Root::Kind::kOutput);
}

/// A part of a result, in another order than it is computed in: one kernel writes what the caller
/// gets.
TEST(PlanStorage, CopiesWhatViewsTakeOutOfAResult) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {24, 40});
  const ValueId rows = relu(g, "rows", x);
  const ValueId part = g.add_view("part", graph::Slice{{0, 4}, {1, 1}}, {rows}, {24, 20});
  const ValueId y = g.add_view("y", graph::Transpose{{1, 0}}, {part}, {20, 24});
  finish(g, {y});
  const Graph prepared = prepare(g);
  const StoragePlan plan = plan_storage(prepared);
  expect_sound(prepared, plan);
  EXPECT_TRUE(plan.copied_outputs.empty());
  EXPECT_EQ(prepared.producer(prepared.outputs[0]).origin, "Copy");
  rewrite::expect_same_results(g, prepared, 0);
}

TEST(PlanStorage, GivesMarginsToWhatPaddedConvolutionsRead) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 4, 7, 9});
  const ValueId a = relu(g, "a", conv(g, "c1", x, 8, 1));
  const ValueId five = conv(g, "c2", a, 8, 5);
  const ValueId three = conv(g, "c3", a, 8, 3);
  finish(g, {add(g, "y", five, three)});
  const StoragePlan plan = plan_storage(g);
  expect_sound(g, plan);
  const Storage& storage = plan.values[a];
  // The larger of the two consumers' paddings.
  EXPECT_EQ(storage.margin_before, (Strides{0, 0, 2, 2}));
  EXPECT_EQ(storage.margin_after, (Strides{0, 0, 2, 2}));
  EXPECT_EQ(storage.strides, (Strides{11 * 13 * 8, 1, 13 * 8, 8}));
  EXPECT_EQ(storage.offset, 2 * 13 * 8 + 2 * 8);
  EXPECT_EQ(plan.roots[storage.root].size_elems, 11 * 13 * 8);
  EXPECT_FALSE(plan.values[five].has_margins());
  EXPECT_FALSE(plan.values[x].has_margins());
}

TEST(PlanStorage, GivesNoMarginsForOtherPaddingThanZero) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 4, 8, 8});
  const ValueId a = conv(g, "c1", x, 8, 1);
  const ValueId y = graph::pool(g, "p", a, graph::Combiner::kMax,
                                {{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}}, {4, 4});
  finish(g, {y});
  const StoragePlan plan = plan_storage(g);
  expect_sound(g, plan);
  EXPECT_FALSE(plan.values[a].has_margins());
}

/// A transposed convolution with 3 taps at stride 2 reads a fourth one, which is zero.
TEST(PlanStorage, GivesMarginsToConstants) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 4, 9, 9});
  const ValueId w = g.add_constant("w", Tensor(DType::kF32, {4, 8, 3, 3}));
  const graph::Window window{{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}};
  finish(g, {graph::conv_transpose(g, "up", x, w, window, 1, {18, 18})});
  const StoragePlan plan = plan_storage(g);
  expect_sound(g, plan);
  EXPECT_EQ(plan.values[w].margin_after, (Strides{0, 0, 1, 1}));
  EXPECT_EQ(plan.values[w].strides, (Strides{8 * 16, 16, 4, 1}));
  EXPECT_EQ(plan.constant_bytes, 4 * 8 * 16 * 4);
}

TEST(PlanStorage, WritesPartsOfAConcatenationInPlace) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 8, 6, 6});
  const ValueId a = relu(g, "a", conv(g, "c1", x, 8, 1));
  const ValueId b = relu(g, "b", conv(g, "c2", x, 24, 1));
  const ValueId joined = g.add_view("joined", graph::Concat{1}, {a, b}, {1, 32, 6, 6});
  finish(g, {conv(g, "c3", joined, 16, 3)});
  const StoragePlan plan = plan_storage(g);
  expect_sound(g, plan);
  EXPECT_TRUE(plan.copied_views.empty());
  const Storage &whole = plan.values[joined], &first = plan.values[a], &second = plan.values[b];
  EXPECT_EQ(first.root, whole.root);
  EXPECT_EQ(second.root, whole.root);
  EXPECT_EQ(first.strides, whole.strides);
  EXPECT_EQ(second.strides, whole.strides);
  EXPECT_EQ(first.offset, whole.offset);
  EXPECT_EQ(second.offset, whole.offset + 8);
  // The consumer's padding goes around the whole.
  EXPECT_EQ(whole.margin_before, (Strides{0, 0, 1, 1}));
  EXPECT_EQ(whole.strides, (Strides{8 * 8 * 32, 1, 8 * 32, 32}));
}

TEST(PlanStorage, CopiesPartsThatCannotLieInPlace) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 4, 6, 6});
  const ValueId a = relu(g, "a", conv(g, "c1", x, 4, 1));
  // An input is the caller's array; a value has one place only.
  const ValueId joined = g.add_view("joined", graph::Concat{1}, {a, x, a}, {1, 12, 6, 6});
  finish(g, {conv(g, "c2", joined, 16, 1)});
  const StoragePlan plan = plan_storage(g);
  expect_sound(g, plan);
  ASSERT_EQ(plan.copied_views.size(), 1u);
  EXPECT_EQ(g.nodes[plan.copied_views[0]].name, "joined");
  EXPECT_EQ(plan.copied_parts, (std::vector<std::vector<int>>{{1, 2}}));
  EXPECT_NE(plan.values[x].root, plan.values[joined].root);
  EXPECT_EQ(plan.values[a].root, plan.values[joined].root);
}

/// A graph input beside a convolution's result: copied into its place, once.
TEST(PlanStorage, PartsThatAreCopiedTakeTheWholesOrder) {
  for (const bool first : {true, false}) {
    Graph source;
    const ValueId x = source.add_input("x", DType::kF32, {1, 32, 8, 8});
    const ValueId a = conv(source, "a", x, 16, 1);
    const std::vector<ValueId> parts = first ? std::vector{x, a} : std::vector{a, x};
    const ValueId whole = source.add_view("whole", graph::Concat{1}, parts, {1, 48, 8, 8});
    finish(source, {relu(source, "out", conv(source, "reader", whole, 16, 3))});
    const Graph g = prepare(source);
    const StoragePlan plan = plan_storage(g);
    expect_sound(g, plan);
    EXPECT_TRUE(plan.copied_views.empty()) << first;
  }
}

/// What stands around the whole is zeroed with the first and the last part.
TEST(PlanStorage, OuterPartsOfAConcatenationHaveItsMargins) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 4, 6, 6});
  const ValueId a = conv(g, "a", x, 4, 1), b = conv(g, "b", x, 4, 1), c = conv(g, "c", x, 4, 1);
  const ValueId whole = g.add_view("whole", graph::Concat{2}, {a, b, c}, {1, 4, 18, 6});
  finish(g, {conv(g, "reader", whole, 4, 3)});
  const StoragePlan plan = plan_storage(g);
  EXPECT_TRUE(plan.copied_views.empty());
  auto margins = [&](ValueId value) {
    return std::pair(plan.values[value].margin_before[2], plan.values[value].margin_after[2]);
  };
  EXPECT_EQ(margins(whole), std::pair(int64_t{1}, int64_t{1}));
  EXPECT_EQ(margins(a), std::pair(int64_t{1}, int64_t{0}));
  EXPECT_EQ(margins(b), std::pair(int64_t{0}, int64_t{0}));
  EXPECT_EQ(margins(c), std::pair(int64_t{0}, int64_t{1}));
}

TEST(PlanStorage, NestedConcatenationsShareOneBuffer) {
  // DenseNet's blocks: each step reads all that came before.
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 8, 4, 4});
  const ValueId a = conv(g, "c1", x, 16, 1);
  const ValueId b = conv(g, "c2", a, 8, 1);
  const ValueId ab = g.add_view("ab", graph::Concat{1}, {a, b}, {1, 24, 4, 4});
  const ValueId c = conv(g, "c3", ab, 8, 1);
  const ValueId abc = g.add_view("abc", graph::Concat{1}, {a, b, c}, {1, 32, 4, 4});
  finish(g, {conv(g, "c4", abc, 8, 1)});
  const StoragePlan plan = plan_storage(g);
  expect_sound(g, plan);
  EXPECT_TRUE(plan.copied_views.empty());
  for (const ValueId value : {a, b, ab, c}) {
    EXPECT_EQ(plan.values[value].root, plan.values[abc].root) << g.values[value].name;
  }
  EXPECT_EQ(plan.values[c].offset, plan.values[abc].offset + 24);
}

TEST(PlanStorage, ViewsAreOtherLooksAtTheirInput) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {4, 6, 5});
  const ValueId a = relu(g, "a", x);
  const ValueId turned = g.add_view("turned", graph::Transpose{{2, 0, 1}}, {a}, {5, 4, 6});
  const ValueId cut = g.add_view("cut", graph::Slice{{3, 0, 1}, {-1, 1, 2}}, {a}, {4, 6, 2});
  const ValueId flat = g.add_view("flat", graph::Reshape{}, {a}, {2, 2, 30});
  const ValueId wide = g.add_view("wide", graph::Broadcast{}, {a}, {3, 4, 6, 5});
  finish(g, {relu(g, "o1", turned), relu(g, "o2", cut), relu(g, "o3", flat), relu(g, "o4", wide)});
  const StoragePlan plan = plan_storage(g);
  expect_sound(g, plan);
  EXPECT_TRUE(plan.copied_views.empty());
  for (const ValueId view : {turned, cut, flat, wide}) {
    EXPECT_EQ(plan.values[view].root, plan.values[a].root) << g.values[view].name;
  }
  EXPECT_EQ(plan.values[turned].strides, (Strides{1, 30, 5}));
  EXPECT_EQ(plan.values[cut].strides, (Strides{-30, 5, 2}));
  EXPECT_EQ(plan.values[cut].offset, 3 * 30 + 1);
  EXPECT_EQ(plan.values[flat].strides, (Strides{60, 30, 1}));
  EXPECT_EQ(plan.values[wide].strides, (Strides{0, 30, 5, 1}));
}

TEST(PlanStorage, CopiesReshapesThatMixDimensions) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 4, 6, 5});
  const ValueId a = conv(g, "c1", x, 8, 1);  // channels last: rows of 8 channels
  const ValueId flat = g.add_view("flat", graph::Reshape{}, {a}, {1, 8 * 6 * 5});
  finish(g, {relu(g, "y", flat)});
  const StoragePlan plan = plan_storage(g);
  expect_sound(g, plan);
  ASSERT_EQ(plan.copied_views.size(), 1u);
  EXPECT_EQ(g.nodes[plan.copied_views[0]].name, "flat");
  EXPECT_NE(plan.values[flat].root, plan.values[a].root);
}

TEST(PlanStorage, SpreadsPixelsOverCacheSets) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 4, 3, 3});
  const ValueId a = relu(g, "a", conv(g, "c1", x, 512, 1));  // 2 KiB a pixel
  finish(g, {conv(g, "c2", a, 4, 1)});
  const StoragePlan plan = plan_storage(g);
  expect_sound(g, plan);
  EXPECT_EQ(plan.values[a].strides[3], 512 + 16);
}

TEST(PlanStorage, KeepsWhatRoutinesSeeDense) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {3, 512});
  const ValueId a = relu(g, "a", x);  // 2 KiB a row, which would be spread otherwise
  const auto largest = g.add_opaque("t", {"TopK", {}}, {a}, {{DType::kF32, {3, 2}}});
  finish(g, {relu(g, "y", largest[0])});
  const StoragePlan plan = plan_storage(g);
  expect_sound(g, plan);
  EXPECT_EQ(plan.values[a].strides, (Strides{512, 1}));
  EXPECT_EQ(plan.values[largest[0]].strides, (Strides{2, 1}));
}

TEST(ReshapeStrides, MatchesRunsOfDimensions) {
  EXPECT_EQ(reshape_strides({4, 6}, {6, 1}, {24}), (Strides{1}));
  EXPECT_EQ(reshape_strides({4, 6}, {8, 1}, {24}), std::nullopt);  // gaps between rows
  EXPECT_EQ(reshape_strides({4, 6}, {8, 1}, {2, 2, 3, 2}), (Strides{16, 8, 2, 1}));
  EXPECT_EQ(reshape_strides({4, 6}, {1, 4}, {24}), std::nullopt);  // columns outermost
  EXPECT_EQ(reshape_strides({4, 1, 6}, {6, 999, 1}, {4, 6}), (Strides{6, 1}));
  const auto with_units = reshape_strides({4, 6}, {6, 1}, {1, 4, 1, 6, 1});
  ASSERT_TRUE(with_units.has_value());
  EXPECT_EQ((*with_units)[1], 6);
  EXPECT_EQ((*with_units)[3], 1);
  EXPECT_TRUE(reshape_strides({0, 6}, {6, 1}, {3, 0}).has_value());
}

}  // namespace
}  // namespace corf::fusion
