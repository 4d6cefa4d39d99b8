#pragma once
#include "codegen/spills.h"
#include "driver/compile.h"
#include "fusion/plan.h"
#include "graph/graph.h"
#include "loop/program.h"

namespace corf::driver {

/// The values between the stages, as far as the pipeline was run.
struct Pipeline {
  Machine machine;
  graph::Graph graph;  // after rewriting and preparation
  fusion::FusionPlan plan;
  loop::Program program;
};

/// The workers that plans are made for: those that have a CPU each.
int threads_of(const CompileOptions& options);

/// body() under the budget that the options give the model.
template <typename Body>
auto within_budget_of(const onnx::Model& model, const CompileOptions& options, Body&& body) {
  return within_budget(allowed_for(model.size(), options.limits), options.cancellation,
                       std::forward<Body>(body));
}

/// Import to loop program: every stage in order; each stops the pipeline with its error.
Result<Pipeline> run_pipeline(const onnx::Model& model, const CompileOptions& options, Stage last);

/// The stages from planning to the loop program, for a graph that is prepared.
Status plan_and_lower(Pipeline& pipeline, const CompileOptions& options, Stage last);

/// Code generation and memory: what runs. A pipeline that is moved here gives its constants back
/// one by one, so that large ones are not there twice. `known`: null, or where code and constants
/// are kept.
Result<runtime::ExecutableSpec> generate(Pipeline pipeline, KnownShapes* known = nullptr);

/// Program and image -> what runs. Names inputs and outputs as the graph does. Constants are those
/// of other executables of the process where they are equal, and become known.
Result<runtime::ExecutableSpec> make_spec(Pipeline pipeline, runtime::Image image,
                                          KnownShapes* known = nullptr);

/// Of each kernel of the pipeline's program, in their order. Generates the kernels' assembly.
Result<std::vector<codegen::Spills>> count_spills(const Pipeline& pipeline);

}  // namespace corf::driver
