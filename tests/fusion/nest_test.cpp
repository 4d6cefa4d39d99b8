#include "fusion/nest.h"

#include <cmath>

#include "tests/fusion/networks.h"

namespace corf::fusion {
namespace {

/// "m=8 oh=6 c=4r": reductions are marked.
std::string axes_text(const Nest& nest) {
  std::string text;
  for (const NestAxis& axis : nest.axes) {
    text += (text.empty() ? "" : " ") + axis.name + "=" + std::to_string(axis.extent) +
            (axis.reduction ? "r" : "");
  }
  return text;
}

int64_t count_ops(const Nest& nest, NestOp::Kind kind) {
  return std::count_if(nest.ops.begin(), nest.ops.end(),
                       [&](const NestOp& op) { return op.kind == kind; });
}

Nest nest_of(const Graph& g, const StoragePlan& storage, ValueId value) {
  return build_nest(g, storage, {g.values[value].producer}, {value});
}

/// An element-wise operator whose only operand is read at `map`.
ValueId read_at(Graph& g, const std::string& name, ValueId x, const Shape& extents,
                const std::vector<Expr>& map) {
  graph::Compute compute;
  for (size_t d = 0; d < extents.size(); ++d) {
    compute.space.axes.push_back({"d" + std::to_string(d), extents[d], index::AxisKind::kParallel});
  }
  graph::Operand operand;
  operand.map.exprs = map;
  compute.operands = {operand};
  compute.body.operand(0, g.values[x].dtype);
  return g.add_compute(name, std::move(compute), {x});
}

TEST(BuildNest, InlinesElementwiseOperatorsIntoTheReduction) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 4, 6, 5});
  const ValueId skip = g.add_input("skip", DType::kF32, {1, 8, 6, 5});
  const ValueId bias = g.add_constant("bias", Tensor(DType::kF32, {1, 8, 1, 1}));
  const ValueId product = conv(g, "conv", x, 8, 1);
  const ValueId shifted = add(g, "shifted", product, bias);
  const ValueId joined = add(g, "joined", shifted, skip);
  const ValueId y = relu(g, "y", joined);
  finish(g, {y});
  const StoragePlan storage = plan_storage(g);
  const Nest nest = build_nest(g, storage,
                               {g.values[product].producer, g.values[shifted].producer,
                                g.values[joined].producer, g.values[y].producer},
                               {y});
  EXPECT_EQ(axes_text(nest), "n=1 m=8 oh=6 ow=5 c=4r kh=1r kw=1r");
  EXPECT_EQ(nest.combiner, graph::Combiner::kSum);
  EXPECT_TRUE(nest.contraction.has_value());
  ASSERT_EQ(nest.loads.size(), 4u);  // image, weights, bias, skip: nothing in between
  EXPECT_EQ(count_ops(nest, NestOp::Kind::kReduce), 1);
  EXPECT_EQ(nest.ops[nest.reduce_op].kind, NestOp::Kind::kReduce);
  ASSERT_EQ(nest.stores.size(), 1u);
  EXPECT_EQ(nest.stores[0].access.value, y);
  EXPECT_EQ(nest.ops[nest.stores[0].op].op, ScalarOp::kMax);
  const auto load = std::find_if(nest.loads.begin(), nest.loads.end(),
                                 [&](const Access& access) { return access.value == bias; });
  ASSERT_NE(load, nest.loads.end());
  EXPECT_TRUE(index::depends_on(load->address, 1));
  EXPECT_FALSE(index::depends_on(load->address, 2) || index::depends_on(load->address, 3));
  // What is computed comes before what reads it.
  for (size_t i = 0; i < nest.ops.size(); ++i) {
    for (const int arg : nest.ops[i].args) EXPECT_LT(arg, static_cast<int>(i));
  }
}

TEST(BuildNest, LoadsEqualElementsOnce) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {4, 6});
  const ValueId a = relu(g, "a", x);
  const ValueId b = add(g, "b", a, x);
  const ValueId y = add(g, "y", b, a);
  finish(g, {y, a});
  const Nest nest =
      build_nest(g, plan_storage(g),
                 {g.values[a].producer, g.values[b].producer, g.values[y].producer}, {a, y});
  EXPECT_EQ(nest.loads.size(), 1u);
  EXPECT_EQ(count_ops(nest, NestOp::Kind::kApply), 3);  // max, add, add
  ASSERT_EQ(nest.stores.size(), 2u);
  EXPECT_EQ(nest.stores[0].access.value, a);
  EXPECT_EQ(nest.stores[1].access.value, y);
  EXPECT_EQ(nest.reduce_op, -1);
}

TEST(BuildNest, MarginsTakeThePlaceOfGuards) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 4, 6, 5});
  const ValueId a = conv(g, "c1", x, 8, 3);
  const ValueId b = conv(g, "c2", a, 8, 3);
  const ValueId y = graph::pool(g, "p", b, graph::Combiner::kMax,
                                {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, {6, 5});
  finish(g, {y});
  const StoragePlan storage = plan_storage(g);
  // The graph's input has no margins.
  const Access first = nest_of(g, storage, a).loads[0];
  ASSERT_EQ(first.guards.size(), 2u);
  EXPECT_EQ(first.guards[0].lo, 0);
  EXPECT_EQ(first.guards[0].hi, 6);
  EXPECT_EQ(first.guards[1].hi, 5);
  EXPECT_TRUE(nest_of(g, storage, b).loads[0].guards.empty());
  // Margins hold zeros, but a maximum is padded with minus infinity.
  const Access pooled = nest_of(g, storage, y).loads[0];
  EXPECT_EQ(pooled.guards.size(), 2u);
  EXPECT_EQ(pooled.padding, -HUGE_VAL);
}

TEST(BuildNest, GathersReadThroughAnotherLoad) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {9, 4});
  const ValueId i = g.add_input("i", DType::kI64, {3});
  const ValueId y = graph::gather(g, "y", x, i, 0);
  finish(g, {y});
  const Nest nest = canonicalize(nest_of(g, plan_storage(g), y));
  ASSERT_EQ(nest.loads.size(), 2u);
  std::vector<bool> used;
  for (const Access& load : nest.loads) {
    if (load.value == x) index::collect_variables(load.address, used);
  }
  ASSERT_GT(used.size(), static_cast<size_t>(kGatherBase));
  for (size_t id = kGatherBase; id < used.size(); ++id) {
    if (!used[id]) continue;
    ASSERT_LT(id - kGatherBase, nest.ops.size());
    EXPECT_EQ(nest.ops[id - kGatherBase].dtype, DType::kI64);
  }
}

TEST(ViewCopy, WritesOnePartOfAConcatenation) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {2, 3});
  const ValueId y = g.add_input("y", DType::kF32, {2, 4});
  const ValueId joined = g.add_view("joined", graph::Concat{1}, {x, y}, {2, 7});
  finish(g, {joined});
  const Nest nest = build_view_copy(g, plan_storage(g), g.values[joined].producer, 1);
  std::multiset<std::vector<int64_t>> expected;
  for_each_point({2, 4}, [&](const std::vector<int64_t>& p) {
    expected.insert({p[0] * 4 + p[1], p[0] * 7 + 3 + p[1]});
  });
  EXPECT_EQ(touched(nest), expected);
  EXPECT_EQ(touched(canonicalize(nest)), expected);
}

TEST(ViewCopy, PadsWithTheViewsValue) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {2, 3});
  const ValueId padded = g.add_view("padded", graph::Pad{{1, 2}, 7.5}, {x}, {4, 6});
  finish(g, {padded});
  const Nest nest = build_view_copy(g, plan_storage(g), g.values[padded].producer, 0);
  ASSERT_EQ(nest.loads.size(), 1u);
  EXPECT_EQ(nest.loads[0].padding, 7.5);
  std::multiset<std::vector<int64_t>> expected;
  for_each_point({4, 6}, [&](const std::vector<int64_t>& p) {
    const int64_t row = p[0] - 1, column = p[1] - 2;
    const bool inside = row >= 0 && row < 2 && column >= 0 && column < 3;
    expected.insert({inside ? row * 3 + column : -1, p[0] * 6 + p[1]});
  });
  EXPECT_EQ(touched(nest), expected);
}

TEST(OutputCopy, TurnsChannelsLastIntoRowMajor) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 4, 3, 2});
  const ValueId y = conv(g, "y", x, 8, 1);
  finish(g, {y});
  const StoragePlan storage = plan_storage(g);
  ASSERT_EQ(storage.copied_outputs, std::vector<int>{0});
  const Nest nest = build_output_copy(g, storage, 0);
  EXPECT_EQ(nest.stores[0].access.root, storage.output_roots[0]);
  std::multiset<std::vector<int64_t>> expected;
  for_each_point({8, 3, 2}, [&](const std::vector<int64_t>& p) {
    expected.insert({(p[1] * 2 + p[2]) * 8 + p[0], (p[0] * 3 + p[1]) * 2 + p[2]});
  });
  EXPECT_EQ(touched(nest), expected);
}

/// The axes of an operator's canonical nest, having checked that it touches what the nest did.
std::string canonical_axes(const Graph& g, const StoragePlan& storage, ValueId value) {
  const Nest nest = nest_of(g, storage, value);
  const Nest canonical = canonicalize(nest);
  EXPECT_EQ(touched(canonical), touched(nest)) << g.values[value].name;
  return axes_text(canonical);
}

TEST(Canonicalize, MergesAxesThatAreWalkedAsOne) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {2, 3, 4, 5});
  const ValueId bias = g.add_input("b", DType::kF32, {3, 1, 1});
  const ValueId dense = relu(g, "dense", x);
  const ValueId biased = add(g, "biased", x, bias);
  finish(g, {dense, biased});
  const StoragePlan storage = plan_storage(g);
  EXPECT_EQ(canonical_axes(g, storage, dense), "d0_d1_d2_d3=120");
  EXPECT_EQ(canonical_axes(g, storage, biased), "d0=2 d1=3 d2_d3=20");
}

TEST(Canonicalize, DropsAxesOfOneAndMergesPixels) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 4, 6, 5});
  const ValueId a = relu(g, "a", conv(g, "c1", x, 8, 1));
  const ValueId b = conv(g, "c2", a, 16, 1);
  const ValueId c = conv(g, "c3", b, 8, 1);
  const ValueId d = conv(g, "c4", c, 8, 3);
  finish(g, {d});
  const StoragePlan storage = plan_storage(g);
  EXPECT_EQ(canonical_axes(g, storage, b), "m=16 oh_ow=30 c=8r");
  // Its consumer's padding lies around the rows.
  EXPECT_EQ(canonical_axes(g, storage, c), "m=8 oh=6 ow=5 c=16r");
}

TEST(Canonicalize, SplitsAxesThatDivisionsCut) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {3, 8});
  const Expr row = Expr::variable(0), column = Expr::variable(1);
  // Nearest-neighbour resizing doubles each element.
  const ValueId doubled = read_at(g, "doubled", x, {3, 16}, {row, floor_div(column, Expr(2))});
  const ValueId shuffled = read_at(
      g, "shuffled", x, {3, 8}, {row, mod(column, Expr(4)) * Expr(2) + floor_div(column, Expr(4))});
  // 3 does not cut 8 evenly.
  const ValueId uneven = read_at(g, "uneven", x, {3, 8}, {row, floor_div(column, Expr(3))});
  finish(g, {doubled, shuffled, uneven});
  const StoragePlan storage = plan_storage(g);
  EXPECT_EQ(canonical_axes(g, storage, doubled), "d0_d1=24 d1_in=2");
  EXPECT_EQ(canonical_axes(g, storage, shuffled), "d0=3 d1=2 d1_in=4");
  EXPECT_EQ(canonical_axes(g, storage, uneven), "d0=3 d1=3 d1_in=3");
}

TEST(Canonicalize, KeepsTheStepsOfArgMax) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {4, 6});
  const ValueId sum = graph::reduce(g, "sum", x, graph::Combiner::kSum, {0, 1}, false);
  const ValueId best = graph::reduce(g, "best", x, graph::Combiner::kArgMax, {1}, false);
  finish(g, {sum, best});
  const StoragePlan storage = plan_storage(g);
  EXPECT_EQ(nest_of(g, storage, sum).axes.size(), 2u);
  EXPECT_EQ(canonicalize(nest_of(g, storage, sum)).axes.size(), 1u);
  EXPECT_EQ(canonicalize(nest_of(g, storage, best)).axes.size(), 2u);
  canonical_axes(g, storage, sum);
  canonical_axes(g, storage, best);
}

TEST(Canonicalize, GivesAxesDifferentNames) {
  Nest nest;
  nest.axes = {{"a", 2, false}, {"a", 3, false}};
  Access access;
  access.address = Expr::variable(0) + Expr(5) * Expr::variable(1);
  NestOp load;
  load.kind = NestOp::Kind::kLoad;
  load.access = 0;
  nest.loads = {access};
  nest.ops = {load};
  nest.stores = {{access, 0}};
  const Nest canonical = canonicalize(nest);
  ASSERT_EQ(canonical.axes.size(), 2u);
  EXPECT_NE(canonical.axes[0].name, canonical.axes[1].name);
}

}  // namespace
}  // namespace corf::fusion
