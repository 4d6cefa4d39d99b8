#include <cmath>

#include "driver/compile.h"
#include "driver/pipeline.h"
#include "graph/evaluate.h"
#include "runtime/team.h"

namespace corf::driver {
namespace {

/// What float32 without Winograd stays below on networks whose activations are of order one.
constexpr double kRelativeL2Limit = 1e-4;

ComparedValue difference(const Tensor& expected, const Tensor& actual, std::string name) {
  ComparedValue result;
  result.name = std::move(name);
  double error = 0, norm = 0;
  for (int64_t i = 0; i < expected.num_elems(); ++i) {
    const double truth = expected.at_f64(i), got = actual.at_f64(i);
    if (truth == got || (std::isnan(truth) && std::isnan(got))) {
      if (std::isfinite(truth)) norm += truth * truth;
      continue;
    }
    const double off = std::abs(truth - got);
    error += off * off;
    norm += truth * truth;
    result.max_abs = std::max(result.max_abs, std::isnan(off) ? INFINITY : off);
  }
  result.relative_l2 = error == 0 ? 0 : std::sqrt(error / std::max(norm, 1e-300));
  if (std::isnan(result.relative_l2)) result.relative_l2 = INFINITY;
  result.within_bounds = result.relative_l2 <= kRelativeL2Limit;
  return result;
}

Result<std::vector<Tensor>> run_compiled(const Pipeline& pipeline,
                                         const std::vector<Tensor>& inputs) {
  CORF_ASSIGN(runtime::ExecutableSpec spec, generate(pipeline));
  CORF_ASSIGN(auto team, runtime::Team::create(pipeline.machine.threads));
  CORF_ASSIGN(auto executable, runtime::Executable::load(std::move(spec), team));
  std::vector<const void*> in;
  for (const Tensor& input : inputs) in.push_back(input.bytes());
  std::vector<Tensor> outputs;
  std::vector<void*> out;
  for (const runtime::TensorInfo& info : executable->outputs()) {
    outputs.emplace_back(info.dtype, info.shape);
    out.push_back(outputs.back().bytes());
  }
  CORF_RETURN_IF_ERROR(executable->run(in, out));
  return outputs;
}

/// Compiles the graph once more with every group's results as outputs, and names the first group
/// whose results are off.
Result<std::optional<ComparedValue>> find_wrong_group(Pipeline pipeline,
                                                      const std::vector<Tensor>& inputs,
                                                      const CompileOptions& options) {
  std::vector<std::vector<std::string>> nodes;
  pipeline.graph.outputs.clear();
  pipeline.graph.output_names.clear();
  for (const fusion::GroupPlan& group : pipeline.plan.groups) {
    if (group.kind != fusion::GroupKind::kCompute) continue;
    for (graph::ValueId value : group.stages.back().stored) {
      pipeline.graph.outputs.push_back(value);
      pipeline.graph.output_names.push_back(pipeline.graph.values[value].name);
      nodes.emplace_back();
      for (graph::NodeId id : group.nodes()) nodes.back().push_back(pipeline.graph.nodes[id].name);
    }
  }
  CORF_RETURN_IF_ERROR(plan_and_lower(pipeline, options, Stage::kLlvm));
  CORF_ASSIGN(const std::vector<Tensor> actual, run_compiled(pipeline, inputs));
  graph::EvaluateOptions evaluating;
  evaluating.threads = pipeline.machine.threads;
  CORF_ASSIGN(const std::vector<Tensor> expected,
              graph::evaluate_all(pipeline.graph, inputs, evaluating));
  for (size_t i = 0; i < actual.size(); ++i) {
    ComparedValue value =
        difference(expected[pipeline.graph.outputs[i]], actual[i], pipeline.graph.output_names[i]);
    value.nodes = nodes[i];
    if (!value.within_bounds) return std::optional<ComparedValue>(value);
  }
  return std::optional<ComparedValue>();
}

}  // namespace

namespace {

Result<Comparison> compare_outputs(const onnx::Model& model, const std::vector<Tensor>& inputs,
                                   const CompileOptions& options) {
  const auto run = [&](const CompileOptions& how, Stage last) {
    return within_budget_of(model, how, [&] { return run_pipeline(model, how, last); });
  };
  CORF_ASSIGN(Pipeline pipeline, run(options, Stage::kLlvm));
  CORF_ASSIGN(const std::vector<Tensor> actual, run_compiled(pipeline, inputs));
  // The reference has no roundings of Winograd's weights.
  CompileOptions direct = options;
  direct.winograd = false;
  CORF_ASSIGN(const Pipeline reference, run(direct, Stage::kGraph));
  graph::EvaluateOptions evaluating;
  evaluating.threads = pipeline.machine.threads;
  CORF_ASSIGN(const std::vector<Tensor> expected,
              graph::evaluate(reference.graph, inputs, evaluating));
  Comparison comparison;
  bool sound = true;
  for (size_t i = 0; i < actual.size(); ++i) {
    comparison.outputs.push_back(
        difference(expected[i], actual[i], pipeline.graph.output_names[i]));
    sound &= comparison.outputs.back().within_bounds;
  }
  if (!sound) {
    CORF_ASSIGN(comparison.first_wrong_group,
                find_wrong_group(std::move(pipeline), inputs, options));
  }
  return comparison;
}

}  // namespace

Result<Comparison> compare(const onnx::Model& model, const std::vector<Tensor>& inputs,
                           const CompileOptions& options) {
  // The reference takes what the model's values take.
  return within_budget({}, options.cancellation,
                       [&] { return compare_outputs(model, inputs, options); });
}

}  // namespace corf::driver
