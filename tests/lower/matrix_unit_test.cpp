#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <random>

#include "driver/pipeline.h"
#include "driver/prediction.h"
#include "fusion/matrix.h"
#include "fusion/prepare.h"
#include "fusion/text.h"
#include "graph/evaluate.h"
#include "graph/operators.h"
#include "search/find_plan.h"
#include "tests/lower/lowered.h"
#include "tests/lower/run_plan.h"

namespace corf {
namespace {

using fusion::NestSchedule;
using graph::Graph;
using graph::ValueId;

Tensor random_tensor(Shape shape, uint32_t seed) {
  Tensor tensor(DType::kF32, std::move(shape));
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  for (int64_t i = 0; i < tensor.num_elems(); ++i) tensor.set_f64(i, normal(random));
  return tensor;
}

Tensor magnitudes(const Tensor& tensor) {
  Tensor result(DType::kF32, tensor.shape());
  for (int64_t i = 0; i < tensor.num_elems(); ++i) result.set_f64(i, std::abs(tensor.at_f64(i)));
  return result;
}

/// A convolution with everything that moves its lines about.
struct Case {
  int64_t batch = 1, channels = 1, outputs = 1, height = 1, width = 1;
  std::vector<int64_t> kernel, strides, dilations, begin, end;

  explicit Case(std::mt19937& random) {
    auto pick = [&](int64_t lo, int64_t hi) {
      return lo + static_cast<int64_t>(random() % static_cast<uint64_t>(hi - lo + 1));
    };
    batch = pick(1, 2), channels = pick(1, 90), outputs = pick(1, 70);
    height = pick(5, 20), width = pick(5, 40);
    for (int d = 0; d < 2; ++d) {
      kernel.push_back(pick(0, 2) == 0 ? 3 : 1);
      strides.push_back(pick(1, 2));
      dilations.push_back(kernel.back() == 1 ? 1 : pick(1, 2));
      begin.push_back(pick(0, 2));
      end.push_back(pick(0, 2));
    }
  }

  Graph graph(const Tensor& weights) const {
    Graph graph;
    ValueId x = graph.add_input("x", DType::kF32, {batch, channels, height, width});
    ValueId y = graph::conv(graph, "conv", x, graph.add_constant("w", weights),
                            {kernel, strides, dilations, begin, end}, 1);
    graph.outputs = {y};
    graph.output_names = {"y"};
    return graph;
  }
};

/// The schedule with its axes in an order that suits the matrix unit, if there is one.
std::optional<NestSchedule> on_matrix_unit(const fusion::Nest& nest,
                                           const fusion::StorageView& storage,
                                           NestSchedule schedule, int64_t channels) {
  if (!nest.contraction || schedule.vector_axis < 0) return std::nullopt;
  auto& loops = schedule.reduction_order;
  loops.insert(loops.end(), schedule.unrolled_reductions.begin(),
               schedule.unrolled_reductions.end());
  schedule.unrolled_reductions.clear();
  schedule.register_tile.clear();
  schedule.prefetch = fusion::Prefetch::kPanel;
  schedule.matrix = channels;
  schedule.lane_steps = 1;
  schedule.block_axis = schedule.partition_axis = -1;
  schedule.block_tiles = 0;
  schedule.partitions = 1;
  schedule.vector_tile = std::min<int64_t>(nest.axes[schedule.vector_axis].extent, 32);
  std::sort(schedule.parallel_order.begin(), schedule.parallel_order.end());
  do {
    schedule.block_axis = schedule.parallel_order.back();
    schedule.block_tiles = 5;
    if (fusion::check_schedule(nest, schedule) && fusion::check_matrix(nest, storage, schedule)) {
      return schedule;
    }
  } while (std::next_permutation(schedule.parallel_order.begin(), schedule.parallel_order.end()));
  return std::nullopt;
}

/// Puts what can be on the matrix unit; false if that is nothing.
bool put_on_matrix_unit(driver::Pipeline& pipeline, int64_t channels) {
  bool found = false;
  for (fusion::GroupPlan& group : pipeline.plan.groups) {
    for (fusion::ScheduledNest& scheduled : group.nests) {
      auto schedule =
          on_matrix_unit(scheduled.nest, fusion::StorageView(pipeline.plan.storage, group.walk),
                         scheduled.schedule, channels);
      if (!schedule) continue;
      scheduled.schedule = *schedule;
      found = true;
    }
  }
  return found;
}

/// Every element is within gamma_(terms + 2) * largest of what is expected.
test::Check within_sums_bound(const Tensor& expected, const Tensor& largest, int64_t terms) {
  const double unit = std::ldexp(1, -24);
  const double n = double(terms + 2), gamma = n * unit / (1 - n * unit);
  return [=](const Tensor& actual, const char* how) {
    for (int64_t i = 0; i < actual.num_elems(); ++i) {
      const double off = std::abs(actual.at_f64(i) - expected.at_f64(i));
      ASSERT_LE(off, gamma * largest.at_f64(i)) << how << ", element " << i;
    }
  };
}

TEST(MatrixUnit, ErrorsStayBelowThoseOfFloat32Sums) {
  std::mt19937 random(5);
  int tested = 0;
  for (uint32_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Case shape(random);
    const Tensor weights =
        random_tensor({shape.outputs, shape.channels, shape.kernel[0], shape.kernel[1]}, seed);
    driver::Pipeline pipeline;
    pipeline.machine.isa = Isa::kAmx;
    const Graph graph = shape.graph(weights);
    pipeline.graph = fusion::prepare(graph);
    pipeline.plan = search::find_unfused_plan(pipeline.graph, pipeline.machine);
    if (!put_on_matrix_unit(pipeline, seed % 2 == 0 ? 32 : 1024)) continue;
    ++tested;
    const std::vector<Tensor> inputs{
        random_tensor({shape.batch, shape.channels, shape.height, shape.width}, 100 + seed)};
    auto expected = graph::evaluate(graph, inputs);
    auto largest = graph::evaluate(shape.graph(magnitudes(weights)), {magnitudes(inputs[0])});
    ASSERT_TRUE(expected.ok() && largest.ok());
    test::run_plan(pipeline, inputs,
                   within_sums_bound((*expected)[0], (*largest)[0],
                                     shape.channels * shape.kernel[0] * shape.kernel[1]));
    if (HasFailure()) return;
  }
  EXPECT_GT(tested, 20);
  if (!has_isa(Isa::kAmx)) std::printf("this machine lacks amx: interpreted only\n");
}

TEST(MatrixUnit, FactorsMayBothBeKnownAtRunTimeOnly) {
  std::mt19937 random(7);
  auto pick = [&](int64_t lo, int64_t hi) {
    return lo + static_cast<int64_t>(random() % static_cast<uint64_t>(hi - lo + 1));
  };
  int tested = 0;
  for (uint32_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    // Heads in groups share the second factor.
    const int64_t batch = pick(1, 2), heads = pick(1, 3), group = pick(1, 2);
    const int64_t rows = seed % 5 == 0 ? 1 : pick(1, 70), channels = pick(1, 90),
                  columns = pick(1, 70);
    const bool transposed = pick(0, 1) == 1;
    Graph graph;
    const ValueId a = graph.add_input("a", DType::kF32, {batch, heads, group, rows, channels});
    const Shape of_b = transposed ? Shape{batch, heads, 1, columns, channels}
                                  : Shape{batch, heads, 1, channels, columns};
    const ValueId b = graph.add_input("b", DType::kF32, of_b);
    graph.outputs = {graph::matmul(graph, "product", a, b, false, transposed)};
    graph.output_names = {"y"};
    driver::Pipeline pipeline;
    pipeline.machine.isa = Isa::kAmx;
    pipeline.graph = fusion::prepare(graph);
    pipeline.plan = search::find_unfused_plan(pipeline.graph, pipeline.machine);
    if (!put_on_matrix_unit(pipeline, seed % 2 == 0 ? 32 : 1024)) continue;
    ++tested;
    const std::vector<Tensor> inputs{random_tensor({batch, heads, group, rows, channels}, seed),
                                     random_tensor(of_b, 100 + seed)};
    auto expected = graph::evaluate(graph, inputs);
    auto largest = graph::evaluate(graph, {magnitudes(inputs[0]), magnitudes(inputs[1])});
    ASSERT_TRUE(expected.ok() && largest.ok());
    test::run_plan(pipeline, inputs, within_sums_bound((*expected)[0], (*largest)[0], channels));
    if (HasFailure()) return;
  }
  EXPECT_GT(tested, 20);
}

/// softmax(Q K' / 8 + mask) V, the mask -inf for keys behind the query.
Graph causal_attention(int64_t heads, int64_t queries, int64_t size) {
  Graph graph;
  const Shape shape{1, heads, queries, size};
  const ValueId q = graph.add_input("q", DType::kF32, shape),
                k = graph.add_input("k", DType::kF32, shape),
                v = graph.add_input("v", DType::kF32, shape);
  Tensor hidden(DType::kF32, {queries, queries});
  for (int64_t i = 0; i < hidden.num_elems(); ++i) {
    const bool is_behind = i % queries > i / queries;
    hidden.set_f64(i, is_behind ? -std::numeric_limits<double>::infinity() : 0);
  }
  const ValueId mask = graph.add_constant("mask", hidden);
  auto apply = [&](const char* name, std::vector<ValueId> inputs, graph::ScalarOp op) {
    return graph::elementwise(graph, name, std::move(inputs),
                              [op](graph::ScalarBody& body, const std::vector<int>& in) {
                                return body.apply(op, in[0], in[1]);
                              });
  };
  Tensor eighth(DType::kF32, {1});
  eighth.set_f64(0, 0.125);
  const ValueId scale = graph.add_constant("scale", eighth);
  const ValueId scores = apply("scaled", {graph::matmul(graph, "scores", q, k, false, true), scale},
                               graph::ScalarOp::kMul);
  const ValueId masked = apply("masked", {scores, mask}, graph::ScalarOp::kAdd);
  const ValueId largest = graph::reduce(graph, "largest", masked, graph::Combiner::kMax, {3}, true);
  const ValueId powers = graph::elementwise(
      graph, "powers", {masked, largest}, [](graph::ScalarBody& body, const std::vector<int>& in) {
        return body.apply(graph::ScalarOp::kExp, body.apply(graph::ScalarOp::kSub, in[0], in[1]));
      });
  const ValueId total = graph::reduce(graph, "total", powers, graph::Combiner::kSum, {3}, true);
  const ValueId weights = apply("weights", {powers, total}, graph::ScalarOp::kDiv);
  graph.outputs = {graph::matmul(graph, "values", weights, v)};
  graph.output_names = {"y"};
  return graph;
}

/// A CPU whose matrix unit takes half of the time that vectors take.
Machine measured_machine() {
  Machine machine;
  machine.isa = Isa::kAmx;
  machine.threads = 2;
  machine.l1_bytes = 48 << 10;
  machine.l2_bytes = 2 << 20;
  machine.l3_bytes = 16 << 20;
  machine.fma_gflops_core = 240, machine.fma_gflops_all = 480;
  machine.l1_gbps_core = 350, machine.l2_gbps_core = 190, machine.l3_gbps_core = 31;
  machine.dram_gbps_all = 56;
  machine.matrix_product_ns = 4.3;
  return machine;
}

/// max(max(x a, -1) b, -1): two products whose elements are then worked on.
Graph product_chain(int64_t rows, int64_t channels, int64_t between, int64_t outputs) {
  Graph graph;
  ValueId value = graph.add_input("x", DType::kF32, {rows, channels});
  int number = 0;
  for (const auto& [from, to] : {std::pair(channels, between), std::pair(between, outputs)}) {
    const std::string name = std::to_string(++number);
    const Tensor weights = random_tensor({from, to}, static_cast<uint32_t>(number));
    const ValueId factor = graph.add_constant("w" + name, weights);
    value = graph::elementwise(
        graph, "max" + name, {graph::matmul(graph, "product" + name, value, factor, false, false)},
        [](graph::ScalarBody& body, const std::vector<int>& in) {
          return body.apply(graph::ScalarOp::kMax, in[0], body.constant(-1, DType::kF32));
        });
  }
  graph.outputs = {value};
  graph.output_names = {"y"};
  return graph;
}

void expect_values(driver::Pipeline& pipeline, const Graph& graph,
                   const std::vector<Tensor>& inputs, double largest_error) {
  auto expected = graph::evaluate(graph, inputs);
  ASSERT_TRUE(expected.ok());
  test::run_plan(pipeline, inputs, [&](const Tensor& actual, const char* how) {
    for (int64_t i = 0; i < actual.num_elems(); ++i) {
      ASSERT_NEAR(actual.at_f64(i), (*expected)[0].at_f64(i), largest_error)
          << how << ", element " << i;
    }
  });
}

TEST(MatrixUnit, WhatFollowsAPanelRunsBesideTheProductsOfTheNext) {
  // Whole and broken panels, pairs of row tiles and single ones, channels in parts.
  for (const int64_t rows : {40, 64, 200}) {
    for (const int64_t columns : {64, 100}) {
      for (const int64_t channels_at_once : {32, 1024}) {
        SCOPED_TRACE(testing::Message() << rows << " " << columns << " " << channels_at_once);
        const Graph graph = product_chain(rows, 70, columns, 96);
        driver::Pipeline pipeline;
        pipeline.machine.isa = Isa::kAmx;
        pipeline.graph = fusion::prepare(graph);
        pipeline.plan = search::find_unfused_plan(pipeline.graph, pipeline.machine);
        ASSERT_TRUE(put_on_matrix_unit(pipeline, channels_at_once));
        for (fusion::GroupPlan& group : pipeline.plan.groups) {
          NestSchedule& schedule = group.nests[0].schedule;
          if (schedule.matrix == 0) continue;
          schedule.block_axis = -1;  // all rows
          schedule.register_tile = {{schedule.parallel_order.back(), 8}};
        }
        auto program = test::lowered(pipeline.graph, pipeline.plan);
        ASSERT_TRUE(program.ok());
        EXPECT_NE(loop::to_string(program->kernels.at(0)).find("matrix step"), std::string::npos);
        expect_values(pipeline, graph, {random_tensor({rows, 70}, 9)}, 1e-3);
        if (HasFailure()) return;
      }
    }
  }
}

TEST(MatrixUnit, RingsThatOnlyItReadsLieInParts) {
  const Graph graph = product_chain(150, 64, 96, 64);
  driver::Pipeline pipeline;
  pipeline.machine.isa = Isa::kAmx;
  pipeline.graph = fusion::prepare(graph);
  const auto plan = fusion::parse_plan(pipeline.graph, R"(plan
group compute {
  stage
  node "product1"
  node "max1"
  store "max1"
  stage
  node "product2"
  node "max2"
  store "max2"
  strips 0 by 40 split 0 2
  schedule matrix 64 vector n 32 tile m 2 unroll - reduce k steps 1 prefetch none order n, m block - 0 split - 1
  schedule matrix 96 vector n 32 tile m 2 unroll - reduce k steps 1 prefetch none order n, m block - 0 split - 1
}
)");
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  pipeline.plan = *plan;
  auto program = test::lowered(pipeline.graph, pipeline.plan);
  ASSERT_TRUE(program.ok());
  const auto& scratch = program->kernels.at(0).scratch;
  const auto ring = std::find_if(scratch.begin(), scratch.end(), [](const loop::Scratch& s) {
    return s.name.rfind("ring", 0) == 0;
  });
  ASSERT_NE(ring, scratch.end());
  EXPECT_EQ(ring->dtype, DType::kBF16);
  expect_values(pipeline, graph, {random_tensor({150, 64}, 9)}, 1e-3);
}

TEST(MatrixUnit, AttentionPacksKeysAndValuesBeforeItsStrips) {
  for (const int64_t queries : {192, 197}) {
    SCOPED_TRACE(queries);
    constexpr int64_t kHeads = 4, kSize = 64;
    const Graph graph = causal_attention(kHeads, queries, kSize);
    driver::Pipeline pipeline;
    pipeline.machine = measured_machine();
    pipeline.graph = fusion::prepare(graph);
    pipeline.plan = search::find_plan(pipeline.graph, pipeline.machine,
                                      driver::prediction(pipeline.graph, pipeline.machine));
    int products = 0;
    for (const fusion::GroupPlan& group : pipeline.plan.groups) {
      for (const fusion::ScheduledNest& scheduled : group.nests) {
        if (scheduled.schedule.matrix == 0) continue;
        ++products;
        EXPECT_TRUE(group.walk.has_value());
      }
    }
    EXPECT_EQ(products, 2);
    std::vector<Tensor> inputs;
    for (uint32_t seed : {1, 2, 3}) {
      inputs.push_back(random_tensor({1, kHeads, queries, kSize}, seed));
    }
    expect_values(pipeline, graph, inputs, 1e-5);
  }
}

}  // namespace
}  // namespace corf
