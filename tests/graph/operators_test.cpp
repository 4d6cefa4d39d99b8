#include <limits>

#include "tests/graph/random_tensors.h"

namespace corf::graph {
namespace {

TEST(Matmul, BroadcastsAndTransposes) {
  struct Case {
    Shape a, b, out;
    bool transpose_a, transpose_b;
  };
  const std::vector<Case> cases = {
      {{3, 4}, {4, 5}, {3, 5}, false, false},
      {{4, 3}, {5, 4}, {3, 5}, true, true},
      {{2, 1, 3, 4}, {7, 4, 5}, {2, 7, 3, 5}, false, false},
      {{4}, {4, 5}, {5}, false, false},
      {{2, 3, 4}, {4}, {2, 3}, false, false},
      {{4}, {4}, {}, false, false},
      {{1, 300}, {300, 1}, {1, 1}, false, false},
      {{5, 300}, {6, 300}, {5, 6}, false, true},
  };
  std::mt19937 random(3);
  for (const Case& c : cases) {
    Graph graph;
    ValueId a = graph.add_input("a", DType::kF32, c.a);
    ValueId b = graph.add_input("b", DType::kF32, c.b);
    ValueId y = matmul(graph, "y", a, b, c.transpose_a, c.transpose_b);
    ASSERT_EQ(graph.values[y].shape, c.out);
    Tensor ta = random_tensor(DType::kF32, c.a, random);
    Tensor tb = random_tensor(DType::kF32, c.b, random);
    // Element (batch, row, column) of a promoted operand, its batch broadcast from the right.
    auto at = [](const Tensor& t, const Shape& batch, int64_t row, int64_t column, bool transpose) {
      const Shape& s = t.shape();
      if (transpose) std::swap(row, column);
      if (s.size() == 1) return t.at_f64(std::max(row, column));
      int64_t index = 0;
      size_t rank = s.size() - 2;
      for (size_t d = 0; d < rank; ++d) {
        int64_t coordinate = batch[batch.size() - rank + d];
        index = index * s[d] + (s[d] == 1 ? 0 : coordinate);
      }
      return t.at_f64((index * s[rank] + row) * s[rank + 1] + column);
    };
    Shape out = c.out;
    bool has_m = c.a.size() > 1, has_n = c.b.size() > 1;
    int64_t n = has_n ? out.back() : 1, m = has_m ? out[out.size() - 1 - has_n] : 1;
    int64_t k = c.a.size() == 1 ? c.a[0] : c.a[c.a.size() - (c.transpose_a ? 2 : 1)];
    Shape batch(out.begin(), out.end() - has_m - has_n);
    std::vector<double> expected;
    for (int64_t i = 0; i < num_elems(batch); ++i) {
      Shape at_batch = batch;
      for (size_t d = batch.size(), rest = i; d-- > 0;) {
        at_batch[d] = static_cast<int64_t>(rest) % batch[d];
        rest /= batch[d];
      }
      for (int64_t row = 0; row < m; ++row)
        for (int64_t column = 0; column < n; ++column) {
          double sum = 0;
          for (int64_t r = 0; r < k; ++r) {
            sum += at(ta, at_batch, has_m ? row : 0, r, c.transpose_a) *
                   at(tb, at_batch, r, has_n ? column : 0, c.transpose_b);
          }
          expected.push_back(sum);
        }
    }
    expect_elems(evaluated(graph, y, {ta, tb}), expected);
  }
}

TEST(Matmul, OfIntegersIsExactAndWraps) {
  Graph graph;
  ValueId a = graph.add_input("a", DType::kI64, {1, 2});
  ValueId b = graph.add_input("b", DType::kI64, {2, 1});
  ValueId y = matmul(graph, "y", a, b);
  int64_t large = (int64_t{1} << 62) + 1;
  Tensor ta = make_tensor<int64_t>({1, 2}, std::vector<int64_t>{large, 1});
  Tensor tb = make_tensor<int64_t>({2, 1}, std::vector<int64_t>{1, 2});
  EXPECT_EQ(evaluated(graph, y, {ta, tb}).at_i64(0), large + 2);
  tb.set_i64(0, 4);
  EXPECT_EQ(evaluated(graph, y, {ta, tb}).at_i64(0), 6);
}

TEST(Reduce, CombinesOverAxes) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {2, 3, 2});
  Tensor input =
      make_tensor<float>({2, 3, 2}, std::vector<float>{1, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6});
  auto result = [&](Combiner combiner, std::vector<int> axes, bool keep) {
    ValueId y = reduce(graph, "y", x, combiner, axes, keep);
    return evaluated(graph, y, {input});
  };
  expect_elems(result(Combiner::kSum, {1}, false), {9, 12, -9, -12});
  Tensor kept = result(Combiner::kSum, {0, 2}, true);
  EXPECT_EQ(kept.shape(), (Shape{1, 3, 1}));
  expect_elems(kept, {0, 0, 0});
  expect_elems(result(Combiner::kMax, {0, 1, 2}, false), {6});
  expect_elems(result(Combiner::kMin, {2}, false), {1, 3, 5, -2, -4, -6});
  expect_elems(result(Combiner::kProduct, {1, 2}, false), {720, 720});
  expect_elems(result(Combiner::kArgMax, {1}, false), {2, 2, 0, 0});
  expect_elems(result(Combiner::kArgMin, {2}, true), {0, 0, 0, 1, 1, 1});
  ValueId squares = reduce(graph, "y", x, Combiner::kSum, {2}, false, [](ScalarBody& body, int e) {
    return body.apply(ScalarOp::kMul, e, e);
  });
  expect_elems(evaluated(graph, squares, {input}), {5, 25, 61, 5, 25, 61});
}

TEST(Reduce, SelectsTheFirstOrLastOfEquals) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kI32, {5});
  ValueId first = reduce(graph, "f", x, Combiner::kArgMax, {0}, true);
  ValueId last = reduce(graph, "l", x, Combiner::kArgMax, {0}, true, nullptr, true);
  EXPECT_EQ(graph.values[first].dtype, DType::kI64);
  Tensor input = make_tensor<int32_t>({5}, std::vector<int32_t>{1, 7, 3, 7, 7});
  EXPECT_EQ(evaluated(graph, first, {input}).at_i64(0), 1);
  EXPECT_EQ(evaluated(graph, last, {input}).at_i64(0), 4);
}

TEST(Reduce, OverNothingGivesTheNeutralElement) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {2, 0});
  Tensor input(DType::kF32, {2, 0});
  auto result = [&](Combiner combiner) {
    return evaluated(graph, reduce(graph, "y", x, combiner, {1}, false), {input}).at_f64(1);
  };
  EXPECT_EQ(result(Combiner::kSum), 0);
  EXPECT_EQ(result(Combiner::kProduct), 1);
  EXPECT_EQ(result(Combiner::kMax), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(result(Combiner::kMin), std::numeric_limits<double>::infinity());
  ValueId ints = graph.add_input("i", DType::kI8, {0});
  ValueId y = reduce(graph, "y", ints, Combiner::kMax, {0}, false);
  EXPECT_EQ(evaluated(graph, y, {input, Tensor(DType::kI8, {0})}).at_i64(0), -128);
}

TEST(Reduce, LongLinesInBlocks) {
  std::mt19937 random(4);
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {3, 1001});
  Tensor input = random_tensor(DType::kF32, {3, 1001}, random);
  ValueId rows = reduce(graph, "rows", x, Combiner::kMax, {1}, false);
  ValueId columns = reduce(graph, "columns", x, Combiner::kSum, {0}, false);
  std::vector<double> max(3, -100), sum(1001);
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t j = 0; j < 1001; ++j) {
      max[i] = std::max(max[i], input.at_f64(i * 1001 + j));
      sum[j] += input.at_f64(i * 1001 + j);
    }
  expect_elems(evaluated(graph, rows, {input}), max);
  expect_elems(evaluated(graph, columns, {input}), sum);
}

TEST(Elementwise, BroadcastsItsInputs) {
  Graph graph;
  ValueId a = graph.add_input("a", DType::kF32, {2, 1, 3});
  ValueId b = graph.add_input("b", DType::kF32, {2, 1});
  ValueId y = elementwise(graph, "y", {a, b}, [](ScalarBody& body, const std::vector<int>& in) {
    return body.apply(ScalarOp::kSub, in[0], in[1]);
  });
  EXPECT_EQ(graph.values[y].shape, (Shape{2, 2, 3}));
  const auto& compute = std::get<Compute>(graph.producer(y).op);
  EXPECT_TRUE(compute.operands[0].map.exprs[1].is_constant(0));
  Tensor ta = make_tensor<float>({2, 1, 3}, std::vector<float>{1, 2, 3, 4, 5, 6});
  Tensor tb = make_tensor<float>({2, 1}, std::vector<float>{10, 20});
  expect_elems(evaluated(graph, y, {ta, tb}),
               {-9, -8, -7, -19, -18, -17, -6, -5, -4, -16, -15, -14});
  ValueId scalar = elementwise(graph, "s", {}, [](ScalarBody& body, const std::vector<int>&) {
    return body.constant(2.5, DType::kF32);
  });
  EXPECT_EQ(evaluated(graph, scalar, {ta, tb}).at_f64(0), 2.5);
}

TEST(Gather, PicksAlongItsAxis) {
  Graph graph;
  ValueId data = graph.add_input("data", DType::kF32, {2, 3, 2});
  ValueId indices = graph.add_input("indices", DType::kI64, {2, 2});
  ValueId y = gather(graph, "y", data, indices, 1);
  EXPECT_EQ(graph.values[y].shape, (Shape{2, 2, 2, 2}));
  Tensor t =
      make_tensor<float>({2, 3, 2}, std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  Tensor i = make_tensor<int64_t>({2, 2}, std::vector<int64_t>{2, -1, 0, -3});
  expect_elems(evaluated(graph, y, {t, i}), {4, 5, 4, 5, 0, 1, 0, 1, 10, 11, 10, 11, 6, 7, 6, 7});
  ValueId last = gather(graph, "last", data, indices, 2);
  i = make_tensor<int64_t>({2, 2}, std::vector<int64_t>{1, 0, -1, -2});
  Tensor result = evaluated(graph, last, {t, i});
  EXPECT_EQ(result.shape(), (Shape{2, 3, 2, 2}));
  for (int64_t row = 0; row < 6; ++row) {
    EXPECT_EQ(result.at_f64(row * 4), t.at_f64(row * 2 + 1));
    EXPECT_EQ(result.at_f64(row * 4 + 3), t.at_f64(row * 2));
  }
}

TEST(View, MovesElements) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kI32, {2, 3});
  Tensor t = make_tensor<int32_t>({2, 3}, std::vector<int32_t>{1, 2, 3, 4, 5, 6});
  auto result = [&](View view, Shape shape) {
    return evaluated(graph, graph.add_view("v", std::move(view), {x}, std::move(shape)), {t});
  };
  expect_elems(result(Reshape{}, {3, 2}), {1, 2, 3, 4, 5, 6});
  expect_elems(result(Transpose{{1, 0}}, {3, 2}), {1, 4, 2, 5, 3, 6});
  expect_elems(result(Slice{{1, 2}, {-1, -2}}, {2, 2}), {6, 4, 3, 1});
  expect_elems(result(Pad{{1, -1}, 7}, {3, 3}), {7, 7, 7, 2, 3, 7, 5, 6, 7});
  expect_elems(result(Broadcast{}, {2, 2, 3}), {1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6});
  ValueId y = graph.add_view("c", Concat{1}, {x, x}, {2, 6});
  expect_elems(evaluated(graph, y, {t}), {1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6});
}

TEST(View, ConcatenatesConstantsWithComputedFloats) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {1});
  ValueId half = elementwise(graph, "h", {x}, [](ScalarBody& body, const std::vector<int>& in) {
    return body.apply(ScalarOp::kMul, in[0], body.constant(0.5, DType::kF32));
  });
  ValueId c = graph.add_constant("c", make_tensor<float>({1}, std::vector<float>{0.25f}));
  ValueId y = graph.add_view("y", Concat{0}, {half, c, x}, {3});
  Tensor result = evaluated(graph, y, {make_tensor<float>({1}, std::vector<float>{3})});
  EXPECT_EQ(result.dtype(), DType::kF64);
  expect_elems(result, {1.5, 0.25, 3});
}

/// The index map of a view reads the same elements as the view's evaluation.
TEST(View, IndexMapsAgreeWithEvaluation) {
  struct Case {
    View view;
    Shape in, out;
  };
  const std::vector<Case> cases = {
      {Reshape{}, {2, 3, 4}, {6, 4}},
      {Reshape{}, {6, 4}, {2, 3, 2, 2}},
      {Reshape{}, {4, 6}, {3, 8}},
      {Reshape{}, {1, 4, 1, 6}, {24}},
      {Reshape{}, {}, {1, 1}},
      {Reshape{}, {2, 6, 5}, {4, 1, 3, 5}},
      {Transpose{{2, 0, 1}}, {2, 3, 4}, {4, 2, 3}},
      {Slice{{3, 0}, {-1, 2}}, {4, 5}, {4, 3}},
      {Broadcast{}, {3, 1}, {2, 3, 4}},
  };
  std::mt19937 random(5);
  for (const Case& c : cases) {
    Graph graph;
    ValueId x = graph.add_input("x", DType::kI32, c.in);
    Tensor t(DType::kI32, c.in);
    for (int64_t i = 0; i < t.num_elems(); ++i) t.set_i64(i, i);
    Tensor result = evaluated(graph, graph.add_view("v", c.view, {x}, c.out), {t});
    index::IndexMap map = index_map(c.view, c.in, c.out);
    ASSERT_EQ(map.exprs.size(), c.in.size());
    auto in_strides = row_major_strides(c.in), out_strides = row_major_strides(c.out);
    for (int64_t i = 0; i < result.num_elems(); ++i) {
      std::vector<int64_t> at;
      for (size_t d = 0; d < c.out.size(); ++d) at.push_back(i / out_strides[d] % c.out[d]);
      int64_t from = 0;
      for (size_t d = 0; d < c.in.size(); ++d) {
        from += index::evaluate(map.exprs[d], at) * in_strides[d];
      }
      ASSERT_EQ(result.at_i64(i), from);
    }
  }
}

TEST(View, ReshapesOfWholeGroupsNeedNoDivision) {
  index::IndexMap map = index_map(Reshape{}, {2, 12, 5}, {2, 3, 4, 5});
  auto text = [](const index::Expr& expr) {
    return to_string(expr, [](int v) { return "v" + std::to_string(v); });
  };
  EXPECT_EQ(text(map.exprs[0]), "v0");
  EXPECT_EQ(text(map.exprs[1]), "4*v1 + v2");
  EXPECT_EQ(text(map.exprs[2]), "v3");
}

}  // namespace
}  // namespace corf::graph
