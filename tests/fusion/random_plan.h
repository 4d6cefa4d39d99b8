#pragma once
#include <optional>
#include <random>

#include "fusion/plan.h"
#include "fusion/resolve.h"
#include "target/machine.h"

namespace corf::test {

/// Random legal plans of a prepared graph.
class RandomPlans {
 public:
  struct Variety {
    int64_t partitions = 0;  // of each group in strips; 0: by chance
    bool vary_tiles = true;  // of the stages' schedules; else those that the search chooses
  };
  RandomPlans(const graph::Graph& graph, const Machine& machine, uint32_t seed)
      : RandomPlans(graph, machine, seed, Variety()) {}
  RandomPlans(const graph::Graph& graph, const Machine& machine, uint32_t seed,
              const Variety& variety)
      : graph_(graph), machine_(machine), random_(seed), variety_(variety) {}

  /// A plan with at least one group in strips: which operators, outer loops with blocks, stream,
  /// strip length, split and the stages' schedules are chosen by chance. nullopt where no try was
  /// legal. What is refused must say why: `faults` counts refusals without a reason.
  std::optional<fusion::FusionPlan> make();
  int faults() const { return faults_; }

 private:
  int64_t pick(int64_t lo, int64_t hi);
  bool chance(double probability);
  fusion::StripSchedule random_strips(const fusion::GroupPlan& group);
  std::optional<fusion::GroupPlan> fuse(const fusion::FusionPlan& plan, size_t first, size_t end);
  void vary(fusion::GroupPlan& group, const fusion::StoragePlan& storage);
  fusion::NestSchedule for_matrix_unit(const fusion::Nest& nest, fusion::NestSchedule schedule);
  fusion::NestSchedule varied(const fusion::Nest& nest, fusion::NestSchedule schedule);

  const graph::Graph& graph_;
  const Machine& machine_;
  std::mt19937 random_;
  const Variety variety_;
  int faults_ = 0;
};

}  // namespace corf::test
