#include "rewrite/winograd.h"

#include <gtest/gtest.h>
#include <random>

#include "driver/compile.h"
#include "graph/evaluate.h"
#include "graph/operators.h"
#include "loop/interpret.h"
#include "search/find_plan.h"
#include "tests/lower/guarded_run.h"
#include "tests/lower/lowered.h"
#include "tests/lower/run_plan.h"
#include "tests/onnx/model_builder.h"

namespace corf {
namespace {

using graph::Graph;
using graph::ValueId;

Tensor random_tensor(Shape shape, uint32_t seed) {
  Tensor tensor(DType::kF32, std::move(shape));
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform(-1, 1);
  for (int64_t i = 0; i < tensor.num_elems(); ++i) tensor.set_f64(i, uniform(random));
  return tensor;
}

struct Difference {
  double largest = 0, relative_l2 = 0;
};
Difference difference(const Tensor& expected, const Tensor& actual) {
  Difference result;
  double error = 0, norm = 0;
  for (int64_t i = 0; i < expected.num_elems(); ++i) {
    const double off = std::abs(expected.at_f64(i) - actual.at_f64(i));
    result.largest = std::isnan(off) ? INFINITY : std::max(result.largest, off);
    error += off * off;
    norm += expected.at_f64(i) * expected.at_f64(i);
  }
  result.relative_l2 = std::isfinite(error) ? std::sqrt(error / std::max(norm, 1e-30)) : INFINITY;
  return result;
}

/// Runs the graph's code on memory between pages that fault, NaNs in the outputs' place before.
std::vector<Tensor> run_code(const Graph& graph, const std::vector<Tensor>& inputs, Isa isa) {
  auto spec = test::compile(graph, isa, 2);
  EXPECT_TRUE(spec) << spec.error().message;
  auto team = runtime::Team::create(2);
  EXPECT_TRUE(team);
  if (!spec || !team) return {};
  auto executable = runtime::Executable::load(*spec, *team);
  EXPECT_TRUE(executable) << executable.error().message;
  if (!executable) return {};
  test::GuardedRun run(**executable, inputs);
  EXPECT_TRUE(run.run(**executable));
  std::vector<Tensor> outputs;
  for (const Tensor& output : run.outputs()) {
    outputs.emplace_back(output.dtype(), output.shape());
    std::memcpy(outputs.back().bytes(), output.bytes(), output.size_bytes());
  }
  return outputs;
}

std::vector<Tensor> run_interpreted(const Graph& graph, const std::vector<Tensor>& inputs) {
  driver::Pipeline pipeline;
  pipeline.machine = detect_machine(2, Isa::kSse2);
  pipeline.graph = fusion::prepare(graph);
  driver::CompileOptions options;
  options.verify_each = true;
  Status status = driver::plan_and_lower(pipeline, options, driver::Stage::kLlvm);
  EXPECT_TRUE(status) << status.error().message;
  auto result = loop::interpret(pipeline.program, inputs);
  EXPECT_TRUE(result) << result.error().message;
  return result.ok() ? result.take() : std::vector<Tensor>{};
}

rewrite::WinogradOptions always(int m) {
  rewrite::WinogradOptions options;
  options.output_tile = [m](const rewrite::WinogradShape&) { return m; };
  return options;
}

class Winograd : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!has_isa(GetParam())) GTEST_SKIP() << "this machine has no " << to_string(GetParam());
  }
};

TEST_P(Winograd, CodeStaysWithinTheStatedBounds) {
  std::mt19937 random(11);
  auto pick = [&](int64_t lo, int64_t hi) {
    return lo + static_cast<int64_t>(random() % static_cast<uint64_t>(hi - lo + 1));
  };
  for (uint32_t seed = 0; seed < 18; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const int m = std::array{2, 4, 6}[seed % 3];
    const int64_t channels = pick(1, 40), outputs = pick(1, 40);
    graph::Window window{
        {3, 3}, {1, 1}, {1, 1}, {pick(0, 2), pick(0, 2)}, {pick(0, 2), pick(0, 2)}};
    Shape image{pick(1, 2), channels, pick(3, 15), pick(3, 15)}, kernel{outputs, channels, 3, 3};
    int64_t planes = 1;
    if (seed % 3 == 1) {  // a volume
      planes = pick(1, 3);
      image.insert(image.begin() + 2, pick(planes, 5));
      kernel.insert(kernel.begin() + 2, planes);
      for (auto* of_planes : {&window.strides, &window.dilations}) {
        of_planes->insert(of_planes->begin(), 1);
      }
      window.strides[0] = pick(1, 2);
      window.kernel.insert(window.kernel.begin(), planes);
      for (auto* pads : {&window.pads_begin, &window.pads_end}) {
        pads->insert(pads->begin(), pick(0, 1));
      }
    }
    Graph graph;
    ValueId x = graph.add_input("x", DType::kF32, image);
    const Tensor weights = random_tensor(kernel, seed);
    ValueId y = graph::conv(graph, "conv", x, graph.add_constant("w", weights), window, 1);
    graph.outputs = {y};
    graph.output_names = {"y"};
    Result<Graph> rewritten = rewrite::winograd(graph, always(m));
    ASSERT_TRUE(rewritten.ok());
    const std::vector<Tensor> inputs{random_tensor(graph.values[x].shape, 100 + seed)};
    auto expected = graph::evaluate(graph, inputs);
    ASSERT_TRUE(expected);
    const std::vector<Tensor> actual = run_code(*rewritten, inputs, GetParam());
    ASSERT_EQ(actual.size(), 1u);
    const Difference off = difference((*expected)[0], actual[0]);
    const int64_t summed = channels * planes;
    EXPECT_LE(off.largest, rewrite::winograd_error_bound(m, summed) * double(summed));
    EXPECT_LE(off.relative_l2, rewrite::typical_error(m)) << "m " << m;
    if (seed >= 6) continue;
    const std::vector<Tensor> interpreted = run_interpreted(*rewritten, inputs);
    ASSERT_EQ(interpreted.size(), 1u);
    EXPECT_LE(difference((*expected)[0], interpreted[0]).relative_l2, rewrite::typical_error(m));
  }
}

/// conv-relu-conv-add-relu with biases, images that no tile divides.
ModelBuilder residual_block(int64_t height, int64_t width) {
  ModelBuilder model;
  model.input("x", {2, 64, height, width})
      .initializer("w1", random_tensor({64, 64, 3, 3}, 1))
      .initializer("b1", random_tensor({64}, 2))
      .initializer("w2", random_tensor({64, 64, 3, 3}, 3))
      .initializer("b2", random_tensor({64}, 4))
      .node("Conv", {"x", "w1", "b1"}, {"c1"}, {{"pads", std::vector<int64_t>{1, 1, 1, 1}}})
      .node("Relu", {"c1"}, {"r1"})
      .node("Conv", {"r1", "w2", "b2"}, {"c2"}, {{"pads", std::vector<int64_t>{1, 1, 1, 1}}})
      .node("Add", {"c2", "r1"}, {"s"})
      .node("Relu", {"s"}, {"y"})
      .output("y");
  return model;
}

TEST_P(Winograd, WholeModelsCompareWithFloat64) {
  for (auto [height, width] : {std::pair<int64_t, int64_t>{28, 27}, {45, 24}}) {
    auto model = residual_block(height, width).parse();
    ASSERT_TRUE(model) << model.error().message;
    driver::CompileOptions options;
    options.isa = GetParam();
    options.threads = 2;
    options.winograd = true;
    options.verify_each = true;
    auto plan = driver::inspect(**model, driver::Stage::kPlan, options);
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_NE(plan->find(".products"), std::string::npos);
    auto comparison = driver::compare(**model, {random_tensor({2, 64, height, width}, 9)}, options);
    ASSERT_TRUE(comparison) << comparison.error().message;
    ASSERT_EQ(comparison->outputs.size(), 1u);
    EXPECT_LE(comparison->outputs[0].relative_l2, 1e-5);
    options.winograd = false;
    plan = driver::inspect(**model, driver::Stage::kPlan, options);
    ASSERT_TRUE(plan);
    EXPECT_EQ(plan->find(".products"), std::string::npos);
  }
}

/// y[i, c] = x[i floordiv d, i mod d, c] + r[i, c]: extents that d does not divide; everything is
/// exact.
Graph uneven(int64_t extent, int64_t divisor, int64_t channels) {
  using index::AxisKind;
  Graph graph;
  ValueId x =
      graph.add_input("x", DType::kF32, {(extent + divisor - 1) / divisor, divisor, channels});
  ValueId r = graph.add_input("r", DType::kF32, {extent, channels});
  graph::Compute compute;
  compute.space.axes = {{"i", extent, AxisKind::kParallel}, {"c", channels, AxisKind::kParallel}};
  const index::Expr i = index::Expr::variable(0), c = index::Expr::variable(1);
  compute.operands.resize(3);
  // A stride that keeps quotient and remainder from joining.
  compute.operands[0].map.exprs = {floor_div(i, index::Expr(divisor)),
                                   index::Expr(divisor - 1) - mod(i, index::Expr(divisor)), c};
  compute.operands[1].map.exprs = {i, c};
  compute.operands[2].map.exprs = {index::Expr(extent - 1) - i, c};
  int sum = compute.body.operand(0, DType::kF32);
  sum = compute.body.apply(graph::ScalarOp::kAdd, sum, compute.body.operand(1, DType::kF32));
  compute.body.apply(graph::ScalarOp::kAdd, sum, compute.body.operand(2, DType::kF32));
  graph.outputs = {graph.add_compute("y", std::move(compute), {x, r, r})};
  graph.output_names = {"y"};
  return graph;
}

TEST_P(Winograd, AxesThatAreCutUnevenly) {
  for (int64_t extent : {5, 11, 13, 27}) {
    for (int64_t divisor : {2, 3, 4, 6}) {
      if (divisor >= extent) continue;
      for (int64_t channels : {1, 3, 17}) {
        SCOPED_TRACE(std::to_string(extent) + " by " + std::to_string(divisor));
        const Graph graph = uneven(extent, divisor, channels);
        std::vector<Tensor> inputs;
        for (ValueId input : graph.inputs) {
          inputs.push_back(Tensor(DType::kF32, graph.values[input].shape));
          for (int64_t i = 0; i < inputs.back().num_elems(); ++i) {
            inputs.back().set_f64(i, double(i % 251));
          }
        }
        auto expected = graph::evaluate(graph, inputs);
        ASSERT_TRUE(expected) << expected.error().message;
        const std::vector<Tensor> code = run_code(graph, inputs, GetParam());
        const std::vector<Tensor> interpreted = run_interpreted(graph, inputs);
        ASSERT_EQ(code.size(), 1u);
        ASSERT_EQ(interpreted.size(), 1u);
        EXPECT_EQ(difference((*expected)[0], code[0]).largest, 0);
        EXPECT_EQ(difference((*expected)[0], interpreted[0]).largest, 0);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, Winograd, testing::ValuesIn(kIsas),
                         [](const auto& info) { return std::string(to_string(info.param)); });

/// A tile that holds a part of a transform's results loads their coefficients, and still takes the
/// sum axis by axis.
TEST(Winograd, TransformsOfWhichATileHoldsAPartAreTakenAxisByAxis) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kF32, {1, 32, 12, 12});
  const Tensor weights = random_tensor({32, 32, 3, 3}, 1);
  const ValueId w = graph.add_constant("w", weights);
  graph.outputs = {graph::conv(graph, "conv", x, w, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, 1)};
  graph.output_names = {"y"};
  const Tensor input = random_tensor({1, 32, 12, 12}, 2);
  auto expected = graph::evaluate(graph, {input});
  ASSERT_TRUE(expected);
  driver::Pipeline pipeline;
  pipeline.machine = detect_machine(2, best_isa());
  auto rewritten = rewrite::winograd(graph, always(4));
  ASSERT_TRUE(rewritten);
  pipeline.graph = fusion::prepare(*rewritten);
  pipeline.plan = search::find_unfused_plan(pipeline.graph, pipeline.machine);
  int halved = 0;
  for (fusion::GroupPlan& group : pipeline.plan.groups) {
    for (fusion::ScheduledNest& scheduled : group.nests) {
      fusion::NestSchedule& schedule = scheduled.schedule;
      if (schedule.unrolled_reductions.size() != 2 || schedule.register_tile.size() != 2) continue;
      if (schedule.register_tile[0].extent != 6) continue;
      schedule.register_tile[0].extent = 3;
      ++halved;
    }
  }
  ASSERT_EQ(halved, 1);
  auto program = test::lowered(pipeline.graph, pipeline.plan);
  ASSERT_TRUE(program) << program.error().message;
  // One accumulator for each axis, instead of one over both.
  const std::string text = loop::to_string(*program);
  EXPECT_NE(text.find("over (i_t)"), std::string::npos) << text;
  EXPECT_NE(text.find("over (j_t)"), std::string::npos) << text;
  test::run_plan(pipeline, {input}, [&](const Tensor& actual, const char* how) {
    EXPECT_LT(difference((*expected)[0], actual).relative_l2, 1e-5) << how;
  });
}

}  // namespace
}  // namespace corf
