/// How well predicted times rank plans, and how near the untuned plan is to the best one measured:
/// for each model, random legal plans beside the untuned and the unfused one, run in turns.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "cost/group_cost.h"
#include "driver/measure_group.h"
#include "driver/pipeline.h"
#include "driver/prediction.h"
#include "fusion/resolve.h"
#include "fusion/text.h"
#include "onnx/import.h"
#include "search/find_plan.h"
#include "tests/fusion/random_plan.h"

namespace {

using namespace corf;

struct Settings {
  std::vector<std::string> models;
  int threads = 2, plans = 24;
  uint32_t seed = 1;
  bool list = false;
  std::string isa, json_file;
};

struct Row {
  std::string model;
  int plans = 0;
  double correlation = 0;  // Spearman's, of predicted and measured times
  double untuned_ms = 0;   // of the plan that is predicted to be the best
  double unfused_ms = 0;
  double best_ms = 0;  // of all that were measured
};

struct Prediction {
  double total = 0, compute = 0, streamed = 0, memory = 0;  // cycles
};

Prediction predict(const driver::Pipeline& pipeline, const fusion::FusionPlan& plan) {
  Prediction sum;
  const cost::Model model(pipeline.machine);
  fusion::DoneSoFar done;
  for (const fusion::GroupPlan& group : plan.groups) {
    if (group.nests.empty()) continue;
    const cost::GroupCost cost =
        cost::predict(pipeline.graph, plan.storage, group, model, done.before_next());
    done.add(group);
    sum.total += cost.total();
    sum.compute += cost.compute;
    sum.streamed += cost.streamed;
    sum.memory += cost.memory;
  }
  return sum;
}

/// Positions in sorted order; equal values share the mean of theirs.
std::vector<double> ranks_of(const std::vector<double>& values) {
  std::vector<double> ranks;
  for (double value : values) {
    const auto below =
        std::count_if(values.begin(), values.end(), [&](double other) { return other < value; });
    const auto equal = std::count(values.begin(), values.end(), value);
    ranks.push_back(double(below) + 0.5 * double(equal - 1));
  }
  return ranks;
}

double pearson(const std::vector<double>& a, const std::vector<double>& b) {
  const double n = double(a.size());
  const double mean_a = std::accumulate(a.begin(), a.end(), 0.0) / n;
  const double mean_b = std::accumulate(b.begin(), b.end(), 0.0) / n;
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - mean_a) * (b[i] - mean_b);
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0;
}

Result<Row> measure(const std::string& file, const Settings& settings) {
  CORF_ASSIGN(const auto model, onnx::load_model(file));
  driver::CompileOptions options;
  options.threads = settings.threads;
  options.isa = parse_isa(settings.isa);
  CORF_ASSIGN(const driver::Pipeline pipeline,
              driver::run_pipeline(*model, options, driver::Stage::kGraph));
  std::vector<fusion::FusionPlan> plans;
  const search::GroupTime time = driver::prediction(pipeline.graph, pipeline.machine);
  plans.push_back(search::find_plan(pipeline.graph, pipeline.machine, time));
  plans.push_back(search::find_unfused_plan(pipeline.graph, pipeline.machine, time));
  std::set<std::string> known;
  for (const auto& plan : plans) known.insert(fusion::to_string(pipeline.graph, plan));
  const test::RandomPlans::Variety variety{settings.threads, /*vary_tiles=*/false};
  test::RandomPlans random(pipeline.graph, pipeline.machine, settings.seed, variety);
  for (int attempt = 0; attempt < 8 * settings.plans; ++attempt) {
    if (static_cast<int>(plans.size()) >= settings.plans + 2) break;
    std::optional<fusion::FusionPlan> plan = random.make();
    if (!plan || !known.insert(fusion::to_string(pipeline.graph, *plan)).second) continue;
    plans.push_back(std::move(*plan));
  }
  CORF_ASSIGN(auto team, runtime::Team::create(pipeline.machine.threads));
  driver::GroupTimer timer(pipeline.graph, pipeline.machine, team, driver::Caches::kWarm);
  CORF_ASSIGN(const std::vector<double> measured, timer.measure_plans(plans));
  std::vector<Prediction> predictions;
  std::vector<double> predicted;
  for (const auto& plan : plans) {
    predictions.push_back(predict(pipeline, plan));
    predicted.push_back(predictions.back().total);
  }
  if (settings.list) {
    const double cycle_ms = 4e-6 * pipeline.machine.f32_lanes() / pipeline.machine.fma_gflops_core;
    for (size_t i = 0; i < plans.size(); ++i) {
      std::string strips;
      for (const fusion::GroupPlan& group : plans[i].groups) {
        strips += fmt::format(" {}", group.stages.size());
        if (!group.walk) continue;
        const fusion::StripSchedule& schedule = group.walk->schedule;
        strips += fmt::format("[{} by {}", schedule.stream_dim, schedule.strip);
        for (const auto& outer : schedule.outer) {
          strips += fmt::format(", outer {} by {}", outer.dim, outer.block);
        }
        strips += fmt::format(", split {}]", schedule.partition_loop);
      }
      fmt::print(
          "  {:9.4f} ms predicted (compute {:.4f}, streamed {:.4f}, memory {:.4f}) {:9.4f} "
          "measured; "
          "stages{}\n",
          predicted[i] * cycle_ms, predictions[i].compute * cycle_ms,
          predictions[i].streamed * cycle_ms, predictions[i].memory * cycle_ms, measured[i],
          strips);
    }
  }
  Row row;
  row.model = file.substr(file.rfind('/') + 1);
  row.plans = static_cast<int>(plans.size());
  row.correlation = pearson(ranks_of(predicted), ranks_of(measured));
  row.untuned_ms = measured[0];
  row.unfused_ms = measured[1];
  row.best_ms = *std::min_element(measured.begin(), measured.end());
  return row;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("Ranks random legal plans by prediction and by measurement.");
  app.add_option("MODEL", settings.models, "Models (.onnx)")->required();
  app.add_option("--threads", settings.threads, "Workers")->capture_default_str();
  app.add_option("--isa", settings.isa, "sse2, avx2, avx512 or amx");
  app.add_option("--plans", settings.plans, "Random plans of each model")->capture_default_str();
  app.add_option("--seed", settings.seed, "Of the plans")->capture_default_str();
  app.add_flag("--list", settings.list, "Print each plan's times");
  app.add_option("--json", settings.json_file, "File that receives the results too");
  CLI11_PARSE(app, argc, argv);

  nlohmann::json report = nlohmann::json::array();
  std::vector<double> correlations, losses;
  fmt::print("{:32} {:>6} {:>12} {:>12} {:>12} {:>12} {:>13}\n", "model", "plans", "correlation",
             "untuned ms", "unfused ms", "best ms", "untuned/best");
  for (const std::string& file : settings.models) {
    const Result<Row> row = measure(file, settings);
    if (!row.ok()) {
      fmt::print(stderr, "{}: {}\n", file, row.error().message);
      return 1;
    }
    correlations.push_back(row->correlation);
    losses.push_back(row->untuned_ms / row->best_ms);
    fmt::print("{:32} {:6} {:12.2f} {:12.3f} {:12.3f} {:12.3f} {:13.2f}\n", row->model, row->plans,
               row->correlation, row->untuned_ms, row->unfused_ms, row->best_ms, losses.back());
    std::fflush(stdout);
    report.push_back({{"model", row->model},
                      {"plans", row->plans},
                      {"correlation", row->correlation},
                      {"untuned_ms", row->untuned_ms},
                      {"unfused_ms", row->unfused_ms},
                      {"best_ms", row->best_ms}});
  }
  fmt::print("\nmedians: correlation {:.2f}, untuned over best {:.2f}\n", median(correlations),
             median(losses));
  if (!settings.json_file.empty()) std::ofstream(settings.json_file) << report.dump(1) << '\n';
  return 0;
}
