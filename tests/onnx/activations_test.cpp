// Activations over the whole range of float32, compiled, against float64: relative errors of a few
// units in the last place wherever the result is no denormal, no overflow that the result has not.
#include <cmath>
#include <functional>
#include <gtest/gtest.h>
#include <numbers>

#include "rewrite/rewrite.h"
#include "tests/lower/guarded_run.h"
#include "tests/onnx/model_builder.h"

namespace corf {
namespace {

struct Activation {
  std::string name;
  std::function<void(ModelBuilder&)> build;  // from x to y
  std::function<double(double)> exact;
  double bound_ulp;
};

/// Every exponent, with eight mantissas each, of both signs.
std::vector<float> points() {
  std::vector<float> result = {0.0f, -0.0f};
  for (int exponent = -149; exponent < 128; ++exponent) {
    for (int eighth = 0; eighth < 8; ++eighth) {
      const auto point = static_cast<float>(std::ldexp(1 + eighth * 0.137, exponent));
      if (!std::isfinite(point)) continue;
      result.push_back(point);
      result.push_back(-point);
    }
  }
  for (double point = -110; point < 110; point += 0.37) {
    result.push_back(static_cast<float>(point));
  }
  return result;
}

double softplus(double x) { return std::fmax(x, 0) + std::log1p(std::exp(-std::fabs(x))); }
double sigmoid(double x) {
  return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
}
double with_decay(double x, double decay) { return decay == 0 ? 0 * x : x * decay; }

std::function<void(ModelBuilder&)> single(const std::string& op,
                                          ModelBuilder::Attributes attributes) {
  return [=](ModelBuilder& model) { model.node(op, {"x"}, {"y"}, attributes); };
}

const std::vector<Activation>& activations() {
  const double alpha = 1.67326319217681884765625, gamma = 1.05070102214813232421875;
  static const std::vector<Activation> list = {
      {"Softplus", single("Softplus", {}), softplus, 4},
      {"Mish", single("Mish", {}), [](double x) { return with_decay(x, std::tanh(softplus(x))); },
       6},
      {"Sigmoid", single("Sigmoid", {}), sigmoid, 3},
      {"Tanh", single("Tanh", {}), [](double x) { return std::tanh(x); }, 4},
      {"Elu", single("Elu", {}), [](double x) { return x < 0 ? std::expm1(x) : x; }, 7},
      {"Selu", single("Selu", {}),
       [=](double x) { return gamma * (x < 0 ? alpha * std::expm1(x) : x); }, 9},
      {"Celu", single("Celu", {{"alpha", 2.0}}),
       [](double x) { return x < 0 ? 2 * std::expm1(x / 2) : x; }, 8},
      {"Celu whose alpha has no inverse", single("Celu", {{"alpha", 1e-40}}),
       [](double x) { return x < 0 ? 1e-40 * std::expm1(x / 1e-40) : x; }, 8},
      {"HardSigmoid", single("HardSigmoid", {{"alpha", 0.25}, {"beta", 0.5}}),
       [](double x) { return std::fmax(0, std::fmin(1, 0.25 * x + 0.5)); }, 3},
      {"HardSwish", single("HardSwish", {}),
       [](double x) { return x * (std::fmax(0, std::fmin(6, x + 3)) / 6); }, 6},
      {"Softsign", single("Softsign", {}), [](double x) { return x / (1 + std::fabs(x)); }, 3},
      {"swish",
       [](ModelBuilder& model) {
         model.node("Sigmoid", {"x"}, {"s"}).node("Mul", {"x", "s"}, {"y"});
       },
       [](double x) { return with_decay(x, sigmoid(x)); }, 4},
      {"swish of powers",
       [](ModelBuilder& model) {
         model.floats("one", {}, {1})
             .node("Neg", {"x"}, {"n"})
             .node("Exp", {"n"}, {"e"})
             .node("Add", {"e", "one"}, {"d"})
             .node("Div", {"x", "d"}, {"y"});
       },
       [](double x) { return with_decay(x, sigmoid(x)); }, 4},
      {"softplus of powers",
       [](ModelBuilder& model) {
         model.floats("one", {}, {1})
             .node("Exp", {"x"}, {"e"})
             .node("Add", {"one", "e"}, {"s"})
             .node("Log", {"s"}, {"y"});
       },
       softplus, 4},
      {"mish of softplus",
       [](ModelBuilder& model) {
         model.node("Softplus", {"x"}, {"s"})
             .node("Tanh", {"s"}, {"t"})
             .node("Mul", {"x", "t"}, {"y"});
       },
       [](double x) { return with_decay(x, std::tanh(softplus(x))); }, 10},
      {"log of sigmoid",
       [](ModelBuilder& model) { model.node("Sigmoid", {"x"}, {"s"}).node("Log", {"s"}, {"y"}); },
       [](double x) { return -softplus(-x); }, 4},
      {"hard-swish of clip",
       [](ModelBuilder& model) {
         model.floats("three", {}, {3})
             .floats("zero", {}, {0})
             .floats("six", {}, {6})
             .node("Add", {"x", "three"}, {"a"})
             .node("Clip", {"a", "zero", "six"}, {"c"})
             .node("Div", {"c", "six"}, {"g"})
             .node("Mul", {"x", "g"}, {"y"});
       },
       [](double x) { return x * (std::fmax(0, std::fmin(6, x + 3)) / 6); }, 6},
  };
  return list;
}

/// In units of the last place of the exact value; of the smallest normal number where it is smaller
/// than that many times the bound, for what a denormal factor has lost its digits to.
double error_ulp(float actual, double exact) {
  const double largest = std::numeric_limits<float>::max();
  if (std::fabs(exact) > largest * 0.999) return 0;
  constexpr double kDenormalFactor = 0x1p-110;
  const double place = std::ldexp(std::fmax(std::fabs(exact), kDenormalFactor), -24);
  return std::isfinite(actual) ? std::fabs(actual - exact) / (2 * place) : INFINITY;
}

class ActivationsOf : public testing::TestWithParam<Isa> {};

TEST_P(ActivationsOf, AreExactOverTheWholeRange) {
  if (!has_isa(GetParam())) GTEST_SKIP() << "this machine has no " << to_string(GetParam());
  const std::vector<float> x = points();
  const auto count = static_cast<int64_t>(x.size());
  for (const Activation& activation : activations()) {
    ModelBuilder model(20);
    model.input("x", {count});
    activation.build(model);
    model.output("y");
    auto graph = model.import();
    ASSERT_TRUE(graph.ok()) << activation.name << ": " << graph.error().message;
    auto rewritten = rewrite::rewrite(*graph);
    ASSERT_TRUE(rewritten.ok()) << rewritten.error().message;
    auto spec = test::compile(*rewritten, GetParam(), 1);
    ASSERT_TRUE(spec.ok()) << spec.error().message;
    auto executable = runtime::Executable::load(*spec, runtime::Team::create(1).take());
    ASSERT_TRUE(executable.ok()) << executable.error().message;
    test::GuardedRun run(**executable, {make_tensor<float>({count}, x)});
    ASSERT_TRUE(run.run(**executable).ok());
    double worst = 0;
    float worst_at = 0;
    for (int64_t i = 0; i < count; ++i) {
      const float at = x[static_cast<size_t>(i)];
      const double error =
          error_ulp(static_cast<float>(run.outputs()[0].at_f64(i)), activation.exact(at));
      if (!(error <= worst)) worst = error, worst_at = at;
    }
    EXPECT_LE(worst, activation.bound_ulp) << activation.name << " at " << worst_at;
    RecordProperty(activation.name, std::to_string(worst));
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, ActivationsOf, testing::ValuesIn(kIsas),
                         [](const auto& info) { return std::string(to_string(info.param)); });

}  // namespace
}  // namespace corf
