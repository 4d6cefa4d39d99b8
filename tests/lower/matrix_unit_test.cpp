#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <random>

#include "driver/pipeline.h"
#include "fusion/matrix.h"
#include "fusion/prepare.h"
#include "graph/evaluate.h"
#include "graph/operators.h"
#include "loop/interpret.h"
#include "loop/text.h"
#include "lower/lower.h"
#include "search/find_plan.h"
#include "tests/lower/guarded_run.h"

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
                                           const fusion::StoragePlan& storage,
                                           NestSchedule schedule, int64_t channels) {
  if (!nest.is_contraction() || schedule.vector_axis < 0) return std::nullopt;
  auto& loops = schedule.reduction_order;
  loops.insert(loops.end(), schedule.unrolled_reductions.begin(),
               schedule.unrolled_reductions.end());
  schedule.unrolled_reductions.clear();
  schedule.register_tile.clear();
  schedule.prefetch = fusion::Prefetch::kPanel;
  schedule.matrix = channels;
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
    bool found = false;
    for (fusion::FusionGroup& group : pipeline.plan.groups) {
      for (fusion::ScheduledNest& scheduled : group.nests) {
        const int64_t channels = seed % 2 == 0 ? 32 : 1024;
        auto schedule =
            on_matrix_unit(scheduled.nest, pipeline.plan.storage, scheduled.schedule, channels);
        if (!schedule) continue;
        scheduled.schedule = *schedule;
        found = true;
      }
    }
    if (!found) continue;
    ++tested;
    auto program = lower::lower(pipeline.graph, pipeline.plan);
    ASSERT_TRUE(program) << program.error().message;
    pipeline.program = program.take();
    const Status sound = loop::verify(pipeline.program);
    ASSERT_TRUE(sound) << sound.error().message;

    const std::vector<Tensor> inputs{
        random_tensor({shape.batch, shape.channels, shape.height, shape.width}, 100 + seed)};
    auto expected = graph::evaluate(graph, inputs);
    auto largest = graph::evaluate(shape.graph(magnitudes(weights)), {magnitudes(inputs[0])});
    ASSERT_TRUE(expected.ok() && largest.ok());
    const double unit = std::ldexp(1, -24);
    const auto n = double(shape.channels * shape.kernel[0] * shape.kernel[1] + 2);
    const double gamma = n * unit / (1 - n * unit);
    auto expect_close = [&](const Tensor& actual, const char* how) {
      for (int64_t i = 0; i < actual.num_elems(); ++i) {
        const double off = std::abs(actual.at_f64(i) - (*expected)[0].at_f64(i));
        ASSERT_LE(off, gamma * (*largest)[0].at_f64(i)) << how << ", element " << i;
      }
    };
    auto interpreted = loop::interpret(pipeline.program, inputs);
    ASSERT_TRUE(interpreted) << interpreted.error().message;
    expect_close((*interpreted)[0], "interpreted");
    if (!has_isa(Isa::kAmx)) continue;
    auto spec = driver::generate(pipeline);
    ASSERT_TRUE(spec) << spec.error().message;
    auto team = runtime::Team::create(2);
    ASSERT_TRUE(team);
    auto executable = runtime::Executable::load(*spec, *team);
    ASSERT_TRUE(executable) << executable.error().message;
    test::GuardedRun run(**executable, inputs);
    ASSERT_TRUE(run.run(**executable));
    expect_close(run.outputs()[0], "as machine code");
  }
  EXPECT_GT(tested, 20);
  if (!has_isa(Isa::kAmx)) std::printf("this machine lacks amx: interpreted only\n");
}

}  // namespace
}  // namespace corf
