#include "index/expr.h"

#include <gtest/gtest.h>
#include <random>

#include "index/iteration_space.h"

namespace corf::index {
namespace {

const std::vector<std::string> kNames = {"a", "b", "c", "d"};
std::string text(const Expr& expr) {
  return to_string(expr, [](int v) { return kNames[v]; });
}
std::optional<Expr> parsed(std::string_view input) {
  size_t position = 0;
  auto expr = parse_expr(input, position, [](std::string_view name) -> std::optional<int> {
    for (size_t i = 0; i < kNames.size(); ++i) {
      if (kNames[i] == name) return static_cast<int>(i);
    }
    return std::nullopt;
  });
  if (position != input.size()) return std::nullopt;
  return expr;
}
Expr var(int id) { return Expr::variable(id); }

TEST(Expr, FoldsAndDropsNeutralElements) {
  EXPECT_EQ(text(var(0) + 0), "a");
  EXPECT_EQ(text(var(0) * 1), "a");
  EXPECT_EQ(text(var(0) * 0), "0");
  EXPECT_EQ(text(2 * var(0) + var(1) - 1), "2*a + b - 1");
  EXPECT_EQ(text(Expr(3) + var(0) - 5 + var(1)), "a + b - 2");
  EXPECT_EQ(text(var(0) - var(0)), "0");
  EXPECT_EQ(text(var(0) + var(1) + var(0)), "2*a + b");
  EXPECT_EQ(text(4 * (2 * var(0) + 3)), "8*a + 12");
  EXPECT_EQ(text(Expr(0) - var(1)), "-b");
  EXPECT_EQ(text(var(0) - 3 * var(1)), "a - 3*b");
  EXPECT_EQ(text((var(0) + var(1)) * var(2)), "(a + b)*c");
}

TEST(Expr, FoldsDivisions) {
  EXPECT_EQ(text(floor_div(var(0), 1)), "a");
  EXPECT_EQ(text(mod(var(0), 1)), "0");
  EXPECT_EQ(text(floor_div(16 * var(0) + var(1), 8)), "2*a + (b floordiv 8)");
  EXPECT_EQ(text(mod(16 * var(0) + var(1), 8)), "(b mod 8)");
  EXPECT_EQ(text(floor_div(floor_div(var(0), 3), 4)), "(a floordiv 12)");
  EXPECT_EQ(text(mod(mod(var(0), 12), 4)), "(a mod 4)");
  EXPECT_EQ(text(mod(mod(var(0), 4), 12)), "(a mod 4)");
  EXPECT_EQ(text(floor_div(var(0) + 17, 8)), "((a + 1) floordiv 8) + 2");
  EXPECT_EQ(floor_div(Expr(-7), 2).constant(), -4);
  EXPECT_EQ(mod(Expr(-7), 2).constant(), 1);
  EXPECT_EQ(text(ceil_div(var(0), 4)), "((a + 3) floordiv 4)");
}

TEST(Expr, FoldsMinimaOfConstantDistance) {
  EXPECT_EQ(text(min(var(0) + 3, var(0) + 5)), "a + 3");
  EXPECT_EQ(text(max(var(0) + 3, var(0) + 5)), "a + 5");
  EXPECT_EQ(text(min(var(0), 7)), "min(a, 7)");
  EXPECT_EQ(text(min(min(var(0), 7), 5)), "min(a, 5)");
}

TEST(Expr, SimplifiesByRanges) {
  std::vector<Interval> ranges = {{0, 9}, {0, 15}, {0, 7}, {3, 3}};
  auto simple = [&](const Expr& expr) { return text(simplify(expr, ranges)); };
  EXPECT_EQ(simple(floor_div(16 * var(0) + var(1), 16)), "a");
  EXPECT_EQ(simple(mod(16 * var(0) + var(1), 16)), "b");
  EXPECT_EQ(simple(floor_div(16 * var(0) + var(1), 32)), "(a floordiv 2)");
  EXPECT_EQ(simple(mod(16 * var(0) + var(1), 32)), "16*(a mod 2) + b");
  EXPECT_EQ(simple(floor_div(128 * var(0) + 8 * var(1) + var(2), 128)), "a");
  EXPECT_EQ(simple(floor_div(mod(128 * var(0) + 8 * var(1) + var(2), 128), 8)), "b");
  EXPECT_EQ(simple(mod(var(0), 10)), "a");
  EXPECT_EQ(simple(min(var(0), 9)), "a");
  EXPECT_EQ(simple(max(var(0), 9)), "9");
  EXPECT_EQ(simple(var(3) + var(0)), "a + 3");
  EXPECT_EQ(simple(7 * floor_div(var(1), 7) + mod(var(1), 7)), "b");
}

TEST(Expr, SplitsTheLinearPart) {
  Linear linear = to_linear(2 * var(0) + floor_div(var(1), 3) * 5 - var(2) + 4);
  EXPECT_EQ(linear.coefficient(0), 2);
  EXPECT_EQ(linear.coefficient(1), 0);
  EXPECT_EQ(linear.coefficient(2), -1);
  EXPECT_EQ(linear.constant, 4);
  EXPECT_FALSE(linear.is_affine());
  EXPECT_EQ(text(linear.rest), "5*(b floordiv 3)");
  EXPECT_EQ(text(to_expr(linear)), "2*a - c + 5*(b floordiv 3) + 4");
  EXPECT_TRUE(to_linear(3 * var(1) + 2).is_affine());
}

TEST(Expr, RejectsWhatIsNoExpression) {
  for (const char* wrong : {"", "a +", "e", "(a", "a b", "(a mod 0)", "min(a)",
                            "99999999999999999999", "a floordiv 2", "*a", "(a floordiv)"}) {
    EXPECT_EQ(parsed(wrong), std::nullopt) << wrong;
  }
  EXPECT_EQ(parsed(std::string(100000, '(')), std::nullopt);
  EXPECT_EQ(parsed(std::string(100000, '-')), std::nullopt);
}

/// Random expressions together with a plain function of the same meaning.
class RandomExpr {
 public:
  explicit RandomExpr(uint32_t seed) : random_(seed) {}

  Expr make(int depth) {
    int choice = depth == 0 ? pick(2) : pick(9);
    if (choice == 0) return pick(19) - 9;
    if (choice == 1) return var(pick(4));
    Expr a = make(depth - 1), b = make(depth - 1);
    switch (choice) {
      case 2:
      case 3:
        return a + b;
      case 4:
        return a - b;
      case 5:
        return pick(2) ? a * (pick(9) - 4) : a * b;
      case 6:
        return floor_div(a, pick(8) + 1);
      case 7:
        return mod(a, pick(8) + 1);
      default:
        return pick(2) ? min(a, b) : max(a, b);
    }
  }
  int pick(int count) { return static_cast<int>(random_() % static_cast<uint32_t>(count)); }

 private:
  std::mt19937 random_;
};

TEST(Expr, RandomExpressionsKeepTheirValue) {
  RandomExpr random(7);
  for (int i = 0; i < 3000; ++i) {
    Expr expr = random.make(4);
    std::vector<Interval> ranges;
    for (int v = 0; v < 4; ++v) {
      int lo = random.pick(10) - 3;
      ranges.push_back({lo, lo + random.pick(12)});
    }
    Expr simple = simplify(expr, ranges);
    Expr linear = to_expr(to_linear(expr));
    auto again = parsed(text(expr));
    ASSERT_TRUE(again.has_value()) << text(expr);
    EXPECT_EQ(text(*again), text(expr));
    Interval bound = bounds(expr, ranges), simple_bound = bounds(simple, ranges);
    for (int point = 0; point < 20; ++point) {
      std::vector<int64_t> values;
      for (const Interval& range : ranges) {
        values.push_back(range.lo + random.pick(static_cast<int>(range.hi - range.lo) + 1));
      }
      int64_t value = evaluate(expr, values);
      ASSERT_EQ(evaluate(simple, values), value) << text(expr) << " -> " << text(simple);
      ASSERT_EQ(evaluate(linear, values), value) << text(expr) << " -> " << text(linear);
      ASSERT_EQ(evaluate(*again, values), value) << text(expr);
      ASSERT_LE(bound.lo, value) << text(expr);
      ASSERT_GE(bound.hi, value) << text(expr);
      ASSERT_LE(simple_bound.lo, value) << text(simple);
      ASSERT_GE(simple_bound.hi, value) << text(simple);
    }
  }
}

TEST(Expr, FoldingKeepsTheMeaningOfItsOperands) {
  RandomExpr random(11);
  for (int i = 0; i < 3000; ++i) {
    Expr a = random.make(3), b = random.make(3);
    int64_t c = random.pick(9) + 1;
    std::vector<int64_t> values;
    for (int v = 0; v < 4; ++v) values.push_back(random.pick(41) - 20);
    int64_t x = evaluate(a, values), y = evaluate(b, values);
    auto floor_quotient = [](int64_t n, int64_t d) {
      return static_cast<int64_t>(std::floor(static_cast<long double>(n) / d));
    };
    ASSERT_EQ(evaluate(a + b, values), x + y);
    ASSERT_EQ(evaluate(a - b, values), x - y);
    ASSERT_EQ(evaluate(a * b, values), x * y);
    ASSERT_EQ(evaluate(floor_div(a, c), values), floor_quotient(x, c)) << text(a) << " / " << c;
    ASSERT_EQ(evaluate(mod(a, c), values), x - floor_quotient(x, c) * c) << text(a) << " % " << c;
    ASSERT_EQ(evaluate(min(a, b), values), std::min(x, y));
    ASSERT_EQ(evaluate(max(a, b), values), std::max(x, y));
  }
}

TEST(Expr, SubstitutesAndFindsVariables) {
  Expr expr = 2 * var(0) + mod(var(1), 4);
  Expr replaced = substitute(expr, [](int v) -> std::optional<Expr> {
    if (v == 1) return 8 * var(2) + 3;
    return std::nullopt;
  });
  EXPECT_EQ(text(replaced), "2*a + 3");
  EXPECT_TRUE(depends_on(expr, 1));
  EXPECT_FALSE(depends_on(expr, 2));
  std::vector<bool> used;
  collect_variables(expr, used);
  EXPECT_EQ(used, (std::vector<bool>{true, true}));
}

TEST(IterationSpace, CountsItsPoints) {
  IterationSpace space;
  space.axes = {{"m", 4, AxisKind::kParallel}, {"k", 5, AxisKind::kReduction}};
  EXPECT_EQ(space.num_parallel(), 1);
  EXPECT_EQ(space.num_points(), 20);
}

TEST(IndexMap, Composes) {
  IndexMap outer, inner;
  outer.exprs = {var(0) + var(1), 2 * var(1)};
  inner.exprs = {3 * var(2), var(0) - 1};
  IndexMap both = compose(outer, inner);
  EXPECT_EQ(text(both.exprs[0]), "3*c + a - 1");
  EXPECT_EQ(text(both.exprs[1]), "2*a - 2");
  EXPECT_EQ(text(compose(outer, IndexMap::identity(2)).exprs[0]), "a + b");
}

}  // namespace
}  // namespace corf::index
