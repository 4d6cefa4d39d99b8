#include "driver/compile.h"

#include <chrono>

#include "codegen/emit.h"
#include "driver/check_routines.h"
#include "driver/dump.h"
#include "driver/pipeline.h"
#include "driver/plan_cache.h"
#include "driver/predicted_tile.h"
#include "driver/prediction.h"
#include "fusion/check_plan.h"
#include "fusion/prepare.h"
#include "fusion/text.h"
#include "graph/text.h"
#include "loop/passes/passes.h"
#include "loop/text.h"
#include "lower/lower.h"
#include "mapping/analyze.h"
#include "rewrite/rewrite.h"
#include "rewrite/winograd.h"
#include "runtime/team.h"
#include "search/find_plan.h"
#include "support/log.h"
#include "support/printable.h"
#include "target/calibrate.h"

namespace corf::driver {

int threads_of(const CompileOptions& options) {
  const int cpus = runtime::available_cpus();
  return options.threads > 0 ? std::min(options.threads, cpus) : cpus;
}

namespace {

codegen::EmitOptions emit_options(const Pipeline& pipeline, KnownShapes* known = nullptr) {
  codegen::EmitOptions options;
  if (known != nullptr) options.known = &known->code;
  options.isa = pipeline.machine.isa;
  options.threads = std::min(runtime::available_cpus(), 4);
  return options;
}

PassOptions pass_options(const CompileOptions& options) {
  return {options.verify_each, options.time_passes, options.dump_dir};
}

/// Comment lines in front of the assembly: of each kernel, with the first step that calls it.
std::string spills_in_words(const loop::Program& program, std::string_view assembly) {
  std::vector<std::string> labels(program.kernels.size());
  for (const loop::Step& step : program.steps) {
    const auto* call = std::get_if<loop::KernelCall>(&step);
    if (call && labels[call->kernel].empty()) labels[call->kernel] = call->label;
  }
  std::string text = "# vector registers spilled: instructions, those in innermost loops\n";
  const std::vector<codegen::Spills> spills = codegen::count_spills(assembly);
  for (size_t i = 0; i < spills.size(); ++i) {
    text += fmt::format("# {:6} {:6}  {}: {}\n", spills[i].all(), spills[i].in_innermost_loops,
                        spills[i].function, printable(labels[i]));
  }
  return text;
}

/// The plan that `tune` has left; nullopt if there is none that fits this version.
std::optional<fusion::FusionPlan> tuned_plan(const Pipeline& pipeline,
                                             const CompileOptions& options) {
  const std::string file =
      plan_file(pipeline.graph, pipeline.machine, options.plan_cache_dir, /*for_writing=*/false);
  const std::optional<std::string> text = read_plan(file);
  if (!text) return std::nullopt;
  Result<fusion::FusionPlan> plan = fusion::parse_plan(pipeline.graph, *text);
  if (plan.ok()) return plan.take();
  log().warn("the tuned plan {} does not fit and is left aside: {}", printable(file),
             shortened(printable(plan.error().message), 400));
  return std::nullopt;
}

/// The plan that is predicted to be the fastest. Near shapes that are known, of those that fuse
/// what is fused there.
fusion::FusionPlan predicted_plan(const Pipeline& pipeline, KnownShapes* known) {
  const search::GroupTime time = prediction(pipeline.graph, pipeline.machine);
  if (known == nullptr) return search::find_plan(pipeline.graph, pipeline.machine, time);
  const auto near = known->plans.near(pipeline.graph);
  fusion::FusionPlan plan =
      near ? search::find_plan_among(pipeline.graph, pipeline.machine, time, *near)
           : search::find_plan(pipeline.graph, pipeline.machine, time);
  known->plans.add(pipeline.graph, plan, /*in_full=*/!near);
  return plan;
}

/// Errors: kUnsupported if the plan needs more than the instruction set has.
Status check_machine(const fusion::FusionPlan& plan, const Machine& machine) {
  if (machine.has_matrix_unit()) return {};
  for (const fusion::GroupPlan& group : plan.groups) {
    for (const fusion::ScheduledNest& scheduled : group.nests) {
      if (scheduled.schedule.matrix == 0) continue;
      return make_error(ErrorCode::kUnsupported,
                        "the plan has schedules for a matrix unit, which {} lacks; make it with "
                        "the instruction set that it runs on",
                        to_string(machine.isa));
    }
  }
  return {};
}

}  // namespace

Result<graph::Graph> import_model(const onnx::Model& model, const CompileOptions& options) {
  CORF_ASSIGN(graph::Graph graph, onnx::import(model, options.shapes, options.values));
  if (!options.random_seed) return graph;
  for (graph::Node& node : graph.nodes) {
    auto* opaque = std::get_if<graph::Opaque>(&node.op);
    if (opaque == nullptr || opaque->routine != "Random") continue;
    opaque->attributes.emplace("seed", *options.random_seed);
  }
  return graph;
}

std::optional<Stage> parse_stage(std::string_view text) {
  if (text == "graph") return Stage::kGraph;
  if (text == "mapping") return Stage::kMapping;
  if (text == "plan") return Stage::kPlan;
  if (text == "costs") return Stage::kCosts;
  if (text == "loop") return Stage::kLoop;
  if (text == "llvm") return Stage::kLlvm;
  if (text == "asm") return Stage::kAsm;
  return std::nullopt;
}

Result<Pipeline> run_pipeline(const onnx::Model& model, const CompileOptions& options, Stage last) {
  Pipeline pipeline;
  if (options.isa && !has_isa(*options.isa)) {
    return make_error(ErrorCode::kUnsupported, "this machine has no {}; the widest it offers is {}",
                      to_string(*options.isa), to_string(best_isa()));
  }
  Dumper dump(options);

  CORF_ASSIGN(graph::Graph imported, import_model(model, options));
  dump.stage("import", [&] { return graph::to_string(imported); });
  {
    // Once for all models, on first use: not for those that are refused, nor at a model's cost.
    const BudgetScope unlimited(nullptr);
    pipeline.machine = calibrated_machine(threads_of(options), options.isa.value_or(best_isa()));
  }
  rewrite::RewriteOptions rewriting;
  rewriting.bf16_products = options.bf16;
  rewriting.has_byte_tables = has_byte_tables(pipeline.machine.isa);
  rewriting.softmax_blocks = {pipeline.machine.l2_bytes, pipeline.machine.threads};
  rewriting.has_byte_products = has_byte_products(pipeline.machine.isa);
  CORF_ASSIGN(graph::Graph rewritten,
              rewrite::rewrite(std::move(imported), rewriting, pass_options(options)));
  dump.stage("rewrite", [&] { return graph::to_string(rewritten); });
  if (options.winograd) {
    rewrite::WinogradOptions faster;
    KnownTiles* const known = options.known_shapes ? &options.known_shapes->tiles : nullptr;
    faster.output_tile = predicted_output_tile(pipeline.machine, known);
    faster.threads = pipeline.machine.threads;
    CORF_ASSIGN(rewritten, rewrite::winograd(rewritten, faster));
    dump.stage("winograd", [&] { return graph::to_string(rewritten); });
  }
  pipeline.graph = fusion::prepare(rewritten);
  dump.stage("prepare", [&] { return graph::to_string(pipeline.graph); });
  if (options.verify_each) CORF_RETURN_IF_ERROR(graph::verify(pipeline.graph));
  CORF_RETURN_IF_ERROR(check_routines(pipeline.graph));
  if (last == Stage::kGraph || last == Stage::kMapping) return pipeline;
  CORF_RETURN_IF_ERROR(plan_and_lower(pipeline, options, last));
  return pipeline;
}

namespace {

/// The plan, behind a comment that tells how far the search for it went.
std::string print_plan(const Pipeline& pipeline) {
  return fusion::to_string(pipeline.plan.search) + fusion::to_string(pipeline.graph, pipeline.plan);
}

}  // namespace

Status plan_and_lower(Pipeline& pipeline, const CompileOptions& options, Stage last) {
  Dumper dump(options);
  if (options.plan_text) {
    CORF_ASSIGN(pipeline.plan, fusion::parse_plan(pipeline.graph, *options.plan_text));
    CORF_RETURN_IF_ERROR(check_machine(pipeline.plan, pipeline.machine));
  } else if (options.plan == PlanMode::kUnfused) {
    pipeline.plan = search::find_unfused_plan(pipeline.graph, pipeline.machine,
                                              prediction(pipeline.graph, pipeline.machine));
  } else if (options.plan == PlanMode::kFused) {
    const search::GroupTime one_each = [](const auto&, const auto&, const auto&) { return 1; };
    pipeline.plan = search::find_plan(pipeline.graph, pipeline.machine, one_each);
  } else if (std::optional<fusion::FusionPlan> tuned = tuned_plan(pipeline, options)) {
    pipeline.plan = std::move(*tuned);
  } else {
    pipeline.plan = predicted_plan(pipeline, options.known_shapes.get());
  }
  dump.stage("plan", [&] { return print_plan(pipeline); });
  if (options.verify_each) CORF_RETURN_IF_ERROR(fusion::verify_plan(pipeline.graph, pipeline.plan));
  if (last == Stage::kPlan || last == Stage::kCosts) return {};

  CORF_ASSIGN(loop::Program program,
              lower::lower(pipeline.graph, pipeline.plan, pipeline.machine.threads,
                           options.known_shapes ? &options.known_shapes->constants : nullptr));
  dump.stage("lower", [&] { return loop::to_string(program); });
  if (options.verify_each) CORF_RETURN_IF_ERROR(loop::verify(program));
  loop::PassContext context;
  if (options.known_shapes) context.known = &options.known_shapes->kernels;
  // Shorter vectors have no masks: each lane would be a branch.
  constexpr int kLeastMaskedLanes = 8;
  const int lanes = pipeline.machine.f32_lanes();
  context.lanes = lanes >= kLeastMaskedLanes ? lanes : 0;
  CORF_ASSIGN(pipeline.program,
              loop::run_passes(std::move(program), context, pass_options(options)));
  dump.stage("loop", [&] { return loop::to_string(pipeline.program); });
  return {};
}

Result<runtime::ExecutableSpec> generate(Pipeline pipeline, KnownShapes* known) {
  CORF_ASSIGN(runtime::Image image,
              codegen::emit(pipeline.program.kernels, emit_options(pipeline, known)));
  return make_spec(std::move(pipeline), std::move(image), known);
}

Result<Compiled> compile(const onnx::Model& model, const CompileOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  Compiled compiled;
  CORF_ASSIGN(compiled.spec,
              within_budget_of(model, options, [&]() -> Result<runtime::ExecutableSpec> {
                CORF_ASSIGN(Pipeline pipeline, run_pipeline(model, options, Stage::kLlvm));
                const Dumper dump(options);
                auto spec = generate(std::move(pipeline), options.known_shapes.get());
                dump.time("generate");
                return spec;
              }));
  const std::chrono::duration<double, std::milli> elapsed =
      std::chrono::steady_clock::now() - start;
  compiled.compile_ms = elapsed.count();
  return compiled;
}

std::vector<std::string> find_deciding_inputs(const onnx::Model& model,
                                              const CompileOptions& options) {
  const auto found = within_budget_of(model, options, [&]() -> Result<std::vector<std::string>> {
    return onnx::find_deciding_inputs(model, options.shapes, options.values);
  });
  return found.ok() ? *found : std::vector<std::string>();
}

Result<std::vector<codegen::Spills>> count_spills(const Pipeline& pipeline) {
  std::string assembly;
  codegen::EmitOptions emitting = emit_options(pipeline);
  emitting.assembly = &assembly;
  CORF_ASSIGN(const runtime::Image image, codegen::emit(pipeline.program.kernels, emitting));
  return codegen::count_spills(assembly);
}

namespace {

Result<std::string> inspect_stage(const onnx::Model& model, Stage stage,
                                  const CompileOptions& options) {
  CORF_ASSIGN(const Pipeline pipeline, run_pipeline(model, options, stage));
  switch (stage) {
    case Stage::kGraph:
      return graph::to_string(pipeline.graph);
    case Stage::kMapping: {
      CORF_ASSIGN(const mapping::MappingTable table, mapping::analyze(pipeline.graph));
      return mapping::to_string(table);
    }
    case Stage::kPlan:
      return print_plan(pipeline);
    case Stage::kCosts:
      return print_costs(pipeline);
    case Stage::kLoop:
      return loop::to_string(pipeline.program);
    case Stage::kLlvm:
    case Stage::kAsm:
      break;
  }
  std::string text;
  codegen::EmitOptions emitting = emit_options(pipeline);
  (stage == Stage::kLlvm ? emitting.llvm_ir : emitting.assembly) = &text;
  CORF_ASSIGN(const runtime::Image image, codegen::emit(pipeline.program.kernels, emitting));
  return stage == Stage::kAsm ? spills_in_words(pipeline.program, text) + text : text;
}

}  // namespace

Result<std::string> inspect(const onnx::Model& model, Stage stage, const CompileOptions& options) {
  return within_budget_of(model, options, [&] { return inspect_stage(model, stage, options); });
}

const char* backend_version() { return codegen::backend_version(); }

}  // namespace corf::driver
