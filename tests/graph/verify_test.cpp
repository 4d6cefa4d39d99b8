#include "tests/graph/random_tensors.h"

namespace corf::graph {
namespace {

using index::Expr;

struct Sample {
  Graph graph;
  ValueId x, w, y, view;
  Compute& compute() { return std::get<Compute>(graph.nodes[graph.values[y].producer].op); }
};

Sample sample() {
  Sample s;
  s.x = s.graph.add_input("x", DType::kF32, {1, 3, 8, 8});
  s.w = s.graph.add_constant("w", Tensor(DType::kF32, {4, 3, 3, 3}));
  s.y = conv(s.graph, "the_conv", s.x, s.w, {{3, 3}, {1, 1}, {1, 1}, {0, 0}, {0, 0}}, 1);
  s.view = s.graph.add_view("flat", Reshape{}, {s.y}, {4, 36});
  s.graph.outputs = {s.view};
  s.graph.output_names = {"y"};
  return s;
}

TEST(Verify, AcceptsWhatTheConstructorsBuild) { EXPECT_TRUE(verify(sample().graph).ok()); }

TEST(Verify, NamesTheNodeThatBreaksARule) {
  struct Case {
    std::string message;
    std::function<void(Sample&)> damage;
  };
  const std::vector<Case> cases = {
      {"no earlier node", [](Sample& s) { s.graph.nodes[2].inputs[0] = s.view; }},
      {"no earlier node", [](Sample& s) { s.graph.nodes[2].inputs[0] = 99; }},
      {"none or another's", [](Sample& s) { s.graph.nodes[3].outputs[0] = s.y; }},
      {"names a producer", [](Sample& s) { s.graph.values[s.y].producer = 0; }},
      {"has no producer",
       [](Sample& s) { s.graph.values.push_back({"stray", DType::kF32, {1}, 0}); }},
      {"2^63", [](Sample& s) { s.graph.values[s.view].shape = {int64_t{1} << 62, 4}; }},
      {"output %44", [](Sample& s) { s.graph.outputs[0] = 44; }},
      {"names", [](Sample& s) { s.graph.output_names.clear(); }},
      {"listed as an input", [](Sample& s) { s.graph.inputs = {s.w}; }},
      {"not of its value's type", [](Sample& s) { s.graph.values[s.w].dtype = DType::kF64; }},
      {"outside of its shape 1x3x8x8",
       [](Sample& s) {
         s.compute().operands[0].map.exprs[2] = s.compute().operands[0].map.exprs[2] + 1;
       }},
      {"1 coordinates", [](Sample& s) { s.compute().operands[0].map.exprs.resize(1); }},
      {"neither axis nor operand",
       [](Sample& s) { s.compute().operands[0].map.exprs[1] = Expr::variable(9); }},
      {"holds no integers",
       [](Sample& s) { s.compute().operands[0].map.exprs[1] = Expr::variable(8); }},
      {"'m' is not a name", [](Sample& s) { s.compute().space.axes[0].name = "m"; }},
      {"'mod' is not a name", [](Sample& s) { s.compute().space.axes[0].name = "mod"; }},
      {"after a reduction axis",
       [](Sample& s) { s.compute().space.axes[5].kind = index::AxisKind::kParallel; }},
      {"parallel axes are 1x4x7x6", [](Sample& s) { s.compute().space.axes[2].extent = 7; }},
      {"combiner 'none'", [](Sample& s) { s.compute().combiner = Combiner::kNone; }},
      {"one reduction axis", [](Sample& s) { s.compute().combiner = Combiner::kArgMax; }},
      {"body is empty", [](Sample& s) { s.compute().body.nodes.clear(); }},
      {"no such operand", [](Sample& s) { s.compute().body.nodes[1].index = 2; }},
      {"not the operand's", [](Sample& s) { s.compute().body.nodes[1].dtype = DType::kF16; }},
      {"earlier results", [](Sample& s) { s.compute().body.nodes[2].args[0] = 2; }},
      {"too many arguments", [](Sample& s) { s.compute().body.nodes[2].args[2] = 0; }},
      {"one type of numbers", [](Sample& s) { s.compute().body.nodes[2].dtype = DType::kI32; }},
      {"takes and gives integers or bool",
       [](Sample& s) { s.compute().body.apply(ScalarOp::kAnd, 2, 2); }},
      {"takes numbers, not bool", [](Sample& s) { s.compute().body.apply(ScalarOp::kLess, 2, 2); }},
      {"its output holds f32", [](Sample& s) { s.compute().body.cast(2, DType::kF64); }},
      {"not as many elements", [](Sample& s) { s.graph.values[s.view].shape = {4, 35}; }},
      {"keeps the element type", [](Sample& s) { s.graph.values[s.view].dtype = DType::kI32; }},
      {"transposed",
       [](Sample& s) {
         s.graph.nodes[3].op = View(Transpose{{0, 2, 1, 3}});
         s.graph.values[s.view].shape = {1, 4, 6, 6};
       }},
      {"permutation is none",
       [](Sample& s) {
         s.graph.nodes[3].op = View(Transpose{{0, 1, 1, 3}});
         s.graph.values[s.view].shape = {1, 4, 6, 6};
       }},
      {"leaves its input",
       [](Sample& s) {
         s.graph.nodes[3].op = View(Slice{{0, 0, 1, 0}, {1, 1, 1, 1}});
         s.graph.values[s.view].shape = {1, 4, 6, 6};
       }},
      {"not a dimension", [](Sample& s) { s.graph.nodes[3].op = View(Concat{4}); }},
      {"does not broadcast",
       [](Sample& s) {
         s.graph.nodes[3].op = View(Broadcast{});
         s.graph.values[s.view].shape = {2, 4, 6, 7};
       }},
  };
  for (const Case& c : cases) {
    Sample s = sample();
    c.damage(s);
    Status status = verify(s.graph);
    ASSERT_FALSE(status.ok()) << c.message;
    EXPECT_EQ(status.error().code, ErrorCode::kInternal);
    EXPECT_NE(status.error().message.find(c.message), std::string::npos)
        << status.error().message << "\ninstead of: " << c.message;
  }
}

TEST(Verify, NamesNodeAndOrigin) {
  Sample s = sample();
  s.compute().combiner = Combiner::kNone;
  EXPECT_EQ(verify(s.graph).error().message.find("node 'the_conv' (Conv): "), 0u);
}

TEST(Verify, GuardedAndEmptyOperatorsMayPointAnywhere) {
  Sample s = sample();
  s.compute().operands[0].map.exprs[2] = Expr::variable(2) * 100;
  EXPECT_FALSE(verify(s.graph).ok());
  s.compute().operands[0].guarded = true;
  EXPECT_TRUE(verify(s.graph).ok());

  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {0, 4});
  ValueId y = reduce(graph, "r", x, Combiner::kSum, {0}, true);
  graph.outputs = {y};
  graph.output_names = {"y"};
  EXPECT_TRUE(verify(graph).ok());
}

TEST(Graph, FindsConsumers) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {2});
  auto add = [](ScalarBody& b, const std::vector<int>& in) {
    return b.apply(ScalarOp::kAdd, in[0], in[1]);
  };
  ValueId y = elementwise(graph, "y", {x, x}, add);
  ValueId z = elementwise(graph, "z", {x, y}, add);
  auto readers = consumers(graph);
  EXPECT_EQ(readers[x], (std::vector<NodeId>{1, 2}));
  EXPECT_EQ(readers[y], (std::vector<NodeId>{2}));
  EXPECT_TRUE(readers[z].empty());
}

}  // namespace
}  // namespace corf::graph
