/// Single operators of the zoo's networks, and others of similar size: GFLOP/s, and the fraction of
/// what peak and bandwidth allow; the instructions that spill vector registers, counted in the
/// assembly, all of them and those in innermost loops.
#include <algorithm>
#include <benchmark/benchmark.h>
#include <cstdio>

#include "driver/pipeline.h"
#include "fusion/prepare.h"
#include "graph/operators.h"
#include "runtime/executable.h"
#include "target/calibrate.h"

namespace {

using namespace corf;
using graph::ValueId;

struct Layer {
  const char* family;
  int64_t rows, in, out;           // rows of a product; height and width of an image
  int64_t kernel = 0, stride = 1;  // kernel 0: a product of matrices
  bool depthwise = false;
};

constexpr Layer kLayers[] = {
    {"dense", 56, 64, 64, 3},
    {"dense", 28, 128, 128, 3},
    {"dense", 14, 256, 256, 3},
    {"dense", 7, 512, 512, 3},
    {"dense", 56, 256, 256, 3},
    {"dense", 28, 512, 512, 3},
    {"dense", 14, 512, 512, 3},
    {"dense", 56, 128, 128, 3, 2},
    {"dense", 20, 192, 192, 3},
    {"dense", 10, 384, 384, 3},
    {"dense", 35, 64, 96, 5},
    {"pointwise", 56, 64, 256, 1},
    {"pointwise", 56, 256, 64, 1},
    {"pointwise", 28, 512, 128, 1},
    {"pointwise", 14, 256, 1024, 1},
    {"pointwise", 14, 1024, 256, 1},
    {"pointwise", 14, 512, 512, 1},
    {"pointwise", 7, 512, 2048, 1},
    {"pointwise", 7, 2048, 512, 1},
    {"pointwise", 7, 1024, 1024, 1},
    {"pointwise", 20, 384, 96, 1},
    {"pointwise", 33, 200, 120, 1},
    {"depthwise", 112, 32, 32, 3, 1, true},
    {"depthwise", 112, 64, 64, 3, 2, true},
    {"depthwise", 56, 144, 144, 3, 1, true},
    {"depthwise", 28, 240, 240, 5, 1, true},
    {"depthwise", 14, 512, 512, 3, 1, true},
    {"depthwise", 7, 960, 960, 5, 1, true},
    {"product", 128, 768, 768},
    {"product", 128, 768, 3072},
    {"product", 128, 3072, 768},
    {"product", 197, 192, 768},
    {"product", 197, 768, 192},
    {"product", 512, 512, 512},
    {"product", 50, 1000, 300},
    {"product", 1, 2048, 1000},
};

Tensor filled(const Shape& shape, uint32_t seed) {
  Tensor tensor(DType::kF32, shape);
  for (int64_t i = 0; i < tensor.num_elems(); ++i) {
    seed = seed * 1664525 + 1013904223;
    tensor.set_f64(i, double(seed >> 16) / 65536 - 0.5);
  }
  return tensor;
}

/// The layer between two others, which give its input and its result the layouts that they have
/// inside of a network.
graph::Graph graph_of(const Layer& layer) {
  graph::Graph graph;
  ValueId y = -1;
  if (layer.kernel == 0) {
    const ValueId x = graph.add_input("x", DType::kF32, {layer.rows, layer.in});
    const ValueId w = graph.add_constant("w", filled({layer.in, layer.out}, 1));
    y = graph::matmul(graph, "layer", x, w);
  } else {
    constexpr int64_t kFirst = 4;
    const ValueId x = graph.add_input("x", DType::kF32, {1, kFirst, layer.rows, layer.rows});
    const ValueId first = graph.add_constant("w0", filled({layer.in, kFirst, 1, 1}, 1));
    const graph::Window one{{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
    const int64_t k = layer.kernel, pad = k / 2, s = layer.stride;
    const graph::Window window{{k, k}, {s, s}, {1, 1}, {pad, pad}, {pad, pad}};
    const int64_t groups = layer.depthwise ? layer.in : 1;
    const ValueId w = graph.add_constant("w", filled({layer.out, layer.in / groups, k, k}, 2));
    const ValueId middle = graph::conv(graph, "first", x, first, one, 1);
    const ValueId made = graph::conv(graph, "layer", middle, w, window, groups);
    const ValueId last = graph.add_constant("w1", filled({kFirst, layer.out, 1, 1}, 3));
    y = graph::conv(graph, "last", made, last, one, 1);
  }
  graph.outputs = {y};
  graph.output_names = {"y"};
  return fusion::prepare(graph);
}

std::string name_of(const Layer& layer) {
  char text[96];
  if (layer.kernel == 0) {
    std::snprintf(text, sizeof text, "%s/%ldx%ldx%ld", layer.family, layer.rows, layer.in,
                  layer.out);
  } else {
    std::snprintf(text, sizeof text, "%s/%ldx%ld_%ld_%ld_k%ld_s%ld", layer.family, layer.rows,
                  layer.rows, layer.in, layer.out, layer.kernel, layer.stride);
  }
  return text;
}

void run_layer(benchmark::State& state, const Layer& layer, const Machine& machine) {
  driver::CompileOptions options;
  options.plan = driver::PlanMode::kUnfused;
  options.threads = machine.threads;
  options.isa = machine.isa;
  driver::Pipeline pipeline{machine, graph_of(layer), {}, {}};
  const Status lowered = driver::plan_and_lower(pipeline, options, driver::Stage::kLlvm);
  if (!lowered) return state.SkipWithError(lowered.error().message.c_str());
  const auto spills = driver::count_spills(pipeline);
  if (!spills) return state.SkipWithError(spills.error().message.c_str());
  auto spec = driver::generate(pipeline);
  if (!spec) return state.SkipWithError(spec.error().message.c_str());
  auto team = runtime::Team::create(machine.threads);
  if (!team) return state.SkipWithError(team.error().message.c_str());
  auto loaded = runtime::Executable::load(spec.take(), *team);
  if (!loaded) return state.SkipWithError(loaded.error().message.c_str());
  runtime::Executable& executable = **loaded;

  const Tensor input = filled(executable.inputs()[0].shape, 3);
  Tensor output(DType::kF32, executable.outputs()[0].shape);
  const void* const inputs[] = {input.bytes()};
  void* const outputs[] = {output.bytes()};
  size_t step = 0;
  int64_t flops = 0, bytes = 0;
  for (size_t i = 0; i < executable.spec().steps.size(); ++i) {
    const auto* kernel = std::get_if<runtime::KernelStep>(&executable.spec().steps[i]);
    if (!kernel || kernel->label.find("layer") == std::string::npos) continue;
    step = i, flops = kernel->work_flops, bytes = kernel->compulsory_bytes;
    const codegen::Spills& spilled = (*spills)[static_cast<size_t>(kernel->entry)];
    state.counters["spills"] = double(spilled.all());
    state.counters["inner_spills"] = double(spilled.in_innermost_loops);
  }
  std::vector<runtime::StepProfile> profile;
  double total_s = 0;
  for (auto _ : state) {
    profile.clear();
    if (Status ran = executable.run(inputs, outputs, &profile); !ran) {
      return state.SkipWithError(ran.error().message.c_str());
    }
    const double time_s = 1e-9 * profile[step].time_ns;
    state.SetIterationTime(time_s);
    total_s += time_s;
  }
  const double gflops = 1e-9 * double(flops) * double(state.iterations()) / total_s;
  // What the last cache level gives all workers bounds the traffic.
  const double bandwidth = machine.l3_gbps_core * machine.threads;
  const double limit = std::min(machine.fma_gflops_all, double(flops) / double(bytes) * bandwidth);
  state.counters["GFLOP/s"] = gflops;
  state.counters["limit"] = limit > 0 ? gflops / limit : 0;
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  int threads = 0;
  std::optional<Isa> isa;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--threads=")) threads = std::atoi(argv[i] + 10);
    if (argument.starts_with("--isa=")) isa = parse_isa(argument.substr(6));
  }
  auto team = runtime::Team::create(threads);
  if (!team) {
    std::fprintf(stderr, "%s\n", team.error().message.c_str());
    return 1;
  }
  const Machine machine = calibrate(detect_machine((*team)->size(), isa));
  for (const Layer& layer : kLayers) {
    benchmark::RegisterBenchmark(
        name_of(layer).c_str(),
        [&layer, &machine](benchmark::State& state) { run_layer(state, layer, machine); })
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
