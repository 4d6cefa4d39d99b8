#pragma once
#include "cost/group_cost.h"
#include "cost/model.h"
#include "fusion/plan.h"
#include "fusion/split_span.h"

/// What it costs to move values through the caches, for groups of all kinds.
namespace corf::cost {

double bytes_of(const graph::Graph& graph, graph::ValueId value);

/// Whether a materialised value is in no cache any more when it is read again.
bool is_far(double bytes, const Model& model);

/// Passes over a value of so many bytes that reading it costs. The factors of a contraction are
/// read element by element, a few rows at a time: where they are in no cache, that waits for most
/// of them. So do tiles that read in more places than are fetched ahead.
double passes_to_read(const fusion::Access& load, const fusion::ScheduledNest& scheduled,
                      double bytes, const Model& model);

/// And that writing it costs.
double passes_to_write(const fusion::Access& store, const fusion::ScheduledNest& scheduled,
                       double bytes, const Model& model);

/// The part that is gone of what lies among so many bytes: none up to `sure` of the second level,
/// more of it the more there are, all of it 1 - near_share of the level further on.
double gone(double bytes, double sure, const Model& model);

/// How many times the bytes of a value cost where a strip touches short runs of them: their first
/// lines are not fetched ahead, and what shares a line with the next strip moves twice.
double broken_runs(const fusion::Access& access, const fusion::Nest& nest, int stream,
                   const fusion::WalkStage& stage, const Model& model);

/// The same of a kernel whose workers divide each run of a value among them.
double split_runs(const fusion::Access& access, const fusion::ScheduledNest& scheduled,
                  const Model& model);

/// The same of results that leave panel by panel, each row of a block a few lines at a time.
double panel_runs(const fusion::StorageView& storage, const fusion::Nest& nest,
                  const fusion::NestSchedule& schedule, const Model& model);

/// What goes by when a kernel reads and writes materialised values: all of them push each other
/// out.
class Passing {
 public:
  /// `touched`: bytes of all workers.
  Passing(const Model& model, double touched)
      : model_(model), gone_(gone(touched / model.machine.threads, model.k.sure_share, model)) {}

  double gone_part() const { return gone_; }
  /// Cycles in which a worker reads a byte again, if a value has so many.
  double read_cycles(double bytes) const {
    const Rates& rates = model_.rates;
    return is_far(bytes, model_) ? 1 / rates.dram : (1 - gone_) / rates.passed + gone_ / rates.l3;
  }
  /// And writes one: what others have read of it costs its reader.
  double write_cycles(double bytes) const {
    const Rates& rates = model_.rates;
    if (is_far(bytes, model_)) return 1 / rates.dram_written;
    return (1 - gone_) / rates.l2_written + gone_ / rates.l3_written;
  }

 private:
  const Model& model_;
  const double gone_;
};

/// What it costs a worker to read materialised values again.
class Reading {
 public:
  /// `share`: of the loops, that the busiest worker walks.
  Reading(const Model& model, const Passing& passing, const fusion::Before& before, double share,
          bool on_one_worker)
      : model_(model),
        passing_(passing),
        before_(before),
        share_(share),
        on_one_worker_(on_one_worker) {}

  /// `passes`: over so many bytes of a buffer, read with that span.
  void add(double passes, double bytes, int root, int64_t read_span, GroupCost& cost) const;

 private:
  const Model& model_;
  const Passing& passing_;
  const fusion::Before& before_;
  const double share_;
  const bool on_one_worker_;
};

}  // namespace corf::cost
