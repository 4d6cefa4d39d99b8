#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "driver/compile.h"
#include "driver/pipeline.h"
#include "graph/evaluate.h"
#include "onnx/import.h"
#include "runtime/team.h"

namespace corf::driver {
namespace {

/// What float32 without Winograd stays below on networks whose activations are of order one.
constexpr double kRelativeL2Limit = 1e-4;
/// What factors of 8 bits do to such networks.
constexpr double kRelativeL2LimitBf16 = 1e-2;

/// A result in halves is rounded once, at least: twice the unit roundoff, as relative L2 error.
double relative_l2_limit(DType dtype) {
  if (dtype == DType::kF16) return 2 * 0x1p-11;
  if (dtype == DType::kBF16) return 2 * 0x1p-8;
  return kRelativeL2Limit;
}

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
  result.within_bounds = result.relative_l2 <= relative_l2_limit(actual.dtype());
  return result;
}

bool is_byte(DType dtype) { return dtype == DType::kU8 || dtype == DType::kI8; }

/// Whether a kernel of the graph makes bytes: then numbers next to a tie tell roundings apart.
bool is_quantized(const graph::Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const graph::Node& node) {
    return std::holds_alternative<graph::Compute>(node.op) &&
           is_byte(graph.values[node.outputs[0]].dtype);
  });
}

graph::EvaluateOptions evaluation_of(const Pipeline& pipeline) {
  graph::EvaluateOptions options;
  options.threads = pipeline.machine.threads;
  options.round_to_dtype = options.round_operations = is_quantized(pipeline.graph);
  return options;
}

/// By how much neighbouring results of the node differ, if it rounds them: bytes, or bytes that it
/// dequantises by one scale; 0 of others.
double step_of(const graph::Graph& graph, const graph::Node& node) {
  if (is_byte(graph.values[node.outputs[0]].dtype)) return 1;
  const auto* compute = std::get_if<graph::Compute>(&node.op);
  if (!compute || compute->body.nodes.back().op != graph::ScalarOp::kMul) return 0;
  const auto& nodes = compute->body.nodes;
  const bool rounds = std::any_of(nodes.begin(), nodes.end(), [](const auto& scalar) {
    return scalar.op == graph::ScalarOp::kRoundEven;
  });
  for (const int arg : nodes.back().args) {
    if (rounds && arg >= 0 && nodes[arg].op == graph::ScalarOp::kConstant) {
      return std::abs(nodes[arg].f64);
    }
  }
  return 0;
}

/// How many results are one step off what they should be; nullopt where one is further off, or
/// there are no steps and they are out of bounds.
std::optional<int64_t> count_ties(const Tensor& expected, const Tensor& actual, double step) {
  if (difference(expected, actual, "").within_bounds) return 0;
  if (step == 0) return std::nullopt;
  constexpr double kRounded = 1e-3;  // of a step, by which dequantised numbers may be off besides
  int64_t ties = 0;
  for (int64_t i = 0; i < expected.num_elems(); ++i) {
    const double off = std::abs(expected.at_f64(i) - actual.at_f64(i));
    if (!(off <= (1 + kRounded) * step)) return std::nullopt;
    ties += off > kRounded * step;
  }
  return ties;
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

/// Makes every group's results outputs. Returns the names of each one's nodes.
std::vector<std::vector<std::string>> show_results(Pipeline& pipeline) {
  std::vector<std::vector<std::string>> nodes;
  pipeline.graph.outputs.clear();
  pipeline.graph.output_names.clear();
  for (const fusion::GroupPlan& group : pipeline.plan.groups) {
    const bool is_routine = group.kind == fusion::GroupKind::kRoutine;
    if (group.kind != fusion::GroupKind::kCompute && !is_routine) continue;
    const auto& results =
        is_routine ? pipeline.graph.nodes[group.nodes()[0]].outputs : group.stages.back().stored;
    for (graph::ValueId value : results) {
      pipeline.graph.outputs.push_back(value);
      pipeline.graph.output_names.push_back(pipeline.graph.values[value].name);
      nodes.emplace_back();
      for (graph::NodeId id : group.nodes()) nodes.back().push_back(pipeline.graph.nodes[id].name);
    }
  }
  return nodes;
}

/// Each result of an unfused plan beside the reference's on what the compiled model made before it:
/// the number of bytes that a tie has rounded to the other side; nullopt where anything else is
/// off.
Result<std::optional<int64_t>> count_ties(Pipeline pipeline, const std::vector<Tensor>& inputs,
                                          const CompileOptions& options) {
  show_results(pipeline);
  CORF_RETURN_IF_ERROR(plan_and_lower(pipeline, options, Stage::kLlvm));
  CORF_ASSIGN(const std::vector<Tensor> made, run_compiled(pipeline, inputs));
  const graph::Graph& graph = pipeline.graph;
  std::map<graph::ValueId, const Tensor*> actual;
  for (size_t i = 0; i < made.size(); ++i) actual[graph.outputs[i]] = &made[i];
  std::vector<Tensor> values(graph.values.size());
  for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs[i]] = inputs[i];
  int64_t ties = 0;
  for (const graph::Node& node : graph.nodes) {
    if (std::holds_alternative<graph::Input>(node.op)) continue;
    if (const auto* constant = std::get_if<graph::Constant>(&node.op)) {
      values[node.outputs[0]] = constant->tensor;
      continue;
    }
    std::vector<Tensor> read;
    for (const graph::ValueId input : node.inputs) read.push_back(values[input]);
    graph::EvaluateOptions how = evaluation_of(pipeline);
    // Bytes that a step of a recurrence makes of its state are the same if the state is.
    const auto states = actual.find(node.outputs[0]);
    if (std::holds_alternative<graph::Opaque>(node.op) && states != actual.end()) {
      how.states = states->second;
    }
    CORF_ASSIGN(const std::vector<Tensor> expected, graph::evaluate_node(graph, node, read, how));
    for (size_t i = 0; i < expected.size(); ++i) {
      values[node.outputs[i]] = expected[i];
      const auto found = actual.find(node.outputs[i]);
      if (found == actual.end()) continue;
      const std::optional<int64_t> more =
          count_ties(expected[i], *found->second, step_of(graph, node));
      if (!more) return std::optional<int64_t>();
      ties += *more;
      values[node.outputs[i]] = *found->second;
    }
  }
  return std::optional<int64_t>(ties);
}

bool are_equal(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Tensor& x, const Tensor& y) {
    return x.size_bytes() == y.size_bytes() &&
           std::memcmp(x.bytes(), y.bytes(), x.size_bytes()) == 0;
  });
}

bool has_halves(const graph::Graph& graph) {
  return std::any_of(graph.values.begin(), graph.values.end(), [](const graph::Value& value) {
    return value.dtype == DType::kF16 || value.dtype == DType::kBF16;
  });
}

/// Halves that the model itself rounds on its way: an output may be twice as far off as the model
/// is that is computed operator by operator in its own types (docs/numerics.md).
Status allow_own_roundings(const onnx::Model& model, const CompileOptions& options,
                           const std::vector<Tensor>& inputs, const std::vector<Tensor>& exact,
                           std::vector<ComparedValue>& outputs) {
  CORF_ASSIGN(const graph::Graph imported, import_model(model, options));
  if (!has_halves(imported)) return {};
  CORF_ASSIGN(const std::vector<Tensor> stepwise,
              graph::evaluate(imported, inputs, graph::kAsComputed));
  for (size_t i = 0; i < outputs.size(); ++i) {
    const double own = difference(exact[i], stepwise[i], "").relative_l2;
    outputs[i].within_bounds |= outputs[i].relative_l2 <= 2 * own;
  }
  return {};
}

/// Compiles the graph once more with every group's results as outputs, and names the first group
/// whose results are off.
Result<std::optional<ComparedValue>> find_wrong_group(Pipeline pipeline,
                                                      const std::vector<Tensor>& inputs,
                                                      const CompileOptions& options) {
  const std::vector<std::vector<std::string>> nodes = show_results(pipeline);
  CORF_RETURN_IF_ERROR(plan_and_lower(pipeline, options, Stage::kLlvm));
  CORF_ASSIGN(const std::vector<Tensor> actual, run_compiled(pipeline, inputs));
  CORF_ASSIGN(const std::vector<Tensor> expected,
              graph::evaluate_all(pipeline.graph, inputs, evaluation_of(pipeline)));
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
  // The reference has no roundings of Winograd's weights, nor of factors.
  CompileOptions direct = options;
  direct.winograd = direct.bf16 = false;
  CORF_ASSIGN(const Pipeline reference, run(direct, Stage::kGraph));
  CORF_ASSIGN(const std::vector<Tensor> expected,
              graph::evaluate(reference.graph, inputs, evaluation_of(reference)));
  Comparison comparison;
  bool sound = true;
  for (size_t i = 0; i < actual.size(); ++i) {
    comparison.outputs.push_back(
        difference(expected[i], actual[i], pipeline.graph.output_names[i]));
    ComparedValue& output = comparison.outputs.back();
    if (options.bf16) output.within_bounds = output.relative_l2 <= kRelativeL2LimitBf16;
    sound &= output.within_bounds;
  }
  if (!sound) {
    CORF_RETURN_IF_ERROR(allow_own_roundings(model, options, inputs, expected, comparison.outputs));
    sound = std::all_of(comparison.outputs.begin(), comparison.outputs.end(),
                        [](const ComparedValue& output) { return output.within_bounds; });
  }
  if (!sound && is_quantized(pipeline.graph)) {
    CompileOptions unfused = options;
    unfused.plan = PlanMode::kUnfused;
    unfused.plan_text.reset();
    CORF_ASSIGN(Pipeline alone, run(unfused, Stage::kLlvm));
    CORF_ASSIGN(const std::vector<Tensor> by_operator, run_compiled(alone, inputs));
    if (are_equal(actual, by_operator)) {
      CORF_ASSIGN(comparison.ties, count_ties(std::move(alone), inputs, unfused));
    }
    sound = comparison.ties.has_value();
    for (ComparedValue& output : comparison.outputs) output.within_bounds |= sound;
  }
  if (!sound) {
    CORF_ASSIGN(comparison.first_wrong_group,
                find_wrong_group(std::move(pipeline), inputs, options));
  }
  return comparison;
}

}  // namespace

Result<Comparison> compare(const onnx::Model& model, const std::vector<Tensor>& inputs,
                           const CompileOptions& given) {
  CompileOptions options = given;
  options.random_seed = given.random_seed.value_or(0);  // others in each run cannot be compared
  // The reference takes what the model's values take.
  return within_budget({}, options.cancellation,
                       [&] { return compare_outputs(model, inputs, options); });
}

}  // namespace corf::driver
