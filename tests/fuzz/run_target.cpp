#include <fmt/format.h>

#include "driver/known_shapes.h"
#include "driver/pipeline.h"
#include "driver/prediction.h"
#include "fusion/prepare.h"
#include "fusion/text.h"
#include "graph/text.h"
#include "loop/text.h"
#include "lower/lower.h"
#include "rewrite/rewrite.h"
#include "rewrite/winograd.h"
#include "runtime/executable.h"
#include "search/find_plan.h"
#include "tests/fuzz/damaged_plan.h"
#include "tests/fuzz/imported_model.h"
#include "tests/fuzz/reference_values.h"
#include "tests/fuzz/some_figures.h"

namespace corf::fuzz {
namespace {

/// The same on every machine that has what was drawn; the next smaller instruction set elsewhere.
Machine some_machine(Choices& choices) {
  Machine machine;
  size_t isa = std::size(kIsas) - 1 - choices.below(std::size(kIsas));
  while (!has_isa(kIsas[isa])) --isa;
  machine.isa = kIsas[isa];
  machine.threads = 1 + static_cast<int>(choices.below(3));
  set_some_figures(machine);
  return machine;
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
  ImportedModel model = imported_model(choices, choices_of_runs(), finding);
  if (!finding.empty()) return finding;
  if (!model.graph || !is_small(*model.graph)) return "";
  const graph::Graph& graph = *model.graph;
  const std::vector<Tensor> inputs = inputs_of(graph, choices);
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
  const Finding different = difference(graph, inputs, *actual);
  if (different.empty()) return "";
  return told("other values", different) + fusion::to_string(pipeline->graph, pipeline->plan);
}

}  // namespace corf::fuzz
