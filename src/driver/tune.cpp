#include <algorithm>
#include <chrono>

#include "driver/measure_group.h"
#include "driver/pipeline.h"
#include "driver/plan_cache.h"
#include "driver/prediction.h"
#include "fusion/text.h"
#include "search/find_plan.h"
#include "support/write_file.h"

namespace corf::driver {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Searches with measured times, each within its share of the time.
class MeasuredSearch {
 public:
  /// `cancellation`: null, or what ends measuring.
  MeasuredSearch(const Pipeline& pipeline, const TuneOptions& options,
                 const Cancellation* cancellation)
      : pipeline_(pipeline),
        options_(options),
        cancellation_(cancellation),
        prediction_(prediction(pipeline.graph, pipeline.machine)),
        start_(Clock::now()) {}

  /// Measures with `timer` until that share of the time limit has passed.
  Result<fusion::FusionPlan> run(GroupTimer& timer, double until_share) {
    Status failure;
    bool measures = true;
    auto measured = [&](const auto& storage, const auto& group) -> std::optional<double> {
      const double share = seconds_since(start_) / options_.time_limit_s;
      measures = measures && share < until_share && failure.ok() && !cancelled();
      if (!measures) return std::nullopt;
      if (options_.progress) {
        options_.progress({share, names_of(group), num_measured_ + timer.num_measured(),
                           num_known_ + timer.num_known()});
      }
      Result<double> time_ms = timer.measure_group(storage, group);
      if (time_ms.ok()) return *time_ms;
      failure = time_ms.error();
      return std::nullopt;
    };
    fusion::FusionPlan plan =
        search::find_plan(pipeline_.graph, pipeline_.machine, prediction_, measured);
    if (!failure.ok()) return failure.error();
    out_of_time_ |= !measures;
    num_measured_ += timer.num_measured();
    num_known_ += timer.num_known();
    return plan;
  }

  fusion::FusionPlan predicted() const {
    return search::find_plan(pipeline_.graph, pipeline_.machine, prediction_);
  }
  fusion::FusionPlan unfused() const {
    return search::find_unfused_plan(pipeline_.graph, pipeline_.machine, prediction_);
  }
  bool cancelled() const { return cancellation_ != nullptr && cancellation_->cancelled(); }
  bool out_of_time() const { return out_of_time_; }
  int num_measured() const { return num_measured_; }
  int num_known() const { return num_known_; }

 private:
  std::string names_of(const fusion::GroupPlan& group) const {
    std::string names;
    for (const fusion::Stage& stage : group.stages) {
      names += (names.empty() ? "" : " -> ") + pipeline_.graph.nodes[stage.nodes.front()].name;
    }
    return names;
  }

  const Pipeline& pipeline_;
  const TuneOptions& options_;
  const Cancellation* const cancellation_;
  const search::GroupTime prediction_;
  const Clock::time_point start_;
  bool out_of_time_ = false;
  int num_measured_ = 0, num_known_ = 0;
};

Result<Tuned> find_tuned_plan(const onnx::Model& model, const CompileOptions& options,
                              const TuneOptions& tuning) {
  CORF_ASSIGN(Pipeline pipeline, within_budget_of(model, options, [&] {
                return run_pipeline(model, options, Stage::kGraph);
              }));
  CORF_ASSIGN(auto team, runtime::Team::create(pipeline.machine.threads));
  // Parts are measured apart, so that what they leave in the caches for each other is not seen: the
  // whole decides between the plans that two extremes and prediction lead to.
  auto known = std::make_unique<KnownTimes>();
  if (!options.plan_cache_dir.empty()) {
    CORF_ASSIGN(known,
                KnownTimes::open(options.plan_cache_dir, pipeline.machine, tuning.measure_anew));
  }
  GroupTimer warm(pipeline.graph, pipeline.machine, team, Caches::kWarm, known.get());
  GroupTimer emptied(pipeline.graph, pipeline.machine, team, Caches::kEmptied, known.get());
  MeasuredSearch search(pipeline, tuning, options.cancellation.get());
  std::vector<fusion::FusionPlan> plans;
  plans.push_back(search.predicted());
  if (!search.cancelled()) plans.push_back(search.unfused());
  CORF_ASSIGN(plans.emplace_back(), search.run(warm, 0.5));
  if (!search.cancelled()) {
    CORF_ASSIGN(plans.emplace_back(), search.run(emptied, 1));
  }
  if (search.cancelled() && search.num_measured() + search.num_known() == 0) {
    return make_error(ErrorCode::kCancelled, "the tuning was cancelled before any measurement");
  }
  CORF_ASSIGN(const std::vector<double> times_ms, warm.measure_plans(plans));
  const auto best = std::min_element(times_ms.begin(), times_ms.end()) - times_ms.begin();
  Tuned tuned{fusion::to_string(pipeline.graph, plans[static_cast<size_t>(best)]),
              search.num_measured(), search.num_known(), search.out_of_time()};
  const std::string file =
      plan_file(pipeline.graph, pipeline.machine, options.plan_cache_dir, /*for_writing=*/true);
  if (!file.empty()) CORF_RETURN_IF_ERROR(write_file_and_folder(file, tuned.plan_text));
  if (search.cancelled()) {
    return make_error(ErrorCode::kCancelled,
                      "the tuning was cancelled; the best plan up to then is kept");
  }
  return tuned;
}

}  // namespace

Result<Tuned> tune(const onnx::Model& model, const CompileOptions& options,
                   const TuneOptions& tuning) {
  // It compiles many kernels; `tuning` bounds the time. Cancelled, it ends with what it has.
  return within_budget({}, nullptr, [&] { return find_tuned_plan(model, options, tuning); });
}

}  // namespace corf::driver
