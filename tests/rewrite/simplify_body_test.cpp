#include "rewrite/simplify_body.h"

#include <cmath>
#include <functional>

#include "tests/rewrite/compare.h"

namespace corf::rewrite {
namespace {
using graph::ScalarBody;
using graph::ScalarOp;

/// Writes scalar functions of one f32 operand as formulas.
class Formula {
 public:
  Formula() { x = {this, body.operand(0, DType::kF32)}; }

  struct Term {
    Formula* formula;
    int id;
    Term operator+(Term b) const { return formula->apply(ScalarOp::kAdd, *this, b); }
    Term operator-(Term b) const { return formula->apply(ScalarOp::kSub, *this, b); }
    Term operator*(Term b) const { return formula->apply(ScalarOp::kMul, *this, b); }
    Term operator/(Term b) const { return formula->apply(ScalarOp::kDiv, *this, b); }
    Term operator+(double b) const { return *this + formula->constant(b); }
    Term operator*(double b) const { return *this * formula->constant(b); }
    Term operator/(double b) const { return *this / formula->constant(b); }
  };
  Term apply(ScalarOp op, Term a) { return {this, body.apply(op, a.id)}; }
  Term apply(ScalarOp op, Term a, Term b) { return {this, body.apply(op, a.id, b.id)}; }
  Term constant(double value) { return {this, body.constant(value, DType::kF32)}; }
  Term clip(Term a, double low, double high) {
    return apply(ScalarOp::kMin, apply(ScalarOp::kMax, a, constant(low)), constant(high));
  }
  Term clip_from_above(Term a, double low, double high) {
    return apply(ScalarOp::kMax, apply(ScalarOp::kMin, a, constant(high)), constant(low));
  }

  ScalarBody body;
  Term x;
};

using Function = std::function<Formula::Term(Formula&, Formula::Term)>;

ScalarBody body_of(const Function& function) {
  Formula formula;
  function(formula, formula.x);
  return formula.body;
}

std::string text(const ScalarBody& body) {
  std::vector<std::string> terms;
  for (const graph::ScalarNode& node : body.nodes) {
    if (node.op == ScalarOp::kOperand) {
      terms.push_back("x");
    } else if (node.op == ScalarOp::kConstant) {
      terms.push_back(fmt::format("{:.5g}", node.f64));
    } else {
      std::string term = std::string(graph::to_string(node.op)) + "(" + terms[node.args[0]];
      if (graph::num_args(node.op) == 2) term += ", " + terms[node.args[1]];
      terms.push_back(term + ")");
    }
  }
  return terms.back();
}

std::string simplified(const Function& function) { return text(simplify_body(body_of(function))); }

std::vector<Tensor> evaluate_at(const ScalarBody& body, const std::vector<float>& points) {
  graph::Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {static_cast<int64_t>(points.size())});
  graph::Compute compute;
  compute.space.axes.push_back({"i", static_cast<int64_t>(points.size())});
  compute.operands.push_back({index::IndexMap::identity(1)});
  compute.body = body;
  set_output(graph, graph.add_compute("y", compute, {x}));
  Result<std::vector<Tensor>> result =
      graph::evaluate(graph, {make_tensor<float>({static_cast<int64_t>(points.size())}, points)});
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return result.ok() ? *result : std::vector<Tensor>{};
}

void expect_same_function(const Function& function, const std::vector<float>& points) {
  const ScalarBody before = body_of(function);
  const std::vector<Tensor> expected = evaluate_at(before, points);
  const std::vector<Tensor> actual = evaluate_at(simplify_body(before), points);
  for (size_t i = 0; i < points.size(); ++i) {
    const double a = expected[0].at_f64(static_cast<int64_t>(i));
    const double b = actual[0].at_f64(static_cast<int64_t>(i));
    if (!std::isfinite(a)) {
      EXPECT_TRUE(std::isnan(a) ? std::isnan(b) : a == b) << text(before) << " at " << points[i];
    } else {
      EXPECT_NEAR(a, b, 1e-6 * std::max(1.0, std::abs(a))) << text(before) << " at " << points[i];
    }
  }
}

std::vector<float> many_points() {
  std::vector<float> points = {0.0f, -0.0f, NAN};
  for (int i = -400; i <= 400; ++i) points.push_back(static_cast<float>(i) * 0.0303f);
  return points;
}

/// Every spelling becomes `canonical` and stays the function that it was.
void expect_canonical(const std::string& canonical, const std::vector<Function>& spellings) {
  for (const Function& spelling : spellings) {
    EXPECT_EQ(simplified(spelling), canonical);
    expect_same_function(spelling, many_points());
  }
}

TEST(SimplifyBody, HardSwish) {
  const Function hard_sigmoid = [](Formula& f, Formula::Term x) {
    return x * f.clip_from_above(x * (1.0 / 6) + 0.5, 0, 1);
  };
  const Function divided_inside = [](Formula& f, Formula::Term x) {
    return (f.clip(x + 3, 0, 6) / 6) * x;
  };
  expect_canonical("mul(mul(min(max(add(x, 3), 0), 6), 0.16667), x)",
                   {hard_sigmoid, divided_inside});
  // Which overflows from a sixth of the largest number on.
  const Function divided_last = [](Formula& f, Formula::Term x) {
    return x * f.clip(x + 3, 0, 6) / 6;
  };
  expect_canonical("mul(mul(min(max(add(x, 3), 0), 6), x), 0.16667)", {divided_last});
}

TEST(SimplifyBody, Silu) {
  const Function sigmoid = [](Formula& f, Formula::Term x) {
    return f.apply(ScalarOp::kSigmoid, x) * x;
  };
  const Function quotient = [](Formula& f, Formula::Term x) {
    return x / (f.apply(ScalarOp::kExp, f.apply(ScalarOp::kNeg, x)) + 1);
  };
  const Function reciprocal = [](Formula& f, Formula::Term x) {
    return x * f.apply(ScalarOp::kReciprocal, f.apply(ScalarOp::kExp, f.constant(0) - x) + 1);
  };
  expect_canonical("mul(sigmoid(x), x)", {sigmoid, quotient, reciprocal});
}

TEST(SimplifyBody, Gelu) {
  const double root = std::sqrt(2.0);
  const Function divided = [=](Formula& f, Formula::Term x) {
    return (x * (f.apply(ScalarOp::kErf, x / root) + 1)) * 0.5;
  };
  const Function halved_first = [=](Formula& f, Formula::Term x) {
    return (x * 0.5) * (f.constant(1) + f.apply(ScalarOp::kErf, x * (1 / root)));
  };
  const Function halved_factor = [=](Formula& f, Formula::Term x) {
    return x * ((f.apply(ScalarOp::kErf, x / root) + 1) * 0.5);
  };
  expect_canonical("mul(add(mul(erf(mul(x, 0.70711)), 0.5), 0.5), x)",
                   {divided, halved_first, halved_factor});
}

TEST(SimplifyBody, GeluOfTanh) {
  const double k = std::sqrt(2 / M_PI);
  const Function cubed = [=](Formula& f, Formula::Term x) {
    const auto cube = f.apply(ScalarOp::kPow, x, f.constant(3));
    const auto tanh = f.apply(ScalarOp::kTanh, (x + cube * 0.044715) * k);
    return (x * (tanh + 1)) * 0.5;
  };
  const Function factored = [=](Formula& f, Formula::Term x) {
    const auto tanh = f.apply(ScalarOp::kTanh, (x * k) * ((x * 0.044715) * x + 1));
    return (x * 0.5) * (tanh + 1);
  };
  expect_canonical("mul(sigmoid(mul(add(mul(mul(x, x), 0.071355), 1.5958), x)), x)", {cubed});
  expect_canonical("mul(sigmoid(mul(add(mul(mul(x, 0.071355), x), 1.5958), x)), x)", {factored});
}

TEST(SimplifyBody, Clips) {
  EXPECT_EQ(simplified([](Formula& f, Formula::Term x) { return f.clip(f.clip(x, -1, 5), 0, 6); }),
            "min(max(x, 0), 5)");
  EXPECT_EQ(simplified([](Formula& f, Formula::Term x) {
              return f.apply(ScalarOp::kMax, f.constant(-INFINITY), x);
            }),
            "x");
  // Bounds that cross: the outer one decides.
  const Function crossed = [](Formula& f, Formula::Term x) {
    return f.clip_from_above(f.clip(x, 2, 3), 5, 4);
  };
  expect_same_function(crossed, many_points());
}

TEST(SimplifyBody, PowersAndAffineFunctions) {
  const auto pow = [](double exponent) {
    return [=](Formula& f, Formula::Term x) {
      return f.apply(ScalarOp::kPow, f.apply(ScalarOp::kExp, x), f.constant(exponent));
    };
  };
  EXPECT_EQ(simplified(pow(2)), "mul(exp(x), exp(x))");
  EXPECT_EQ(simplified(pow(3)), "mul(mul(exp(x), exp(x)), exp(x))");
  EXPECT_EQ(simplified(pow(0.5)), "sqrt(exp(x))");
  EXPECT_EQ(simplified(pow(-0.5)), "rsqrt(add(exp(x), 0))");
  EXPECT_EQ(simplified(pow(-1)), "reciprocal(exp(x))");
  EXPECT_EQ(simplified(pow(0.25)), "sqrt(sqrt(exp(x)))");
  EXPECT_EQ(simplified(pow(0.75)), "mul(sqrt(sqrt(exp(x))), sqrt(exp(x)))");
  EXPECT_EQ(simplified(pow(1.5)), "mul(sqrt(exp(x)), exp(x))");
  EXPECT_EQ(simplified(pow(1.7)), "pow(exp(x), 1.7)");
  EXPECT_EQ(simplified([](Formula& f, Formula::Term x) {
              return ((x - f.constant(127.5)) / 127.5 + 2) * 4;
            }),
            "add(mul(add(x, -127.5), 0.031373), 8)");
  EXPECT_EQ(simplified([](Formula&, Formula::Term x) { return x / 4; }), "mul(x, 0.25)");
  EXPECT_EQ(simplified([](Formula& f, Formula::Term x) {
              return f.apply(ScalarOp::kReciprocal, f.apply(ScalarOp::kSqrt, x));
            }),
            "rsqrt(x)");
}

TEST(SimplifyBody, KeepsWhatIsNotExactForNanAndInfinity) {
  const std::vector<float> points = {0, -0.0f, 1, -1, INFINITY, -INFINITY, NAN};
  const std::vector<Function> functions = {
      [](Formula&, Formula::Term x) { return x * 0; },
      [](Formula&, Formula::Term x) { return x - x; },
      [](Formula&, Formula::Term x) { return x / 0; },
      [](Formula& f, Formula::Term x) { return f.constant(1) / x; },
      [](Formula& f, Formula::Term x) { return f.clip(x, 0, 0); },
  };
  for (const Function& function : functions) expect_same_function(function, points);
}

TEST(SimplifyBody, RootsOfNegativeEndsAreThoseOfPowers) {
  for (double exponent : {0.5, -0.5, 0.25, 0.75, 1.5}) {
    expect_same_function(
        [=](Formula& f, Formula::Term x) {
          return f.apply(ScalarOp::kPow, x, f.constant(exponent));
        },
        {-0.0f, 0.0f, -INFINITY, INFINITY, -1, 2, NAN});
  }
}

/// What rewrite/rounding.h forbids.
TEST(SimplifyBody, KeepsWhatConstantsAreThereFor) {
  // Rounds to integers.
  EXPECT_EQ(simplified([](Formula& f, Formula::Term x) {
              return (x + 12582912.0) - f.constant(12582912);
            }),
            "add(add(x, 1.2583e+07), -1.2583e+07)");
  // Exact, however large the mean.
  EXPECT_EQ(simplified([](Formula& f, Formula::Term x) { return (x - f.constant(1e6)) / 0.3; }),
            "mul(add(x, -1e+06), 3.3333)");
  // Keeps the square in range.
  EXPECT_EQ(simplified([](Formula&, Formula::Term x) { return (x * 1e-20) * (x * 1e-20); }),
            "mul(mul(x, 1e-20), mul(x, 1e-20))");
  // Underflows, and so does 1e30 twice overflow.
  EXPECT_EQ(simplified([](Formula&, Formula::Term x) { return x * 1e-30 * 1e30; }),
            "mul(mul(x, 1e-30), 1e+30)");
  EXPECT_EQ(simplified([](Formula&, Formula::Term x) { return x * 1e30 * 1e30; }),
            "mul(mul(x, 1e+30), 1e+30)");
  EXPECT_EQ(simplified([](Formula&, Formula::Term x) { return x * 3 * 5; }), "mul(x, 15)");
  // Steps: an exact multiple stays one. A power of two divides exactly.
  EXPECT_EQ(
      simplified([](Formula& f, Formula::Term x) { return f.apply(ScalarOp::kFloor, x / 41); }),
      "floor(div(x, 41))");
  EXPECT_EQ(
      simplified([](Formula& f, Formula::Term x) { return f.apply(ScalarOp::kFloor, x / 4); }),
      "floor(mul(x, 0.25))");
  EXPECT_EQ(simplified([](Formula& f, Formula::Term x) {
              return f.apply(ScalarOp::kRoundEven, f.clip(x / 0.1, -128, 127));
            }),
            "round(min(max(div(x, 0.1), -128), 127))");
  EXPECT_EQ(simplified([](Formula& f, Formula::Term x) { return f.apply(ScalarOp::kExp, x / 41); }),
            "exp(div(x, 41))");
}

TEST(SimplifyBody, DigitsThatOthersAskFor) {
  const ScalarBody body = body_of([](Formula&, Formula::Term x) { return x / 41; });
  EXPECT_EQ(text(simplify_body(body, {.digits = true})), "div(x, 41)");
  const ScalarBody sum = body_of([](Formula&, Formula::Term x) { return x + 0; });
  EXPECT_EQ(text(simplify_body(sum)), "x");
  EXPECT_EQ(text(simplify_body(sum, {.sign_of_zero = true})), "add(x, 0)");
}

TEST(SimplifyBody, RandomFormulas) {
  std::mt19937 generator(5);
  const auto pick = [&](int count) { return static_cast<int>(generator() % count); };
  const std::vector<double> constants = {-2, -1, -0.5, 0, 0.25, 1, 3, 6};
  const std::vector<ScalarOp> unary_ops = {ScalarOp::kNeg, ScalarOp::kAbs, ScalarOp::kTanh,
                                           ScalarOp::kSigmoid, ScalarOp::kErf};
  const std::vector<ScalarOp> binary_ops = {ScalarOp::kAdd, ScalarOp::kSub, ScalarOp::kMul,
                                            ScalarOp::kMin, ScalarOp::kMax};
  for (int trial = 0; trial < 500; ++trial) {
    const Function function = [&](Formula& f, Formula::Term x) {
      std::vector<Formula::Term> terms = {x, f.constant(constants[pick(8)]), x + 1};
      for (int i = 0; i < 12; ++i) {
        const auto a = terms[pick(static_cast<int>(terms.size()))];
        const auto b = pick(3) == 0 ? f.constant(constants[pick(8)])
                                    : terms[pick(static_cast<int>(terms.size()))];
        terms.push_back(pick(4) == 0 ? f.apply(unary_ops[pick(5)], a)
                                     : f.apply(binary_ops[pick(5)], a, b));
      }
      // Keeps the values small, so that they can be compared.
      return f.apply(ScalarOp::kTanh, terms.back() * 0.01);
    };
    const ScalarBody before = body_of(function);
    const ScalarBody after = simplify_body(before);
    EXPECT_LE(after.nodes.size(), before.nodes.size() + 2);
    const std::vector<float> points = {-1.5f, -0.75f, 0.0f, 0.3f, 1.25f, 2.0f};
    const std::vector<Tensor> expected = evaluate_at(before, points);
    const std::vector<Tensor> actual = evaluate_at(after, points);
    for (size_t i = 0; i < points.size(); ++i) {
      EXPECT_NEAR(expected[0].at_f64(static_cast<int64_t>(i)),
                  actual[0].at_f64(static_cast<int64_t>(i)), 1e-5)
          << text(before) << "\n"
          << text(after) << "\nat " << points[i];
    }
  }
}

}  // namespace
}  // namespace corf::rewrite
