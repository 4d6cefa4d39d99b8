#include "graph/evaluate.h"

#include <cmath>
#include <limits>

#include "tests/graph/random_tensors.h"

namespace corf::graph {
namespace {

using index::AxisKind;
using index::Expr;

/// out = op(a, b) on one element of each type.
Tensor applied(ScalarOp op, DType dtype, const std::vector<double>& values,
               const EvaluateOptions& options = {}) {
  Graph graph;
  std::vector<ValueId> inputs;
  std::vector<Tensor> tensors;
  for (double value : values) {
    inputs.push_back(graph.add_input("x", dtype, {1}));
    Tensor tensor(dtype, {1});
    tensor.set_f64(0, value);
    tensors.push_back(tensor);
  }
  ValueId y = elementwise(graph, "y", inputs, [&](ScalarBody& body, const std::vector<int>& in) {
    return body.apply(op, in[0], in.size() > 1 ? in[1] : -1);
  });
  return evaluated(graph, y, tensors, options);
}

TEST(Scalar, IntegersWrapAndTruncate) {
  EXPECT_EQ(applied(ScalarOp::kAdd, DType::kI8, {127, 1}).at_i64(0), -128);
  EXPECT_EQ(applied(ScalarOp::kSub, DType::kU8, {1, 2}).at_i64(0), 255);
  EXPECT_EQ(applied(ScalarOp::kDiv, DType::kI32, {-7, 2}).at_i64(0), -3);
  EXPECT_EQ(applied(ScalarOp::kMod, DType::kI32, {-7, 2}).at_i64(0), 1);
  EXPECT_EQ(applied(ScalarOp::kFmod, DType::kI32, {-7, 2}).at_i64(0), -1);
  EXPECT_EQ(applied(ScalarOp::kMod, DType::kI32, {7, -2}).at_i64(0), -1);
  EXPECT_EQ(applied(ScalarOp::kDiv, DType::kI32, {7, 0}).at_i64(0), 0);
  EXPECT_EQ(applied(ScalarOp::kDiv, DType::kI64, {-0x1p63, -1}).at_i64(0),
            std::numeric_limits<int64_t>::min());
  EXPECT_EQ(applied(ScalarOp::kPow, DType::kI32, {3, 4}).at_i64(0), 81);
  EXPECT_EQ(applied(ScalarOp::kNot, DType::kI16, {5}).at_i64(0), -6);
  EXPECT_EQ(applied(ScalarOp::kNot, DType::kBool, {1}).at_i64(0), 0);
  EXPECT_EQ(applied(ScalarOp::kShiftLeft, DType::kU8, {3, 7}).at_i64(0), 128);
  EXPECT_EQ(applied(ScalarOp::kShiftRight, DType::kI32, {-8, 1}).at_i64(0), -4);
  EXPECT_EQ(applied(ScalarOp::kMax, DType::kU64, {0x1p63, 1}).at_f64(0), 0x1p63);
  EXPECT_EQ(applied(ScalarOp::kSign, DType::kI32, {-8}).at_i64(0), -1);
}

TEST(Scalar, FloatsFollowIeee) {
  double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(std::isnan(applied(ScalarOp::kMax, DType::kF32, {nan, 1}).at_f64(0)));
  EXPECT_TRUE(std::isnan(applied(ScalarOp::kMax, DType::kF32, {1, nan}).at_f64(0)));
  EXPECT_TRUE(std::isnan(applied(ScalarOp::kMin, DType::kF32, {1, nan}).at_f64(0)));
  EXPECT_EQ(applied(ScalarOp::kRoundEven, DType::kF32, {2.5}).at_f64(0), 2);
  EXPECT_EQ(applied(ScalarOp::kRoundEven, DType::kF32, {3.5}).at_f64(0), 4);
  EXPECT_EQ(applied(ScalarOp::kMod, DType::kF32, {-7.5, 2}).at_f64(0), 0.5);
  EXPECT_EQ(applied(ScalarOp::kFmod, DType::kF32, {-7.5, 2}).at_f64(0), -1.5);
  EXPECT_EQ(applied(ScalarOp::kLess, DType::kF32, {nan, 1}).at_i64(0), 0);
  EXPECT_EQ(applied(ScalarOp::kIsNan, DType::kF32, {nan}).at_i64(0), 1);
  EXPECT_EQ(applied(ScalarOp::kIsInf, DType::kF32, {-HUGE_VAL}).at_i64(0), 1);
  EXPECT_EQ(applied(ScalarOp::kExp, DType::kF32, {1}).at_f64(0), std::exp(1.0));
  EXPECT_EQ(applied(ScalarOp::kSigmoid, DType::kF32, {2}).at_f64(0), 1 / (1 + std::exp(-2.0)));
}

TEST(Scalar, RoundsOnlyWhenAsked) {
  Tensor wide = applied(ScalarOp::kReciprocal, DType::kF32, {3});
  EXPECT_EQ(wide.dtype(), DType::kF64);
  EXPECT_EQ(wide.at_f64(0), 1.0 / 3);
  EvaluateOptions options;
  options.round_to_dtype = true;
  Tensor rounded = applied(ScalarOp::kReciprocal, DType::kF32, {3}, options);
  EXPECT_EQ(rounded.dtype(), DType::kF32);
  EXPECT_EQ(rounded.at_f64(0), 1.0f / 3);
  EXPECT_EQ(applied(ScalarOp::kReciprocal, DType::kF16, {3}, options).dtype(), DType::kF16);
}

TEST(Scalar, CastsSaturate) {
  auto cast = [](DType from, double value, DType to) {
    Graph graph;
    ValueId x = graph.add_input("x", from, {1});
    ValueId y = elementwise(graph, "y", {x}, [&](ScalarBody& body, const std::vector<int>& in) {
      return body.cast(in[0], to);
    });
    Tensor tensor(from, {1});
    tensor.set_f64(0, value);
    return evaluated(graph, y, {tensor});
  };
  EXPECT_EQ(cast(DType::kF32, 3.9, DType::kI32).at_i64(0), 3);
  EXPECT_EQ(cast(DType::kF32, -3.9, DType::kI32).at_i64(0), -3);
  EXPECT_EQ(cast(DType::kF32, 1e20, DType::kI64).at_i64(0), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(cast(DType::kF32, -1e20, DType::kI8).at_i64(0), -128);
  EXPECT_EQ(cast(DType::kF32, -1, DType::kU8).at_i64(0), 0);
  EXPECT_EQ(cast(DType::kF32, NAN, DType::kI32).at_i64(0), 0);
  EXPECT_EQ(cast(DType::kI32, 300, DType::kU8).at_i64(0), 44);
  EXPECT_EQ(cast(DType::kF32, 0.5, DType::kBool).at_i64(0), 1);
  EXPECT_EQ(cast(DType::kU64, 0x1p63, DType::kF64).at_f64(0), 0x1p63);
}

/// What the description of a compute operator says, point by point, for bodies of a product or of
/// an operand: nothing is shared with the evaluation's plan.
std::vector<double> point_by_point(const Compute& compute, const std::vector<Tensor>& inputs) {
  std::vector<double> result;
  const auto& axes = compute.space.axes;
  size_t parallel = static_cast<size_t>(compute.space.num_parallel());
  std::vector<int64_t> at(axes.size() + inputs.size());
  auto read = [&](size_t k) {
    int64_t index = 0;
    for (size_t d = 0; d < inputs[k].shape().size(); ++d) {
      int64_t coordinate = index::evaluate(compute.operands[k].map.exprs[d], at);
      if (coordinate < 0 || coordinate >= inputs[k].shape()[d]) return compute.operands[k].padding;
      index = index * inputs[k].shape()[d] + coordinate;
    }
    return inputs[k].at_f64(index);
  };
  int64_t outer = 1, inner = 1;
  for (size_t i = 0; i < axes.size(); ++i) (i < parallel ? outer : inner) *= axes[i].extent;
  for (int64_t o = 0; o < outer; ++o) {
    double combined = 0;
    for (int64_t r = 0; r < inner; ++r) {
      int64_t rest = r;
      for (size_t i = axes.size(); i-- > 0;) {
        if (i + 1 == parallel) rest = o;
        at[i] = rest % axes[i].extent;
        rest /= axes[i].extent;
      }
      for (size_t k = inputs.size(); k-- > 0;) at[axes.size() + k] = static_cast<int64_t>(read(k));
      double product = 1;
      for (const ScalarNode& node : compute.body.nodes) {
        if (node.op == ScalarOp::kOperand) product *= read(node.index);
        if (node.op == ScalarOp::kIndex) product *= static_cast<double>(at[node.index]);
      }
      bool first = r == 0;
      if (compute.combiner == Combiner::kMax) {
        combined = first ? product : std::max(combined, product);
      } else {
        combined += product;
      }
    }
    result.push_back(combined);
  }
  return result;
}

/// Random operators: any mixture of affine, clipped, divided and indirect coordinates.
TEST(Evaluate, RandomOperatorsAgreePointByPoint) {
  std::mt19937 random(6);
  auto pick = [&](int count) { return static_cast<int>(random() % static_cast<uint32_t>(count)); };
  for (int trial = 0; trial < 600; ++trial) {
    Compute compute;
    int num_parallel = pick(4), num_reduction = pick(3);
    for (int i = 0; i < num_parallel + num_reduction; ++i) {
      int64_t extent = pick(8) == 0 ? 300 : pick(5) + 1;
      if (i > 0 && extent == 300) extent = 4;
      compute.space.axes.push_back({"a" + std::to_string(i), extent,
                                    i < num_parallel ? AxisKind::kParallel : AxisKind::kReduction});
    }
    int num_axes = num_parallel + num_reduction;
    bool indirect = pick(3) == 0;
    Graph graph;
    std::vector<Tensor> inputs;
    std::vector<ValueId> ids;
    int num_operands = 2 + indirect;
    for (int k = 0; k < num_operands; ++k) {
      bool is_index = indirect && k == 2;
      Operand operand;
      operand.guarded = true;
      operand.padding = is_index ? 1 : pick(3) == 0 ? 2 : 0;
      Shape shape;
      int rank = pick(3) + 1;
      for (int d = 0; d < rank; ++d) {
        Expr expr = pick(5) - 2;
        for (int i = 0; i < num_axes; ++i) {
          if (pick(2)) expr = expr + Expr(pick(5) - 1) * Expr::variable(i);
        }
        if (pick(4) == 0) expr = floor_div(expr, pick(3) + 1);
        if (pick(4) == 0) expr = mod(expr, pick(4) + 2);
        if (indirect && k < 2 && pick(2)) expr = expr + Expr::variable(num_axes + 2);
        operand.map.exprs.push_back(expr);
        shape.push_back(pick(12) + 1);
      }
      compute.operands.push_back(operand);
      inputs.push_back(random_tensor(is_index ? DType::kI64 : DType::kF32, shape, random));
      ids.push_back(graph.add_input("x", inputs.back().dtype(), shape));
    }
    int a = compute.body.operand(0, DType::kF32);
    if (pick(4) == 0 && num_axes > 0) {
      int i = compute.body.cast(compute.body.axis_index(pick(num_axes)), DType::kF32);
      compute.body.apply(ScalarOp::kMul, a, i);
    } else if (pick(4) != 0) {
      compute.body.apply(ScalarOp::kMul, a, compute.body.operand(1, DType::kF32));
    }
    if (num_reduction > 0) compute.combiner = pick(3) == 0 ? Combiner::kMax : Combiner::kSum;
    ValueId y = graph.add_compute("y", compute, ids);
    EvaluateOptions options;
    options.threads = pick(3) + 1;
    SCOPED_TRACE(to_string(graph));
    expect_elems(evaluated(graph, y, inputs, options), point_by_point(compute, inputs));
    if (::testing::Test::HasFailure()) break;
  }
}

TEST(Evaluate, SoftmaxInSteps) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {2, 700});
  ValueId max = reduce(graph, "max", x, Combiner::kMax, {1}, true);
  ValueId e = elementwise(graph, "e", {x, max}, [](ScalarBody& b, const std::vector<int>& in) {
    return b.apply(ScalarOp::kExp, b.apply(ScalarOp::kSub, in[0], in[1]));
  });
  ValueId sum = reduce(graph, "sum", e, Combiner::kSum, {1}, true);
  ValueId y = elementwise(graph, "y", {e, sum}, [](ScalarBody& b, const std::vector<int>& in) {
    return b.apply(ScalarOp::kDiv, in[0], in[1]);
  });
  std::mt19937 random(8);
  Tensor input = random_tensor(DType::kF32, {2, 700}, random);
  Tensor result = evaluated(graph, y, {input});
  for (int64_t row = 0; row < 2; ++row) {
    double total = 0;
    for (int64_t i = 0; i < 700; ++i) total += std::exp(input.at_f64(row * 700 + i));
    for (int64_t i = 0; i < 700; ++i) {
      EXPECT_NEAR(result.at_f64(row * 700 + i), std::exp(input.at_f64(row * 700 + i)) / total,
                  1e-15);
    }
  }
}

TEST(Evaluate, AllValuesAndSingleNodes) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {2});
  ValueId c = graph.add_constant("c", make_tensor<float>({2}, std::vector<float>{3, 5}));
  ValueId y = elementwise(graph, "y", {x, c}, [](ScalarBody& b, const std::vector<int>& in) {
    return b.apply(ScalarOp::kMul, in[0], in[1]);
  });
  graph.outputs = {y};
  graph.output_names = {"y"};
  Tensor input = make_tensor<float>({2}, std::vector<float>{2, 4});
  auto all = evaluate_all(graph, {input});
  ASSERT_TRUE(all.ok());
  expect_elems((*all)[x], {2, 4});
  expect_elems((*all)[c], {3, 5});
  expect_elems((*all)[y], {6, 20});
  EvaluateOptions options;
  options.round_to_dtype = true;
  auto one = evaluate_node(graph, graph.producer(y), {input, input}, options);
  ASSERT_TRUE(one.ok());
  EXPECT_EQ((*one)[0].dtype(), DType::kF32);
  expect_elems((*one)[0], {4, 16});
}

TEST(Evaluate, RefusesInputsThatDoNotMatch) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {2});
  graph.outputs = {x};
  graph.output_names = {"y"};
  auto error = [&](const std::vector<Tensor>& inputs) {
    auto result = evaluate(graph, inputs);
    EXPECT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument);
    return result.error().message;
  };
  EXPECT_NE(error({}).find("1 inputs"), std::string::npos);
  EXPECT_NE(error({Tensor(DType::kF32, {3})}).find("'x' takes f32 2"), std::string::npos);
  EXPECT_NE(error({Tensor(DType::kI32, {2})}).find("i32"), std::string::npos);
  EXPECT_NE(error({Tensor()}).find("'x'"), std::string::npos);
}

TEST(Evaluate, NamesARoutineWithoutReference) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {2});
  auto y = graph.add_opaque("node_7", {"NoSuchRoutine", {}}, {x}, {{DType::kF32, {2}}}, "NoSuch");
  graph.outputs = y;
  graph.output_names = {"y"};
  auto result = evaluate(graph, {Tensor(DType::kF32, {2})});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(result.error().message.find("node_7"), std::string::npos);
  EXPECT_NE(result.error().message.find("NoSuchRoutine"), std::string::npos);
}

TEST(Evaluate, TopKOrdersStably) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {2, 4});
  ValueId k = graph.add_constant("k", make_tensor<int64_t>({1}, std::vector<int64_t>{2}));
  auto y = graph.add_opaque("t", {"TopK", {{"axis", int64_t{-1}}}}, {x, k},
                            {{DType::kF32, {2, 2}}, {DType::kI64, {2, 2}}}, "TopK");
  Tensor input = make_tensor<float>({2, 4}, std::vector<float>{1, 3, 3, 2, 5, -1, 0, NAN});
  expect_elems(evaluated(graph, y[1], {input}), {1, 2, 3, 0});
  Tensor values = evaluated(graph, y[0], {input});
  EXPECT_EQ(values.at_f64(0), 3);
  EXPECT_TRUE(std::isnan(values.at_f64(2)));
  EXPECT_EQ(values.at_f64(3), 5);
}

TEST(Evaluate, TellsWhenSumsAreNotExact) {
  for (bool as_product : {false, true}) {
    Graph graph;
    ValueId x = graph.add_input("x", DType::kF32, {1, 4});
    ValueId y = as_product ? matmul(graph, "y", x, x, false, true)
                           : reduce(graph, "y", x, Combiner::kSum, {1}, false);
    graph.outputs = {y};
    graph.output_names = {"y"};
    EvaluateOptions options;
    options.assert_exact_f32 = true;
    // The sum itself is small: it is the magnitudes that count.
    float large = as_product ? 0x1p11f : 0x1p22f;
    Tensor bad = make_tensor<float>({1, 4}, std::vector<float>{large, -large, large, -large});
    Tensor good = make_tensor<float>({1, 4}, std::vector<float>{1, -large, 2, 3});
    auto result = evaluate(graph, {bad}, options);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, ErrorCode::kInternal);
    EXPECT_TRUE(evaluate(graph, {good}, options).ok());
    EXPECT_TRUE(evaluate(graph, {bad}).ok());
  }
}

TEST(Evaluate, DoesNotRunOutOfMemorySilently) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {1});
  ValueId y = graph.add_view("y", Broadcast{}, {x}, {int64_t{1} << 50});
  graph.outputs = {y};
  graph.output_names = {"y"};
  auto result = evaluate(graph, {Tensor(DType::kF32, {1})});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kOutOfMemory);
}

}  // namespace
}  // namespace corf::graph
