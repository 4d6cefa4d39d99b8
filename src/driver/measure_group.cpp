#include "driver/measure_group.h"

#include <algorithm>
#include <chrono>

#include "driver/pipeline.h"
#include "loop/passes/passes.h"
#include "loop/renumber.h"
#include "lower/lower.h"

namespace corf::driver {
namespace {

/// What tells programs of equal speed: the kernels, without their names, how they are split, and
/// what their operands meet.
std::string key_of(const loop::Program& program, Caches caches) {
  std::string key = caches == Caches::kWarm ? "warm" : "emptied";
  for (const loop::Step& step : program.steps) {
    const auto* call = std::get_if<loop::KernelCall>(&step);
    if (!call) continue;
    key += loop::anonymous_text(program.kernels[call->kernel]);
    key += std::to_string(call->partitions);
    for (int64_t param : call->params) key += ' ' + std::to_string(param);
  }
  return key;
}

}  // namespace

GroupTimer::GroupTimer(const graph::Graph& graph, const Machine& machine,
                       std::shared_ptr<runtime::Team> team, Caches caches, const KnownTimes* known)
    : graph_(graph), machine_(machine), team_(std::move(team)), caches_(caches), known_(known) {
  for (int worker = 0; caches == Caches::kEmptied && worker < team_->size(); ++worker) {
    swept_.emplace_back(DType::kF32, Shape{2 * machine.l2_bytes / 4});
  }
  auto add_array = [&](graph::ValueId value) {
    arrays_.emplace_back(graph.values[value].dtype, graph.values[value].shape);
    return arrays_.back().bytes();
  };
  for (graph::ValueId value : graph.inputs) inputs_.push_back(add_array(value));
  for (graph::ValueId value : graph.outputs) outputs_.push_back(add_array(value));
}

void GroupTimer::empty_caches() {
  constexpr int64_t kElemsPerLine = 16;
  team_->run([&](const runtime::Worker& worker) {
    Tensor& swept = swept_[static_cast<size_t>(worker.number)];
    for (int64_t i = 0; i < swept.num_elems(); i += kElemsPerLine) swept.data<float>()[i] += 1;
  });
}

Result<std::shared_ptr<runtime::Executable>> GroupTimer::load(loop::Program program,
                                                              const fusion::FusionPlan& plan) {
  CORF_ASSIGN(runtime::ExecutableSpec spec,
              generate(Pipeline{machine_, graph_, plan, std::move(program)}));
  CORF_ASSIGN(auto executable, runtime::Executable::load(std::move(spec), team_));
  CORF_RETURN_IF_ERROR(executable->run(inputs_, outputs_));  // touches its memory
  return executable;
}

Result<double> GroupTimer::run_ms(runtime::Executable& executable) {
  const auto start = std::chrono::steady_clock::now();
  CORF_RETURN_IF_ERROR(executable.run(inputs_, outputs_));
  const std::chrono::duration<double, std::milli> elapsed =
      std::chrono::steady_clock::now() - start;
  return elapsed.count();
}

Result<double> GroupTimer::measure(loop::Program program, const fusion::FusionPlan& plan) {
  constexpr int kFewestRuns = 7, kMostRuns = 41;
  constexpr double kEnough_ms = 12;
  CORF_ASSIGN(const auto executable, load(std::move(program), plan));
  std::vector<double> times_ms;
  double total_ms = 0;
  while (static_cast<int>(times_ms.size()) < kFewestRuns ||
         (total_ms < kEnough_ms && static_cast<int>(times_ms.size()) < kMostRuns)) {
    if (caches_ == Caches::kEmptied) empty_caches();
    CORF_ASSIGN(const double time_ms, run_ms(*executable));
    times_ms.push_back(time_ms);
    total_ms += time_ms;
  }
  // Not the median: other processes only ever add.
  const auto quartile = times_ms.begin() + static_cast<std::ptrdiff_t>(times_ms.size() / 4);
  std::nth_element(times_ms.begin(), quartile, times_ms.end());
  return *quartile;
}

Result<double> GroupTimer::measure_group(const fusion::StoragePlan& storage,
                                         const fusion::GroupPlan& group) {
  const fusion::FusionPlan plan{{group}, storage};
  CORF_ASSIGN(loop::Program lowered, lower::lower(graph_, plan));
  CORF_ASSIGN(loop::Program program, loop::run_passes(std::move(lowered)));
  const std::string key = key_of(program, caches_);
  if (auto it = known_ms_.find(key); it != known_ms_.end()) return it->second;
  if (known_ != nullptr) {
    if (const auto time_ms = known_->find(key)) {
      ++num_known_;
      return known_ms_[key] = *time_ms;
    }
  }
  CORF_ASSIGN(const double time_ms, measure(std::move(program), plan));
  ++num_measured_;
  if (known_ != nullptr) known_->insert(key, time_ms);
  return known_ms_[key] = time_ms;
}

Result<std::vector<double>> GroupTimer::measure_plans(
    const std::vector<fusion::FusionPlan>& plans) {
  constexpr int kTurns = 9;
  constexpr double kTurn_ms = 40;
  std::vector<std::shared_ptr<runtime::Executable>> executables;
  for (const fusion::FusionPlan& plan : plans) {
    CORF_ASSIGN(loop::Program lowered, lower::lower(graph_, plan));
    CORF_ASSIGN(loop::Program program, loop::run_passes(std::move(lowered)));
    CORF_ASSIGN(executables.emplace_back(), load(std::move(program), plan));
  }
  std::vector<std::vector<double>> times_ms(plans.size());
  for (int turn = 0; turn < kTurns; ++turn) {
    for (size_t i = 0; i < plans.size(); ++i) {
      for (double total_ms = 0; total_ms < kTurn_ms;) {
        CORF_ASSIGN(const double time_ms, run_ms(*executables[i]));
        times_ms[i].push_back(time_ms);
        total_ms += time_ms;
      }
    }
  }
  std::vector<double> medians_ms;
  for (std::vector<double>& times : times_ms) {
    const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::nth_element(times.begin(), middle, times.end());
    medians_ms.push_back(*middle);
  }
  return medians_ms;
}

}  // namespace corf::driver
