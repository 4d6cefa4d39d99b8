#include "fusion/text.h"

#include <random>

#include "search/find_plan.h"
#include "tests/fusion/networks.h"

namespace corf::fusion {
namespace {

/// Two convolutions, a concatenation of which one part is copied, a routine, and an output in
/// channels-last order.
Graph network() {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 8, 6, 10});
  const ValueId a = relu(g, "relu \"1\"", conv(g, "conv1", x, 32, 3));
  const ValueId joined = g.add_view("joined", graph::Concat{1}, {a, x}, {1, 40, 6, 10});
  const ValueId y = conv(g, "conv2", joined, 16, 1);
  const ValueId flat = relu(g, "dense", g.add_input("z", DType::kF32, {4, 6}));
  const auto top = g.add_opaque("top", {"TopK", {}}, {flat}, {{DType::kF32, {4, 2}}});
  finish(g, {y, top[0]});
  for (graph::NodeId id = 0; id < static_cast<graph::NodeId>(g.nodes.size()); ++id) {
    if (std::holds_alternative<graph::Input>(g.nodes[id].op)) {
      g.inputs.push_back(g.nodes[id].outputs[0]);
    }
  }
  std::sort(g.inputs.begin(), g.inputs.end());
  g.inputs.erase(std::unique(g.inputs.begin(), g.inputs.end()), g.inputs.end());
  return g;
}

/// Three convolutions whose images are far larger than what lies between them in a strip.
Graph chain() {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 16, 96, 96});
  const ValueId wide = relu(g, "wide", conv(g, "expand", x, 96, 1));
  const ValueId y = conv(g, "project", relu(g, "mixed", conv(g, "mix", wide, 16, 3)), 16, 1);
  finish(g, {y});
  g.inputs = {x};
  return g;
}

FusionPlan unfused_plan(const Graph& g) { return search::find_unfused_plan(g, detect_machine(2)); }

/// With strips wherever they are possible: a group costs the same whatever it holds.
FusionPlan joined_plan(const Graph& g) {
  return search::find_plan(g, detect_machine(2),
                           [](const auto&, const auto&, const auto&) { return 1.0; });
}

void expect_round_trip(const Graph& g, const FusionPlan& plan) {
  const std::string text = to_string(g, plan);
  const auto again = parse_plan(g, text);
  ASSERT_TRUE(again.ok()) << again.error().message << "\n" << text;
  EXPECT_EQ(to_string(g, *again), text);
  EXPECT_EQ(plan_hash(g, *again), plan_hash(g, plan));
  EXPECT_EQ(again->groups.size(), plan.groups.size());
}

TEST(PlanText, StripsRoundTrip) {
  const Graph g = chain();
  const FusionPlan plan = joined_plan(g);
  expect_round_trip(g, plan);
  const std::string text = to_string(g, plan);
  for (const std::string words : {"  stage\n", "  strips 2 by ", "# ring "}) {
    EXPECT_NE(text.find(words), std::string::npos) << words << " in\n" << text;
  }
}

TEST(PlanText, RoundTrips) {
  const Graph g = network();
  expect_round_trip(g, joined_plan(g));
  const FusionPlan plan = unfused_plan(g);
  expect_round_trip(g, plan);
  const std::string text = to_string(g, plan);
  for (const std::string words :
       {"group compute", "group copy", "group output 0", "group routine", "\"relu \\\"1\\\"\""}) {
    EXPECT_NE(text.find(words), std::string::npos) << words << " in\n" << text;
  }
}

/// A plan of one group, written by hand: comments and the order of words are the printer's.
constexpr std::string_view kGolden =
    "plan\n"
    "group compute {\n"
    "  node \"conv\"\n"
    "  node \"relu\"\n"
    "  store \"relu\"  # buffer 0 at 0, strides [16, 1]\n"
    "  # \"conv\" from \"conv\" to \"relu\": inline\n"
    "  # m=8 n=16 | k=24\n"
    "  schedule vector n 16 tile m 4 unroll - reduce k steps 2 prefetch none order m, n block - 0 "
    "split m 2\n"
    "}\n";

Graph golden_network() {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {8, 24});
  const ValueId w = g.add_constant("w", Tensor(DType::kF32, {24, 16}));
  const ValueId y = relu(g, "relu", graph::matmul(g, "conv", x, w));
  g.inputs = {x};
  finish(g, {y});
  return g;
}

TEST(PlanText, ReadsAsIntended) {
  const Graph g = golden_network();
  const auto plan = parse_plan(g, kGolden);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  std::string printed = to_string(g, *plan);
  // The number of the buffer is the storage planner's affair.
  const size_t number = printed.find("# buffer ") + 9;
  printed.replace(number, printed.find(" at", number) - number, "0");
  EXPECT_EQ(printed, kGolden);
  ASSERT_EQ(plan->groups.size(), 1u);
  ASSERT_EQ(plan->groups[0].nests.size(), 1u);
  const NestSchedule& schedule = plan->groups[0].nests[0].schedule;
  EXPECT_EQ(schedule.vector_tile, 16);
  ASSERT_EQ(schedule.register_tile.size(), 1u);
  EXPECT_EQ(schedule.register_tile[0].extent, 4);
  EXPECT_EQ(schedule.reduction_unroll, 2);
  EXPECT_EQ(schedule.block_axis, -1);
  EXPECT_EQ(schedule.partitions, 2);
  const std::vector<Link> links = links_of(g, plan->groups[0]);
  ASSERT_EQ(links.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<Inline>(links[0].strategy));
}

TEST(PlanText, TellsWhereItIsWrong) {
  const Graph g = golden_network();
  struct Case {
    std::string from, to, message;
  };
  const std::vector<Case> cases = {
      {"plan", "plain", "line 1, column 1: expected 'plan'"},
      {"group compute", "group computes", "line 2"},
      {"node \"conv\"", "node \"conf\"", "line 3, column 8: the graph has no node \"conf\""},
      {"store \"relu\"", "store \"y\"", "no value \"y\""},
      {"  node \"conv\"\n  node \"relu\"\n", "", "line 3, column 3"},
      {"group compute", "group routine", "a copy or routine takes one node"},
      {"vector n 16", "vector z 16", "the nest has no axis 'z'; it has m=8 n=16 | k=24"},
      {"vector n 16", "vector n 17", "longer than its axis"},
      {"vector n 16", "vector - 16", "a vector takes an axis"},
      {"tile m 4", "tile k 4", "`tile` takes parallel axes"},
      {"order m, n", "order m", "each parallel axis must stand once"},
      {"split m 2", "split m 0", "must be positive"},
      {"split m 2\n", "split m\n", "expected partitions"},
      {"split m 2", "split m 65537", "a count is too large"},
      {"vector n 16", "vector n 9223372036854775807", "a tile is too large"},
      {"steps 2", "steps 4097", "a tile is too large"},
      {"steps 2", "steps 4294967298", "steps is too large"},
      {"split m 2", "split k 2", "group 1 (node \"conv\"), schedule 1: the schedule does not fit"},
      {"}\n", "", "line 9, column 1"},
  };
  for (const Case& c : cases) {
    std::string wrong(kGolden);
    ASSERT_NE(wrong.find(c.from), std::string::npos) << c.from;
    wrong.replace(wrong.find(c.from), c.from.size(), c.to);
    const auto plan = parse_plan(g, wrong);
    ASSERT_FALSE(plan.ok()) << c.to;
    EXPECT_EQ(plan.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(plan.error().message.find(c.message), std::string::npos) << plan.error().message;
  }
}

/// A stage of a group in strips may store only what somebody reads: there are no rows of anything
/// else that a strip would need.
TEST(PlanText, StoresOnlyWhatIsRead) {
  const Graph g = chain();
  std::string text = to_string(g, joined_plan(g));
  const size_t store = text.find("  store \"mixed\"");
  ASSERT_NE(store, std::string::npos) << text;
  text.insert(store, "  store \"mix\"\n");
  const auto plan = parse_plan(g, text);
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.error().message.find("group 1 (node \"expand\"): 'mix' is stored, but nothing"),
            std::string::npos)
      << plan.error().message;
}

/// The group's workers share out its loops; an axis that a stage named besides would begin where
/// the partition's number says.
TEST(PlanText, StagesOfStripsAreNotSplitByThemselves) {
  const Graph g = chain();
  std::string text = to_string(g, joined_plan(g));
  const std::string whole = "order oh, m, ow block - 0 split - 1\n";
  const size_t at = text.find(whole);
  ASSERT_NE(at, std::string::npos) << text;
  text.replace(at, whole.size(), "order oh, m, ow block - 0 split m 1\n");
  const auto plan = parse_plan(g, text);
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.error().message.find("a stage of a strip is not split by itself"),
            std::string::npos)
      << plan.error().message;
}

TEST(PlanText, CopiesHaveOneStage) {
  const Graph g = network();
  std::string text = to_string(g, unfused_plan(g));
  const std::string opening = "group copy {\n";
  const size_t at = text.find(opening);
  ASSERT_NE(at, std::string::npos) << text;
  text.insert(at + opening.size(), "  stage\n  stage\n");
  const auto plan = parse_plan(g, text);
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.error().message.find("takes one node"), std::string::npos) << plan.error().message;
}

/// y[i] = x[2i] + x[2i + 1], again and again: as one nest, each step doubles the work.
TEST(PlanText, NestsDoNotDoubleTheirWorkAtEachStep) {
  Graph g;
  constexpr int kSteps = 13;
  int64_t extent = int64_t{1} << kSteps;
  graph::ValueId x = g.add_input("x", DType::kF32, {extent});
  g.inputs = {x};
  std::string text = "plan\ngroup compute {\n";
  for (int step = 0; step < kSteps; ++step) {
    extent /= 2;
    graph::Compute sum;
    sum.space.axes = {{"i", extent, index::AxisKind::kParallel}};
    for (int64_t side : {0, 1}) {
      sum.operands.push_back({{{index::Expr::variable(0) * index::Expr(2) + index::Expr(side)}}});
    }
    const int a = sum.body.operand(0, DType::kF32), b = sum.body.operand(1, DType::kF32);
    sum.body.apply(graph::ScalarOp::kAdd, a, b);
    x = g.add_compute("s" + std::to_string(step), std::move(sum), {x, x});
    text += "  node \"s" + std::to_string(step) + "\"\n";
  }
  finish(g, {x});
  text += "  store \"" + g.values[x].name + "\"\n}\n";
  const auto plan = parse_plan(g, text);
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.error().message.find("computes its nodes at more than 4096 points"),
            std::string::npos)
      << plan.error().message;
}

/// Texts cut short or with changed characters are refused or are another plan; nothing else.
void damage(const Graph& g, const std::string& text) {
  std::mt19937 random(5);
  for (int i = 0; i < 300; ++i) {
    std::string damaged = text;
    for (int j = 0; j < 1 + i % 3; ++j) {
      damaged[random() % damaged.size()] = text[random() % text.size()];
    }
    if (i % 5 == 0) damaged.resize(random() % damaged.size());
    const auto plan = parse_plan(g, damaged);
    if (!plan.ok()) {
      EXPECT_EQ(plan.error().code, ErrorCode::kInvalidArgument);
      continue;
    }
    for (const GroupPlan& group : plan->groups) {
      for (const ScheduledNest& nest : group.nests) {
        EXPECT_TRUE(check_schedule(nest.nest, nest.schedule).ok());
      }
    }
  }
}

TEST(PlanText, DamagedTextsDoNoHarm) {
  const Graph separate = network(), joined = chain();
  damage(separate, to_string(separate, unfused_plan(separate)));
  damage(joined, to_string(joined, joined_plan(joined)));
}

}  // namespace
}  // namespace corf::fusion
