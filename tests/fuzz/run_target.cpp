#include <cmath>
#include <fmt/format.h>

#include "driver/known_shapes.h"
#include "driver/pipeline.h"
#include "driver/prediction.h"
#include "fusion/prepare.h"
#include "fusion/text.h"
#include "graph/evaluate.h"
#include "graph/text.h"
#include "loop/text.h"
#include "lower/lower.h"
#include "rewrite/rewrite.h"
#include "rewrite/winograd.h"
#include "runtime/executable.h"
#include "search/find_plan.h"
#include "tests/fuzz/damaged_plan.h"
#include "tests/fuzz/imported_model.h"

namespace corf::fuzz {
namespace {

/// What this model computes is a matter of a millisecond.
constexpr int64_t kMostPoints = 100000, kMostNodes = 48;

/// Figures of no machine in particular: nothing is measured here.
Machine some_machine(Choices& choices) {
  Machine machine;
  std::vector<Isa> isas;
  for (Isa isa : kIsas) {
    if (has_isa(isa)) isas.push_back(isa);
  }
  machine.isa = isas[isas.size() - 1 - choices.below(isas.size())];
  machine.threads = 1 + static_cast<int>(choices.below(3));
  machine.fma_gflops_core = 100;
  machine.fma_gflops_all = 100 * machine.threads;
  machine.matrix_product_ns = 10;
  machine.l1_gbps_core = 200;
  machine.l2_gbps_core = 80;
  machine.l3_gbps_core = 30;
  machine.dram_gbps_all = 20;
  machine.barrier_ns = 300;
  return machine;
}

bool is_small(const graph::Graph& graph) {
  int64_t points = 0;
  for (const graph::Node& node : graph.nodes) {
    const auto* compute = std::get_if<graph::Compute>(&node.op);
    if (!compute) continue;
    int64_t own = 1;
    for (const index::Axis& axis : compute->space.axes) own *= std::max<int64_t>(axis.extent, 1);
    points += own;
  }
  return points <= kMostPoints && static_cast<int64_t>(graph.nodes.size()) <= kMostNodes;
}

std::vector<Tensor> inputs_of(const graph::Graph& graph, Choices& choices) {
  std::vector<Tensor> inputs;
  uint64_t state = choices.below(256);
  for (graph::ValueId id : graph.inputs) {
    const graph::Value& value = graph.values[id];
    Tensor tensor(value.dtype, value.shape);
    const bool no_sign = value.dtype == DType::kBool || is_unsigned_integer(value.dtype);
    for (int64_t i = 0; i < tensor.num_elems(); ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      const auto small = static_cast<int64_t>(state >> 60) % 5 - (no_sign ? 0 : 2);
      if (is_float(value.dtype)) {
        tensor.set_f64(i, double(small));
      } else {
        tensor.set_i64(i, value.dtype == DType::kBool ? small & 1 : small);
      }
    }
    inputs.push_back(std::move(tensor));
  }
  return inputs;
}

/// How far apart the compiled model and the reference may be. Roundings grow with the largest
/// intermediate; where one is infinite or no number, anything may follow.
std::optional<double> tolerance(const std::vector<Tensor>& values, const graph::Graph& graph) {
  double largest = 1, unit = 1e-4;
  for (size_t i = 0; i < values.size(); ++i) {
    const DType dtype = graph.values[i].dtype;
    if (dtype == DType::kF16) unit = std::max(unit, 1e-2);
    if (dtype == DType::kBF16) unit = std::max(unit, 5e-2);
    if (!is_float(dtype)) continue;
    for (int64_t k = 0; k < values[i].num_elems(); ++k) {
      const double value = std::fabs(values[i].at_f64(k));
      if (!(value < (dtype == DType::kF16 ? 1e4 : 1e15))) return std::nullopt;
      largest = std::max(largest, value);
    }
  }
  return unit * largest;
}

bool has_floats(const graph::Graph& graph) {
  return std::any_of(graph.values.begin(), graph.values.end(),
                     [](const graph::Value& value) { return is_float(value.dtype); });
}

/// `values`: operator by operator in their types; `exact`: in float64. What is no more than twice
/// as far off as the former is right too: some functions (a tangent near its pole) make any
/// rounding a large error. Discrete results of inexact numbers are not compared: a rounding decides
/// them.
Finding difference(const graph::Graph& graph, const std::vector<Tensor>& values,
                   const std::vector<Tensor>& exact, double bound,
                   const std::vector<Tensor>& actual) {
  const bool integers = !has_floats(graph);
  for (size_t i = 0; i < actual.size(); ++i) {
    const Tensor &want = values[graph.outputs[i]], &true_value = exact[graph.outputs[i]];
    const bool floats = is_float(actual[i].dtype());
    if (!floats && !integers) continue;
    auto is_near = [&](int64_t k) {
      const double stepwise = want.at_f64(k), got = actual[i].at_f64(k);
      if (std::fabs(stepwise - got) <= bound) return true;
      const double error = std::fabs(stepwise - true_value.at_f64(k));
      return std::fabs(got - true_value.at_f64(k)) <= 2 * error + bound;
    };
    for (int64_t k = 0; k < want.num_elems(); ++k) {
      if (floats ? is_near(k) : want.at_i64(k) == actual[i].at_i64(k)) continue;
      return fmt::format("output {}, element {} is {} instead of {}", graph.output_names[i], k,
                         actual[i].at_f64(k), want.at_f64(k));
    }
  }
  return "";
}

/// Whether code for the plan is made and run in no time: plans can ask for any unrolling.
bool is_small(const fusion::FusionPlan& plan) {
  constexpr int64_t kMostTile = 1024, kMostPartitions = 64;
  for (const fusion::GroupPlan& group : plan.groups) {
    if (group.walk && group.walk->schedule.partitions > kMostPartitions) return false;
    for (const auto& [nest, schedule] : group.nests) {
      int64_t tile = schedule.vector_tile * schedule.reduction_unroll;
      for (const auto& tiled : schedule.register_tile) tile *= tiled.extent;
      for (int axis : schedule.unrolled_reductions) tile *= nest->axes[axis].extent;
      if (tile > kMostTile || schedule.partitions > kMostPartitions) return false;
    }
  }
  return true;
}

/// The plan as a text that somebody hands in, perhaps another one than the search's.
std::string handed_in(const graph::Graph& graph, const fusion::FusionPlan& plan, Choices& choices) {
  const std::string text = fusion::to_string(graph, plan);
  if (!choices.chance(96)) return text;
  const std::string damaged = damaged_plan(text, choices);
  const auto parsed = fusion::parse_plan(graph, damaged);
  return parsed && is_small(*parsed) ? damaged : text;
}

/// The stages up to what runs; the search's groups or all that can be fused, Winograd or not.
Result<driver::Pipeline> pipeline_of(const graph::Graph& imported, Choices& choices) {
  driver::Pipeline pipeline;
  pipeline.machine = some_machine(choices);
  CORF_ASSIGN(graph::Graph rewritten, rewrite::rewrite(imported, {}, {.verify_each = true}));
  if (choices.chance(64)) {
    CORF_ASSIGN(rewritten, rewrite::winograd(rewritten, {}));
  }
  pipeline.graph = fusion::prepare(rewritten);
  CORF_RETURN_IF_ERROR(graph::verify(pipeline.graph));
  if (choices.chance(96)) {
    const search::GroupTime one_each = [](const auto&, const auto&, const auto&) { return 1; };
    pipeline.plan = search::find_plan(pipeline.graph, pipeline.machine, one_each);
  } else {
    pipeline.plan = search::find_plan(pipeline.graph, pipeline.machine,
                                      driver::prediction(pipeline.graph, pipeline.machine));
  }
  driver::CompileOptions options;
  options.verify_each = true;
  options.plan_text = handed_in(pipeline.graph, pipeline.plan, choices);
  CORF_RETURN_IF_ERROR(driver::plan_and_lower(pipeline, options, driver::Stage::kLlvm));
  return pipeline;
}

Result<std::vector<Tensor>> run_guarded(const driver::Pipeline& pipeline,
                                        const std::vector<Tensor>& inputs) {
  static const std::shared_ptr<runtime::Team> team = *runtime::Team::create(2);
  // Most inputs have kernels of earlier ones: only new ones are generated.
  static driver::KnownShapes known;
  CORF_ASSIGN(runtime::ExecutableSpec spec, driver::generate(pipeline, &known));
  runtime::LoadOptions guarded;
  guarded.guard_pages = true;
  CORF_ASSIGN(auto executable, runtime::Executable::load(std::move(spec), team, guarded));
  std::vector<const void*> in;
  std::vector<void*> out;
  std::vector<Tensor> outputs;
  for (const Tensor& input : inputs) in.push_back(input.bytes());
  for (const runtime::TensorInfo& info : executable->outputs()) {
    outputs.emplace_back(info.dtype, info.shape);
    out.push_back(outputs.back().bytes());
  }
  CORF_RETURN_IF_ERROR(executable->run(in, out));
  return outputs;
}

}  // namespace

Finding run_target(Choices choices) {
  Finding finding;
  ModelChoices how;
  how.most_nodes = 3;
  how.most_elems = 128;
  how.odd_of_256 = 8;
  how.any_opset = false;
  ImportedModel model = imported_model(choices, how, finding);
  if (!finding.empty()) return finding;
  if (!model.graph || !is_small(*model.graph)) return "";
  const graph::Graph& graph = *model.graph;
  const std::vector<Tensor> inputs = inputs_of(graph, choices);
  // Operator by operator in its own types: which of two neighbours a tie is rounded to, and whether
  // a small number's square is something, depends on them.
  auto expected =
      graph::evaluate_all(graph, inputs, {.round_to_dtype = true, .round_operations = true});
  auto told = [&](std::string_view what, std::string_view why) {
    return fmt::format("{}: {}\n{}", what, why, graph::to_string(graph));
  };
  auto pipeline = pipeline_of(graph, choices);
  if (!pipeline) {
    return pipeline.error().code == ErrorCode::kUnsupported
               ? ""
               : told("it does not compile", pipeline.error().message);
  }
  auto actual = run_guarded(*pipeline, inputs);
  if (!actual) {
    // Values that a routine rejects are rejected by the reference too.
    if (actual.error().code == ErrorCode::kInvalidArgument) return "";
    return told("it does not run", actual.error().message);
  }
  if (!expected) return "";
  const auto exact = graph::evaluate_all(graph, inputs, {});
  if (!exact) return "";
  const std::optional<double> bound = tolerance(*expected, graph);
  const Finding different = bound ? difference(graph, *expected, *exact, *bound, *actual) : "";
  if (different.empty()) return "";
  return told("other values", different) + fusion::to_string(pipeline->graph, pipeline->plan);
}

}  // namespace corf::fuzz
