#include "graph/text.h"

#include <limits>

#include "tests/graph/random_tensors.h"

namespace corf::graph {
namespace {

/// A graph with every kind of node.
Graph sample() {
  Graph g;
  ValueId x = g.add_input("the \"input\"\n", DType::kF32, {1, 8, 9, 9});
  Tensor weights(DType::kF32, {16, 4, 3, 3});
  for (int64_t i = 0; i < weights.num_elems(); ++i) weights.set_f64(i, static_cast<double>(i) / 7);
  ValueId w = g.add_constant("w", weights);
  ValueId c = conv(g, "conv", x, w, {{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}}, 2);
  ValueId w2 = g.add_constant("w2", Tensor(DType::kF32, {16, 2, 3, 3}));
  ValueId t = conv_transpose(g, "up", c, w2, {{3, 3}, {2, 2}, {2, 2}, {1, 1}, {1, 1}}, 4, {12, 12});
  ValueId i = g.add_constant("i", make_tensor<int64_t>({2}, std::vector<int64_t>{1, -1}));
  ValueId gathered = gather(g, "gather", t, i, 2);
  ValueId p = g.add_view("pad", Pad{{0, 0, 1, 0}, -HUGE_VAL}, {gathered}, {1, 8, 4, 12}, "Pad");
  ValueId m = pool(g, "pool", p, Combiner::kMax, {{2, 2}, {2, 2}, {1, 1}, {0, 1}, {0, 1}}, {2, 7});
  elementwise(
      g, "e", {m, m},
      [](ScalarBody& b, const std::vector<int>& in) {
        int index = b.cast(b.axis_index(1), DType::kF32);
        int less = b.apply(ScalarOp::kLess, in[0], b.constant(-1.5e-7, DType::kF32));
        int value = b.apply(ScalarOp::kMul, b.apply(ScalarOp::kExp, in[0]), index);
        int whole =
            b.cast(b.constant_i64(std::numeric_limits<int64_t>::min(), DType::kI64), DType::kF32);
        return b.apply(ScalarOp::kSelect, less, value, b.apply(ScalarOp::kAdd, in[1], whole));
      },
      "Where");
  ValueId r = reduce(g, "best", m, Combiner::kArgMax, {1}, true, nullptr, true);
  ValueId s = g.add_view("slice", Slice{{0, 0, 1, 6}, {1, 1, -1, -2}}, {r}, {1, 1, 2, 3});
  ValueId tr = g.add_view("tr", Transpose{{0, 3, 1, 2}}, {s}, {1, 3, 1, 2});
  ValueId cat = g.add_view("cat", Concat{1}, {tr, tr}, {1, 6, 1, 2});
  ValueId bc = g.add_view("bc", Broadcast{}, {cat}, {2, 6, 3, 2});
  ValueId re = g.add_view("re", Reshape{}, {bc}, {12, 6}, "Flatten");
  Opaque opaque{"TopK",
                {{"axis", int64_t{-1}},
                 {"list", std::vector<int64_t>{1, -2}},
                 {"empty", std::vector<int64_t>{}},
                 {"floats", std::vector<double>{1, 2.5}},
                 {"no_floats", std::vector<double>{}},
                 {"one", 1.0},
                 {"tiny", 1e-300},
                 {"text", std::string("a\\\"\x01")}}};
  auto outs = g.add_opaque("topk", opaque, {re}, {{DType::kI64, {12, 2}}, {DType::kI64, {12, 2}}});
  ValueId scalar = elementwise(g, "pi", {}, [](ScalarBody& b, const std::vector<int>&) {
    return b.constant(3.25, DType::kF64);
  });
  g.outputs = {outs[1], scalar, outs[0]};
  g.output_names = {"indices", "pi", "values"};
  return g;
}

TEST(GraphText, RoundTrips) {
  Graph graph = sample();
  std::string text = to_string(graph);
  auto again = parse(text, constants_by_hash(graph));
  ASSERT_TRUE(again.ok()) << again.error().message << "\n" << text;
  EXPECT_EQ(to_string(*again), text);
  std::string with_data = to_string(graph, true);
  auto whole = parse(with_data);
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  EXPECT_EQ(to_string(*whole, true), with_data);
  EXPECT_EQ(to_string(*whole), text);
}

TEST(GraphText, ReadsAsIntended) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {1, 3, 8, 8});
  ValueId w = graph.add_constant("w", Tensor(DType::kF32, {4, 3, 3, 3}));
  ValueId y = conv(graph, "c", x, w, {{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}}, 1);
  graph.outputs = {y};
  graph.output_names = {"y"};
  std::string text = to_string(graph);
  text.replace(text.find("dense<") + 6, 16, "0123456789abcdef");
  EXPECT_EQ(text,
            "graph\n"
            "%0 \"x\" : f32[1x3x8x8] = input \"x\" ()\n"
            "%1 \"w\" : f32[4x3x3x3] = constant \"w\" dense<0123456789abcdef> ()\n"
            "%2 \"c\" : f32[1x4x4x4] = compute \"c\" origin \"Conv\" (%0, %1)\n"
            "  axes n=1, m=4, oh=4, ow=4 | c=3, kh=3, kw=3\n"
            "  operand [n, c, 2*oh + kh - 1, 2*ow + kw - 1] guarded 0\n"
            "  operand [m, c, kh, kw]\n"
            "  s0 = operand 0 : f32\n"
            "  s1 = operand 1 : f32\n"
            "  s2 = mul s0 s1 : f32\n"
            "  combine sum\n"
            "inputs (%0)\n"
            "outputs (%2 \"y\")\n");
}

TEST(GraphText, TellsWhereItIsWrong) {
  std::string text = to_string(sample());
  struct Case {
    std::string from, to, message;
  };
  const std::vector<Case> cases = {
      {"graph", "grape", "graph text, line 1, column 1"},
      {"combine sum", "combine some", "no such combiner"},
      {"s2 = mul s0 s1 : f32", "s2 = mul s0 s9 : f32", "earlier results"},
      {"s2 = mul s0 s1 : f32", "s2 = mult s0 s1 : f32", "no such scalar operation"},
      {"2*oh + kh - 1", "2*oh + zz - 1", "unknown variable 'zz'"},
      {"f32[1x8x9x9]", "f32[1x8x9x9223372036854775807]", "2^63"},
      {"f32[1x8x9x9]", "q32[1x8x9x9]", "element type"},
      {"constant \"i\" {1, -1}", "constant \"i\" {1}", "expected ','"},
      {"(%0, %1)", "(%0, %77)", "no earlier node"},
      {"outputs", "output", "expected 'outputs'"},
  };
  for (const Case& c : cases) {
    std::string wrong = text;
    ASSERT_NE(wrong.find(c.from), std::string::npos) << c.from;
    wrong.replace(wrong.find(c.from), c.from.size(), c.to);
    auto result = parse(wrong);
    ASSERT_FALSE(result.ok()) << c.to;
    EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(result.error().message.find(c.message), std::string::npos) << result.error().message;
  }
  auto result = parse("graph\n%0 \"x\" : f32[2] = inputt \"x\" ()\n");
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("line 2"), std::string::npos) << result.error().message;
}

/// Texts cut short or with a changed character are refused or are another graph; nothing else.
TEST(GraphText, DamagedTextsDoNoHarm) {
  std::string text = to_string(sample());
  std::mt19937 random(9);
  for (size_t length = 0; length < text.size(); length += 13) {
    EXPECT_FALSE(parse(text.substr(0, length)).ok());
  }
  for (int i = 0; i < 3000; ++i) {
    std::string damaged = text;
    for (int j = 0; j < 1 + i % 3; ++j) {
      damaged[random() % damaged.size()] = text[random() % text.size()];
    }
    auto result = parse(damaged);
    EXPECT_TRUE(!result.ok() || verify(*result).ok());
  }
}

}  // namespace
}  // namespace corf::graph
