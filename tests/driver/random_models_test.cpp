// Random networks through the whole pipeline, rewriting included, against float64.
#include <cmath>
#include <cstdlib>
#include <gtest/gtest.h>

#include "driver/pipeline.h"
#include "fusion/prepare.h"
#include "graph/evaluate.h"
#include "graph/evaluate_compute.h"
#include "graph/text.h"
#include "rewrite/rewrite.h"
#include "runtime/executable.h"
#include "tests/driver/random_model.h"
#include "tests/lower/guarded_run.h"

namespace corf {
namespace {

/// CORF_LONG_TESTS: how many networks; CORF_FIRST_SEED: to look at one.
int64_t from_environment(const char* variable, int64_t otherwise) {
  const char* text = std::getenv(variable);
  return text ? std::atoll(text) : otherwise;
}

double rounded_to(DType dtype, double value) {
  Tensor one(dtype, {1});
  one.set_f64(0, value);
  return one.at_f64(0);
}

/// Half of the distance between neighbours of the type around the value.
double half_step(DType dtype, double value) {
  const int digits = dtype == DType::kF16 ? 11 : dtype == DType::kBF16 ? 8 : 24;
  const int lowest = dtype == DType::kF16 ? -24 : dtype == DType::kBF16 ? -133 : -149;
  int exponent = 0;
  std::frexp(value, &exponent);
  return std::ldexp(0.5, std::max(exponent - digits, lowest));
}

/// The network in float64, where each result that its type cannot hold is moved by up to twice
/// what rounding it could move it, and by what the rounding of partial sums could: what errors of
/// the size of its own roundings do to its outputs.
class PerturbedRun {
 public:
  explicit PerturbedRun(uint32_t seed) : random_(seed) {}

  Result<std::vector<Tensor>> run(const graph::Graph& graph, const std::vector<Tensor>& inputs) {
    std::vector<Tensor> values(graph.values.size());
    for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs[i]] = inputs[i];
    for (const graph::Node& node : graph.nodes) {
      if (std::holds_alternative<graph::Input>(node.op)) continue;
      std::vector<Tensor> arguments;
      for (graph::ValueId input : node.inputs) arguments.push_back(values[input]);
      CORF_ASSIGN(auto results, graph::evaluate_node(graph, node, arguments));
      Tensor& result = results[0];
      const DType dtype = graph.values[node.outputs[0]].dtype;
      if (const auto* compute = std::get_if<graph::Compute>(&node.op); compute && is_float(dtype)) {
        const Tensor sums = rounding_of_terms(*compute, arguments, result);
        const Tensor most = greatest_terms(*compute, arguments, result);
        for (int64_t i = 0; i < result.num_elems(); ++i) {
          const double value = result.at_f64(i), terms = sums.at_f64(i);
          if (!std::isfinite(value)) continue;
          double error = rounded_to(dtype, value) == value ? 0 : 2 * half_step(dtype, value);
          const double greatest = most.num_elems() > 0 ? most.at_f64(i) : 0;
          if (!has_exact_steps(value, greatest, num_terms(*compute))) error += terms;
          result.set_f64(i, value + direction_(random_) * error);
        }
      }
      values[node.outputs[0]] = std::move(result);
    }
    std::vector<Tensor> outputs;
    for (graph::ValueId output : graph.outputs) outputs.push_back(values[output]);
    return outputs;
  }

 private:
  static int64_t num_terms(const graph::Compute& compute) {
    int64_t terms = 1;
    for (const index::Axis& axis : compute.space.axes) {
      if (axis.kind == index::AxisKind::kReduction) terms *= axis.extent;
    }
    return terms;
  }

  static Tensor greatest_terms(const graph::Compute& compute, const std::vector<Tensor>& arguments,
                               const Tensor& result) {
    if (compute.combiner != graph::Combiner::kSum || num_terms(compute) == 0) return {};
    graph::Compute greatest = compute;
    greatest.combiner = graph::Combiner::kMax;
    Tensor most(DType::kF64, result.shape());
    graph::evaluate_compute(greatest, arguments, /*absolute=*/false, {}, most);
    return most;
  }

  /// Whether float32 holds the result and, where the terms of a sum are all the same, the sums of
  /// some of them.
  static bool has_exact_steps(double result, double greatest_term, int64_t terms) {
    if (rounded_to(DType::kF32, result) != result) return false;
    if (greatest_term * static_cast<double>(terms) != result) return true;
    for (int64_t some = 2; some < terms; ++some) {
      const double sum = greatest_term * static_cast<double>(some);
      if (rounded_to(DType::kF32, sum) != sum) return false;
    }
    return true;
  }

  /// What adding up or multiplying the terms in float32 may cost each result, as corf does it: in
  /// blocks, so that it grows with the root of their number.
  static Tensor rounding_of_terms(const graph::Compute& compute,
                                  const std::vector<Tensor>& arguments, const Tensor& result) {
    Tensor errors(DType::kF64, result.shape());
    const double roundings = (4 + std::sqrt(static_cast<double>(num_terms(compute)))) * 0x1p-24;
    if (compute.combiner == graph::Combiner::kSum) {
      graph::evaluate_compute(compute, arguments, /*absolute=*/true, {}, errors);
    } else if (compute.combiner == graph::Combiner::kProduct) {
      for (int64_t i = 0; i < errors.num_elems(); ++i) {
        errors.set_f64(i, std::abs(result.at_f64(i)));
      }
    }
    for (int64_t i = 0; i < errors.num_elems(); ++i) {
      errors.set_f64(i, errors.at_f64(i) * roundings);
    }
    return errors;
  }

  std::mt19937 random_;
  std::uniform_real_distribution<double> direction_{-1, 1};
};

/// The largest difference; infinite where one of the two is not finite and the other differs.
double largest_error(const Tensor& truth, const Tensor& value) {
  double largest = 0;
  for (int64_t i = 0; i < truth.num_elems(); ++i) {
    const double t = truth.at_f64(i), v = value.at_f64(i);
    if (t == v || (std::isnan(t) && std::isnan(v))) continue;
    const double error = std::abs(t - v);
    largest = std::isnan(error) ? HUGE_VAL : std::max(largest, error);
  }
  return largest;
}

/// Twice the error of the network evaluated operator by operator in its own types, or of float64
/// with as large errors, whichever is larger.
double allowed_error(const Tensor& truth, const Tensor& step_by_step,
                     const std::vector<Tensor>& perturbed, DType dtype) {
  double error = largest_error(truth, step_by_step), greatest = 0;
  for (const Tensor& one : perturbed) error = std::max(error, largest_error(truth, one));
  for (int64_t i = 0; i < truth.num_elems(); ++i) {
    greatest = std::max(greatest, std::abs(truth.at_f64(i)));
  }
  // What is exact step by step may be rounded once on its way out.
  return std::isfinite(error) ? 2 * error + 4 * half_step(dtype, greatest) : error;
}

void expect_right(uint32_t seed, Isa isa) {
  test::RandomModel model(seed);
  const graph::Graph& graph = model.graph();
  const std::vector<Tensor> inputs = model.inputs();
  const Status sound = graph::verify(graph);
  ASSERT_TRUE(sound) << sound.error().message;
  auto truth = graph::evaluate(graph, inputs);
  auto step_by_step = graph::evaluate(graph, inputs, {.round_to_dtype = true});
  ASSERT_TRUE(truth) << truth.error().message;
  ASSERT_TRUE(step_by_step) << step_by_step.error().message;
  constexpr int kRuns = 8;
  std::vector<std::vector<Tensor>> perturbed(truth->size());
  for (int run = 0; run < kRuns; ++run) {
    auto outputs = PerturbedRun(run).run(graph, inputs);
    ASSERT_TRUE(outputs) << outputs.error().message;
    for (size_t i = 0; i < outputs->size(); ++i) perturbed[i].push_back((*outputs)[i]);
  }

  auto rewritten = rewrite::rewrite(graph, {}, {.verify_each = true});
  ASSERT_TRUE(rewritten) << rewritten.error().message << graph::to_string(graph);
  auto spec = test::compile(*rewritten, isa, 1 + static_cast<int>(seed % 2));
  ASSERT_TRUE(spec) << spec.error().message << graph::to_string(*rewritten);
  auto team = runtime::Team::create(1 + static_cast<int>(seed % 2));
  ASSERT_TRUE(team) << team.error().message;
  auto executable = runtime::Executable::load(*spec, *team);
  ASSERT_TRUE(executable) << executable.error().message;
  test::GuardedRun run(**executable, inputs);
  const Status status = run.run(**executable);
  ASSERT_TRUE(status) << status.error().message;
  for (size_t i = 0; i < truth->size(); ++i) {
    const DType dtype = graph.values[graph.outputs[i]].dtype;
    const double allowed = allowed_error((*truth)[i], (*step_by_step)[i], perturbed[i], dtype);
    EXPECT_LE(largest_error((*truth)[i], run.outputs()[i]), allowed)
        << "output " << i << "\n"
        << graph::to_string(graph) << graph::to_string(*rewritten);
  }
}

TEST(RandomModels, AreAsExactAsOperatorByOperator) {
  const int64_t count = from_environment("CORF_LONG_TESTS", 500);
  const auto first = static_cast<uint32_t>(from_environment("CORF_FIRST_SEED", 0));
  std::vector<Isa> isas;
  for (Isa isa : kIsas) {
    if (has_isa(isa)) isas.push_back(isa);
  }
  for (int64_t i = 0; i < count; ++i) {
    const auto seed = first + static_cast<uint32_t>(i);
    SCOPED_TRACE("seed " + std::to_string(seed));
    // Most of them for the widest instruction set.
    expect_right(seed, seed % 4 == 0 ? isas[seed / 4 % isas.size()] : best_isa());
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace corf
