/// How far the performance model is off: predicted against measured times of every kernel of some
/// plans of each model, and, with --fit, of the model's coefficients, which value fits better.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "cost/group_cost.h"
#include "driver/pipeline.h"
#include "driver/prediction.h"
#include "loop/passes/passes.h"
#include "lower/lower.h"
#include "onnx/import.h"
#include "runtime/executable.h"
#include "search/find_plan.h"
#include "target/calibration_cache.h"
#include "target/measurements.h"
#include "tests/fusion/random_plan.h"

namespace {

using namespace corf;

struct Settings {
  std::vector<std::string> models;
  int threads = 2, plans = 2;
  uint32_t seed = 1;
  bool fit = false;
  size_t list = 0;
  std::vector<std::string> isas;
  std::string json_file;
};

/// One kernel of a plan, as the performance model sees it, and its time.
struct Observation {
  const driver::Pipeline* pipeline = nullptr;
  const fusion::FusionPlan* plan = nullptr;
  const fusion::GroupPlan* group = nullptr;
  const Machine* machine = nullptr;  // as it was when the time was taken
  fusion::DoneSoFar done;
  double measured_ns = 0;
};

/// What the observations point into.
struct Measured {
  std::string model;
  driver::Pipeline pipeline;
  std::vector<std::unique_ptr<fusion::FusionPlan>> plans;
  std::vector<std::unique_ptr<Machine>> machines;  // of each plan's turn
  std::vector<Observation> observations;
};

/// Kernels that take less say more of the clock than of the model.
constexpr double kShortest_ns = 5000;

/// The machine as it is now.
Machine measured_now(Machine machine) {
  constexpr double kSeconds = 0.15;
  for (double Machine::* rate : kRates) machine.*rate = 0;
  for (double Machine::* time : kTimes) machine.*time = 0;
  measure_figures(machine, kSeconds);
  return machine;
}

/// Whether nothing changed in between: a host may let a virtual machine's CPUs share one core for a
/// while, move them further apart, or give their share of memory to others.
bool are_alike(const Machine& before, const Machine& after) {
  constexpr double kAbout = 1.25;
  auto about = [&](double Machine::* field) {
    return before.*field <= kAbout * after.*field && after.*field <= kAbout * before.*field;
  };
  return about(&Machine::fma_gflops_all) && about(&Machine::l3_gbps_all) &&
         about(&Machine::dram_gbps_all) && about(&Machine::remote_gbps_core);
}

struct StepTimes {
  Machine machine;         // as it was meanwhile
  std::vector<double> ns;  // of each step, the least of some runs
};

Result<StepTimes> step_times(const driver::Pipeline& pipeline, const fusion::FusionPlan& plan,
                             const std::shared_ptr<runtime::Team>& team) {
  constexpr int kRuns = 15, kAttempts = 20;
  driver::Pipeline own{pipeline.machine, pipeline.graph, plan, {}};
  CORF_ASSIGN(loop::Program lowered, lower::lower(own.graph, own.plan));
  CORF_ASSIGN(own.program, loop::run_passes(std::move(lowered)));
  CORF_ASSIGN(runtime::ExecutableSpec spec, driver::generate(std::move(own)));
  CORF_ASSIGN(const auto executable, runtime::Executable::load(std::move(spec), team));
  std::vector<Tensor> arrays;
  for (const auto* values : {&pipeline.graph.inputs, &pipeline.graph.outputs}) {
    for (const graph::ValueId value : *values) {
      arrays.emplace_back(pipeline.graph.values[value].dtype, pipeline.graph.values[value].shape);
    }
  }
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  for (size_t i = 0; i < arrays.size(); ++i) {
    if (i < pipeline.graph.inputs.size()) {
      inputs.push_back(arrays[i].bytes());
    } else {
      outputs.push_back(arrays[i].bytes());
    }
  }
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const Machine before = measured_now(pipeline.machine);
    std::vector<double> least;
    for (int run = 0; run < kRuns; ++run) {
      std::vector<runtime::StepProfile> profile;
      CORF_RETURN_IF_ERROR(executable->run(inputs, outputs, &profile));
      least.resize(profile.size(), 1e18);
      for (size_t i = 0; i < profile.size(); ++i) {
        least[i] = std::min(least[i], profile[i].time_ns);
      }
    }
    const Machine after = measured_now(pipeline.machine);
    if (are_alike(before, after)) return StepTimes{take_better(before, after), least};
  }
  return Error{ErrorCode::kInternal, "the machine's speed changed during every turn"};
}

size_t steps_of(const fusion::GroupPlan& group) {
  const bool one = group.walk || group.kind == fusion::GroupKind::kRoutine;
  return one ? 1 : group.nests.size();
}

Status observe(Measured& measured, const fusion::FusionPlan& plan,
               const std::shared_ptr<runtime::Team>& team) {
  CORF_ASSIGN(const StepTimes times, step_times(measured.pipeline, plan, team));
  measured.machines.push_back(std::make_unique<Machine>(times.machine));
  const Machine* machine = measured.machines.back().get();
  fusion::DoneSoFar done;
  size_t step = 0;
  for (const fusion::GroupPlan& group : plan.groups) {
    double time_ns = 0;
    // Workers come to a run's first step from wherever they slept.
    const bool is_first = step == 0;
    for (size_t i = 0; i < steps_of(group); ++i) time_ns += times.ns.at(step++);
    if (group.nests.empty()) continue;
    if (!is_first && group.kind == fusion::GroupKind::kCompute && time_ns >= kShortest_ns) {
      measured.observations.push_back({&measured.pipeline, &plan, &group, machine, done, time_ns});
    }
    done.add(group);
  }
  return {};
}

Result<std::unique_ptr<Measured>> measure(const std::string& file, const std::string& isa,
                                          const Settings& settings) {
  CORF_ASSIGN(const auto model, onnx::load_model(file));
  driver::CompileOptions options;
  options.threads = settings.threads;
  options.isa = parse_isa(isa);
  auto measured = std::make_unique<Measured>();
  measured->model = file.substr(file.rfind('/') + 1) + (isa.empty() ? "" : " " + isa);
  CORF_ASSIGN(measured->pipeline, driver::run_pipeline(*model, options, driver::Stage::kGraph));
  const driver::Pipeline& pipeline = measured->pipeline;
  const search::GroupTime time = driver::prediction(pipeline.graph, pipeline.machine);
  auto keep = [&](fusion::FusionPlan plan) {
    measured->plans.push_back(std::make_unique<fusion::FusionPlan>(std::move(plan)));
  };
  keep(search::find_plan(pipeline.graph, pipeline.machine, time));
  keep(search::find_unfused_plan(pipeline.graph, pipeline.machine, time));
  const test::RandomPlans::Variety variety{settings.threads, /*vary_tiles=*/false};
  test::RandomPlans random(pipeline.graph, pipeline.machine, settings.seed, variety);
  for (int i = 0; i < settings.plans; ++i) {
    if (std::optional<fusion::FusionPlan> plan = random.make()) keep(std::move(*plan));
  }
  CORF_ASSIGN(auto team, runtime::Team::create(pipeline.machine.threads));
  for (const auto& plan : measured->plans) {
    CORF_RETURN_IF_ERROR(observe(*measured, *plan, team));
  }
  return measured;
}

/// log(measured / predicted) of each.
std::vector<double> errors_of(const std::vector<const Observation*>& observations,
                              const cost::Coefficients& k) {
  std::vector<double> errors;
  for (const Observation* one : observations) {
    const Machine& machine = *one->machine;
    const cost::GroupCost cost =
        cost::predict(one->pipeline->graph, one->plan->storage, *one->group,
                      cost::Model(machine, k), one->done.before_next());
    errors.push_back(std::log(one->measured_ns / (cost.total(k) * machine.cycle_ns())));
  }
  return errors;
}

/// The value below which that share of them lies.
double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * double(values.size() - 1))];
}

struct Summary {
  double median = 0, p90 = 0;     // of |measured / predicted - 1|, the larger over the smaller
  double single = 0, strips = 0;  // median of measured / predicted
  double objective = 0;
};

/// What decides between plans is that kernels of one operator and of several are off alike.
Summary summary_of(const std::vector<const Observation*>& observations,
                   const cost::Coefficients& k) {
  const std::vector<double> errors = errors_of(observations, k);
  std::vector<double> off, single, strips;
  double sum = 0;
  for (size_t i = 0; i < errors.size(); ++i) {
    off.push_back(std::exp(std::fabs(errors[i])) - 1);
    (observations[i]->group->walk ? strips : single).push_back(errors[i]);
    sum += std::fabs(errors[i]);
  }
  Summary summary{quantile(off, 0.5), quantile(off, 0.9), std::exp(quantile(single, 0.5)),
                  std::exp(quantile(strips, 0.5))};
  summary.objective = sum / double(std::max<size_t>(1, errors.size()));
  if (!single.empty() && !strips.empty()) {
    summary.objective += 0.5 * std::fabs(std::log(summary.single / summary.strips));
  }
  return summary;
}

void print(const std::string& name, size_t count, const Summary& summary) {
  fmt::print("{:32} {:>8} {:>9.1f}% {:>9.1f}% {:>10.2f} {:>10.2f}\n", name, count,
             100 * summary.median, 100 * summary.p90, summary.single, summary.strips);
  std::fflush(stdout);
}

/// Of the kernels that are off the most, where the predicted time goes.
void print_worst(const std::vector<const Observation*>& observations, const cost::Coefficients& k,
                 size_t count) {
  const std::vector<double> errors = errors_of(observations, k);
  std::vector<size_t> order(errors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return std::fabs(errors[a]) > std::fabs(errors[b]); });
  order.resize(std::min(order.size(), count));
  fmt::print("\n{:>9} {:>9} | {:>9} {:>9} {:>9} {:>9} | us, kernel\n", "measured", "predicted",
             "compute", "weights", "memory", "remote");
  for (const size_t i : order) {
    const Observation& one = *observations[i];
    const Machine& machine = *one.machine;
    const cost::GroupCost cost = cost::predict(one.pipeline->graph, one.plan->storage, *one.group,
                                               cost::Model(machine, k), one.done.before_next());
    const double us = 1e-3 * machine.cycle_ns();
    std::string name;
    for (const fusion::Stage& stage : one.group->stages) {
      name += (name.empty() ? "" : " -> ") + one.pipeline->graph.nodes[stage.nodes[0]].name;
    }
    fmt::print("{:9.1f} {:9.1f} | {:9.1f} {:9.1f} {:9.1f} {:9.1f} | {}\n", 1e-3 * one.measured_ns,
               cost.total(k) * us, cost.compute * us, cost.streamed * us, cost.memory * us,
               cost.remote * us, name);
  }
}

/// Moves one coefficient after the other as long as that helps more than leaving what other
/// machines have taught is worth.
cost::Coefficients fit(const std::vector<const Observation*>& observations) {
  constexpr double kFactors[] = {0.5, 0.7, 0.85, 0.93, 1.07, 1.2, 1.4, 2};
  constexpr double kLeastGain = 0.001, kMove = 0.004;
  const cost::Coefficients now;
  auto objective_of = [&](const cost::Coefficients& k) {
    double moved = 0;
    for (const cost::Described& described : cost::kDescribed) {
      moved += std::fabs(std::log(k.*described.field / (now.*described.field)));
    }
    return summary_of(observations, k).objective + kMove * moved;
  };
  cost::Coefficients best;
  double least = objective_of(best);
  for (bool better = true; better;) {
    better = false;
    for (const cost::Described& described : cost::kDescribed) {
      for (const double factor : kFactors) {
        cost::Coefficients tried = best;
        tried.*described.field *= factor;
        const bool is_share = described.field == &cost::Coefficients::hidden_memory ||
                              described.field == &cost::Coefficients::near_share;
        if (is_share && tried.*described.field > 0.95) continue;
        const double objective = objective_of(tried);
        if (objective > least * (1 - kLeastGain)) continue;
        least = objective;
        best = tried;
        better = true;
      }
    }
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("Predicted against measured times of the kernels of some plans.");
  app.add_option("MODEL", settings.models, "Models (.onnx)")->required();
  app.add_option("--threads", settings.threads, "Workers")->capture_default_str();
  std::vector<std::string> names;
  for (const Isa isa : kIsas) names.emplace_back(to_string(isa));
  app.add_option("--isa", settings.isas, "Instruction sets, by commas, instead of the widest")
      ->delimiter(',')
      ->check(CLI::IsMember(names));
  app.add_option("--plans", settings.plans,
                 "Random plans of each model, besides the chosen and the "
                 "unfused one")
      ->capture_default_str();
  app.add_option("--seed", settings.seed, "Of the plans")->capture_default_str();
  app.add_option("--list", settings.list, "So many of the kernels that are off the most");
  app.add_flag("--fit", settings.fit, "Say which values of the coefficients fit better here");
  app.add_option("--json", settings.json_file, "File that receives the results too");
  CLI11_PARSE(app, argc, argv);

  nlohmann::json report;
  std::vector<std::unique_ptr<Measured>> all;
  std::vector<const Observation*> observations;
  fmt::print("{:32} {:>8} {:>10} {:>10} {:>10} {:>10}\n", "model", "kernels", "off, 50%",
             "off, 90%", "single", "strips");
  if (settings.isas.empty()) settings.isas.emplace_back();
  std::vector<std::pair<std::string, std::string>> tasks;
  for (const std::string& file : settings.models) {
    for (const std::string& isa : settings.isas) tasks.emplace_back(file, isa);
  }
  for (const auto& [file, isa] : tasks) {
    Result<std::unique_ptr<Measured>> measured = measure(file, isa, settings);
    if (!measured.ok()) {
      fmt::print(stderr, "{}: {}\n", file, measured.error().message);
      return 1;
    }
    std::vector<const Observation*> own;
    for (const Observation& one : (*measured)->observations) own.push_back(&one);
    observations.insert(observations.end(), own.begin(), own.end());
    const Summary summary = summary_of(own, {});
    print((*measured)->model, own.size(), summary);
    report["models"].push_back({{"model", (*measured)->model},
                                {"kernels", own.size()},
                                {"median_off", summary.median},
                                {"p90_off", summary.p90}});
    all.push_back(measured.take());
  }
  print("all", observations.size(), summary_of(observations, {}));
  if (settings.list > 0) print_worst(observations, {}, settings.list);
  if (settings.fit) {
    const cost::Coefficients fitted = fit(observations);
    print("fitted", observations.size(), summary_of(observations, fitted));
    if (settings.list > 0) print_worst(observations, fitted, settings.list);
    fmt::print("\n{:22} {:>10} {:>10} {:>12}  {}\n", "coefficient", "now", "fitted", "off without",
               "what it is");
    const cost::Coefficients now;
    for (const cost::Described& described : cost::kDescribed) {
      cost::Coefficients without = fitted;
      without.*described.field = now.*described.field;
      fmt::print("{:22} {:10.3f} {:10.3f} {:11.1f}%  {} {}\n", described.name, now.*described.field,
                 fitted.*described.field, 100 * summary_of(observations, without).median,
                 described.unit, described.meaning);
      report["fitted"][std::string(described.name)] = fitted.*described.field;
    }
  }
  if (!settings.json_file.empty()) std::ofstream(settings.json_file) << report.dump(1) << '\n';
  return 0;
}
