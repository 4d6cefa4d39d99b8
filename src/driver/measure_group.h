#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "driver/known_times.h"
#include "fusion/plan.h"
#include "graph/graph.h"
#include "loop/program.h"
#include "runtime/executable.h"
#include "runtime/team.h"
#include "target/machine.h"

namespace corf::driver {

/// What a group's operands meet: in a network, something between the two.
enum class Caches : uint8_t { kWarm, kEmptied };

/// Times groups of one graph on this machine, each as a program of its own. Groups with equal code
/// are timed once.
class GroupTimer {
 public:
  /// `graph`, `team` and `known` outlive the timer; the team has machine.threads workers. `known`:
  /// where times of earlier processes are found and new ones kept; may be null.
  GroupTimer(const graph::Graph& graph, const Machine& machine, std::shared_ptr<runtime::Team> team,
             Caches caches, const KnownTimes* known = nullptr);

  /// Milliseconds of a run, the lower quartile of some; kEmptied: the first two cache levels hold
  /// nothing of it. Nests have schedules.
  /// Errors: those of lowering and code generation; kOutOfMemory.
  Result<double> measure_group(const fusion::StoragePlan& storage, const fusion::GroupPlan& group);

  /// Median milliseconds of each of these plans for the whole graph, run in turns.
  Result<std::vector<double>> measure_plans(const std::vector<fusion::FusionPlan>& plans);

  /// Groups that were compiled and run, and those of which an earlier process knew the time.
  int num_measured() const { return num_measured_; }
  int num_known() const { return num_known_; }

 private:
  void empty_caches();
  Result<std::shared_ptr<runtime::Executable>> load(loop::Program program,
                                                    const fusion::FusionPlan& plan);
  Result<double> run_ms(runtime::Executable& executable);
  Result<double> measure(loop::Program program, const fusion::FusionPlan& plan);

  const graph::Graph& graph_;
  const Machine machine_;
  std::shared_ptr<runtime::Team> team_;
  const Caches caches_;
  const KnownTimes* const known_;
  std::map<std::string, double> known_ms_;  // by the text of the kernels
  int num_measured_ = 0, num_known_ = 0;
  std::vector<Tensor> swept_;  // by worker: read to drive out what the caches hold
  std::vector<Tensor> arrays_;
  std::vector<const void*> inputs_;
  std::vector<void*> outputs_;
};

}  // namespace corf::driver
