// Networks for one shape after the other, with what earlier shapes have left: each gives, bit for
// bit, what the same plan gives when all is made anew.
#include "driver/known_shapes.h"

#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <set>

#include "driver/pipeline.h"
#include "fusion/prepare.h"
#include "fusion/text.h"
#include "graph/operators.h"
#include "loop/kernel_key.h"
#include "loop/renumber.h"
#include "tests/fusion/networks.h"
#include "tests/lower/guarded_run.h"

namespace corf::driver {
namespace {

using graph::Combiner;
using graph::Graph;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;

/// The weights do not depend on the shapes.
Tensor weights(Shape shape, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> values(-0.5F, 0.5F);
  Tensor tensor(DType::kF32, std::move(shape));
  for (int64_t i = 0; i < tensor.num_elems(); ++i) tensor.data<float>()[i] = values(random);
  return tensor;
}

/// Two inverted residuals behind a strided convolution.
Graph images(int64_t height, int64_t width) {
  Graph graph;
  const auto conv = [&](const std::string& name, ValueId x, int64_t outputs, int64_t kernel,
                        int64_t stride, int64_t groups) {
    const Shape& shape = graph.values[x].shape;
    const ValueId w = graph.add_constant(
        name + "_w", weights({outputs, shape[1] / groups, kernel, kernel}, outputs + kernel));
    const int64_t pad = kernel / 2;
    const graph::Window window{{kernel, kernel}, {stride, stride}, {1, 1}, {pad, pad}, {pad, pad}};
    return graph::conv(graph, name, x, w, window, groups);
  };
  ValueId x = graph.add_input("x", DType::kF32, {1, 3, height, width});
  x = fusion::relu(graph, "stem_relu", conv("stem", x, 16, 3, 2, 1));
  for (const std::string block : {"a", "b"}) {
    ValueId y = fusion::relu(graph, block + "_relu", conv(block + "_expand", x, 48, 1, 1, 1));
    y = fusion::relu(graph, block + "_relu2", conv(block + "_depthwise", y, 48, 3, 1, 48));
    x = fusion::add(graph, block + "_sum", x, conv(block + "_project", y, 16, 1, 1, 1));
  }
  fusion::finish(graph, {x});
  return fusion::prepare(graph);
}

/// Attention over some tokens between two products with weights.
Graph tokens(int64_t count) {
  Graph graph;
  const int64_t width = 48;
  const ValueId x = graph.add_input("x", DType::kF32, {count, width});
  const auto linear = [&](const std::string& name, ValueId in, int64_t from, int64_t to) {
    const ValueId w = graph.add_constant(name + "_w", weights({from, to}, from + to));
    return graph::matmul(graph, name, in, w);
  };
  const ValueId q = linear("q", x, width, width);
  const ValueId scores = graph::matmul(graph, "scores", q, x, false, true);
  const ValueId largest = graph::reduce(graph, "largest", scores, Combiner::kMax, {1}, true);
  const ValueId powers = graph::elementwise(
      graph, "powers", {scores, largest}, [](ScalarBody& body, const std::vector<int>& in) {
        return body.apply(ScalarOp::kExp, body.apply(ScalarOp::kSub, in[0], in[1]));
      });
  const ValueId total = graph::reduce(graph, "total", powers, Combiner::kSum, {1}, true);
  const ValueId sums = graph::matmul(graph, "sums", powers, x);
  const ValueId y = graph::elementwise(graph, "mean", {sums, total},
                                       [](ScalarBody& body, const std::vector<int>& in) {
                                         return body.apply(ScalarOp::kDiv, in[0], in[1]);
                                       });
  const ValueId wide = fusion::relu(graph, "wide_relu", linear("wide", y, width, 96));
  fusion::finish(graph, {fusion::add(graph, "sum", x, linear("narrow", wide, 96, width))});
  return fusion::prepare(graph);
}

Result<std::vector<Tensor>> run(const Pipeline& pipeline, KnownShapes* known,
                                const std::vector<Tensor>& inputs) {
  CORF_ASSIGN(runtime::ExecutableSpec spec, generate(pipeline, known));
  CORF_ASSIGN(auto team, runtime::Team::create(pipeline.machine.threads));
  CORF_ASSIGN(auto executable, runtime::Executable::load(std::move(spec), team));
  test::GuardedRun guarded(*executable, inputs);
  CORF_RETURN_IF_ERROR(guarded.run(*executable));
  std::vector<Tensor> outputs;
  for (const Tensor& output : guarded.outputs()) {
    outputs.emplace_back(output.dtype(), output.shape());
    std::memcpy(outputs.back().bytes(), output.bytes(), output.size_bytes());
  }
  return outputs;
}

/// Plans and kernels from `known`, against the same plan with neither.
void expect_equal_bits(const Graph& graph, const Machine& machine,
                       const std::shared_ptr<KnownShapes>& known, uint32_t seed) {
  CompileOptions options;
  options.verify_each = true;
  options.known_shapes = known;
  Pipeline taken_over{machine, graph, {}, {}};
  Status status = plan_and_lower(taken_over, options, Stage::kLlvm);
  ASSERT_TRUE(status) << status.error().message;
  Pipeline anew{machine, graph, {}, {}};
  options.known_shapes = nullptr;
  options.plan_text = fusion::to_string(graph, taken_over.plan);
  status = plan_and_lower(anew, options, Stage::kLlvm);
  ASSERT_TRUE(status) << status.error().message << *options.plan_text;
  std::vector<Tensor> inputs;
  for (ValueId input : graph.inputs) inputs.push_back(weights(graph.values[input].shape, seed));
  const auto expected = run(anew, nullptr, inputs), result = run(taken_over, known.get(), inputs);
  ASSERT_TRUE(expected) << expected.error().message;
  ASSERT_TRUE(result) << result.error().message;
  for (size_t i = 0; i < expected->size(); ++i) {
    const Tensor &truth = (*expected)[i], &value = (*result)[i];
    ASSERT_EQ(std::memcmp(truth.bytes(), value.bytes(), truth.size_bytes()), 0)
        << *options.plan_text;
  }
}

/// CORF_LONG_TESTS: how many shapes; CORF_FIRST_SEED: to look at one sequence of them.
int64_t from_environment(const char* variable, int64_t otherwise) {
  const char* text = std::getenv(variable);
  return text ? std::atoll(text) : otherwise;
}

TEST(KnownShapes, GiveTheSameBitsAsCompilingAnew) {
  constexpr int64_t kShapesOfModel = 12;
  const int64_t count = from_environment("CORF_LONG_TESTS", 48);
  const auto first = static_cast<uint32_t>(from_environment("CORF_FIRST_SEED", 0));
  std::vector<Isa> isas;
  for (const Isa isa : kIsas) {
    if (has_isa(isa)) isas.push_back(isa);
  }
  for (uint32_t seed = first; seed < first + count / kShapesOfModel; ++seed) {
    std::mt19937 random(seed);
    const Isa isa = seed % 2 == 0 ? best_isa() : isas[random() % isas.size()];
    const Machine machine = detect_machine(1 + static_cast<int>(random() % 3), isa);
    const auto known = std::make_shared<KnownShapes>();
    for (int64_t i = 0; i < kShapesOfModel; ++i) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", shape " + std::to_string(i));
      const auto pick = [&](int64_t lo, int64_t hi) {
        return lo + static_cast<int64_t>(random() % static_cast<uint64_t>(hi - lo + 1));
      };
      const Graph graph = seed % 4 < 2 ? images(pick(12, 60), pick(12, 60)) : tokens(pick(1, 140));
      expect_equal_bits(graph, machine, known, seed);
      if (HasFatalFailure()) return;
    }
  }
}

/// A model's plans: the first is searched for, those for shapes near it are taken over.
TEST(KnownPlans, PlansNearByAreTakenOver) {
  const Machine machine = detect_machine(1, best_isa());
  const auto known = std::make_shared<KnownShapes>();
  CompileOptions options;
  options.known_shapes = known;
  const auto runs_searched = [&](const Graph& graph) {
    Pipeline pipeline{machine, graph, {}, {}};
    EXPECT_TRUE(plan_and_lower(pipeline, options, Stage::kPlan));
    return pipeline.plan.search.num_runs;
  };
  EXPECT_FALSE(known->plans.near(images(32, 32)));
  const int64_t in_full = runs_searched(images(32, 32));
  EXPECT_TRUE(known->plans.near(images(32, 32)));
  EXPECT_TRUE(known->plans.near(images(40, 44)));
  EXPECT_FALSE(known->plans.near(images(64, 64)));  // four times as large
  EXPECT_FALSE(known->plans.near(tokens(32)));      // another network
  EXPECT_LT(runs_searched(images(36, 32)), in_full);
}

/// The spec of a network for which earlier ones may have left something.
runtime::ExecutableSpec spec_of(const Graph& graph, const Machine& machine,
                                const std::shared_ptr<KnownShapes>& known) {
  CompileOptions options;
  options.known_shapes = known;
  Pipeline pipeline{machine, graph, {}, {}};
  EXPECT_TRUE(plan_and_lower(pipeline, options, Stage::kLlvm));
  auto spec = generate(std::move(pipeline), known.get());
  EXPECT_TRUE(spec) << spec.error().message;
  return spec.take();
}

/// Weights of which some have the same bytes are packed once, as long as an executable has them.
TEST(KnownConstants, WeightsOfLaterShapesAreThoseOfEarlierOnes) {
  Machine machine = detect_machine(1, best_isa());
  machine.l1_bytes = 48 << 10;  // tiles, by which weights are packed, follow from the caches
  machine.l2_bytes = 1 << 20;
  machine.l3_bytes = 32 << 20;
  const auto known = std::make_shared<KnownShapes>();
  const auto num_large = [](const runtime::ExecutableSpec& spec) {
    return std::ranges::count_if(spec.buffers, [](const runtime::BufferPlace& place) {
      return place.kind == runtime::BufferPlace::Kind::kConstant &&
             place.size_bytes >= lower::KnownConstants::kLeastBytes;
    });
  };
  auto first = std::make_optional(spec_of(tokens(64), machine, known));
  EXPECT_TRUE(first->shared_constants.empty());
  ASSERT_EQ(num_large(*first), 3);
  auto second = std::make_optional(spec_of(tokens(65), machine, known));
  ASSERT_EQ(second->shared_constants.size(), 3u);
  EXPECT_LT(second->constants.size_bytes(), lower::KnownConstants::kLeastBytes);
  const std::byte* const block = first->constants.bytes();
  for (const Tensor& shared : second->shared_constants) {
    EXPECT_GE(shared.bytes(), block);
    EXPECT_LT(shared.bytes(), block + first->constants.size_bytes());
  }
  first.reset();
  EXPECT_EQ(spec_of(tokens(66), machine, known).shared_constants.size(), 3u);
  second.reset();
  EXPECT_TRUE(spec_of(tokens(67), machine, known).shared_constants.empty()) << "nobody has them";
}

TEST(KnownConstants, TensorsAreToldApartByTheirBytes) {
  int num_hashed = 0;
  lower::KnownConstants known([&](std::span<const std::byte> bytes) {
    ++num_hashed;
    return codegen::hash_of(bytes);
  });
  const Tensor a = weights({64, 64}, 1);
  std::string identity_of_b;
  {
    const Tensor same = weights({64, 64}, 1), b = weights({64, 64}, 2);
    EXPECT_EQ(known.identity_of(a), known.identity_of(same));
    identity_of_b = known.identity_of(b);
    EXPECT_NE(known.identity_of(a), identity_of_b);
  }
  EXPECT_EQ(num_hashed, 3) << "once each";
  for (uint32_t seed = 3; seed < 20; ++seed) {
    const Tensor other = weights({64, 64}, seed);  // perhaps where an earlier one was
    EXPECT_EQ(known.identity_of(other), codegen::hash_of({other.bytes(), 64 * 64 * 4}));
  }
}

/// The same kernels are equal by their keys as by their texts.
TEST(KernelKey, SaysWhatTheTextSays) {
  const Machine machine = detect_machine(2, best_isa());
  std::map<std::string, std::string> texts, keys;  // by key, by text
  int num_kernels = 0;
  for (int64_t size = 13; size < 60; size += 5) {
    for (const Graph& graph : {images(size, 24), tokens(size), images(size, 24)}) {
      Pipeline pipeline{machine, graph, {}, {}};
      ASSERT_TRUE(plan_and_lower(pipeline, CompileOptions(), Stage::kLlvm));
      for (loop::Kernel kernel : pipeline.program.kernels) {
        const std::string text = loop::anonymous_text(kernel), key = loop::kernel_key(kernel);
        EXPECT_EQ(texts.emplace(key, text).first->second, text);
        EXPECT_EQ(keys.emplace(text, key).first->second, key);
        EXPECT_EQ(loop::kernel_key(loop::canonicalize(kernel)), key);
        if (!kernel.scratch.empty()) {
          kernel.scratch.front().size_elems += 16;
          EXPECT_NE(loop::kernel_key(kernel), key);
          kernel.scratch.front().size_elems -= 16;
        }
        kernel.name += "_2";
        for (std::string& name : kernel.var_names) name += "_2";
        for (loop::KernelBuffer& buffer : kernel.buffers) ++buffer.size_elems;
        EXPECT_EQ(loop::kernel_key(kernel), key) << "names and sizes do not count";
        ++num_kernels;
      }
    }
  }
  EXPECT_GT(std::ssize(texts), 50);
  EXPECT_GT(num_kernels, std::ssize(texts));
}

/// Once some shapes are known, most kernels of others are among those that there are.
TEST(KnownKernels, KernelsOfLaterShapesAreKnown) {
  const Machine machine = detect_machine(1, best_isa());
  CompileOptions options;
  options.known_shapes = std::make_shared<KnownShapes>();
  std::set<std::string> texts;
  int num_kernels = 0, num_new = 0;
  for (int64_t count = 40; count < 240; count += 8) {
    Pipeline pipeline{machine, tokens(count), {}, {}};
    ASSERT_TRUE(plan_and_lower(pipeline, options, Stage::kLlvm));
    for (const loop::Kernel& kernel : pipeline.program.kernels) {
      const bool is_new = texts.insert(loop::anonymous_text(kernel)).second;
      if (count < 160) continue;
      ++num_kernels;
      num_new += is_new;
    }
  }
  EXPECT_LT(2 * num_new, num_kernels);
}

}  // namespace
}  // namespace corf::driver
