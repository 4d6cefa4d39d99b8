#include "cost/group_cost.h"

#include <algorithm>
#include <set>

#include "cost/nest_cycles.h"
#include "cost/strip_cost.h"
#include "cost/traffic.h"
#include "support/budget.h"

namespace corf::cost {
namespace {

using fusion::Access;
using fusion::GroupPlan;
using fusion::Nest;

/// Bytes of the activations that the nest reads and writes.
double touched_bytes(const graph::Graph& graph, const fusion::StorageView& storage,
                     const Nest& nest) {
  std::set<graph::ValueId> values;
  for (const auto& store : nest.stores) values.insert(store.access.value);
  for (const Access& load : nest.loads) {
    if (!storage.is_constant(load.root)) values.insert(load.value);
  }
  double bytes = 0;
  for (const graph::ValueId value : values) bytes += bytes_of(graph, value);
  return bytes;
}

GroupCost predict_single(const graph::Graph& graph, const fusion::StorageView& storage,
                         const GroupPlan& group, const Model& model, const fusion::Before& before) {
  const Rates& rates = model.rates;
  GroupCost cost;
  for (size_t n = 0; n < group.nests.size(); ++n) {
    const auto& [nest, schedule] = group.nests[n];
    const NestCost alone = nest_cost(storage, nest, schedule, model);
    const double share = alone.share;
    cost.compute += alone.compute;
    cost.streamed += alone.streamed;
    cost.waited += std::max(0.0, alone.streamed - alone.compute);
    const Passing passing(model, touched_bytes(graph, storage, nest));
    const Reading reading(model, passing, before, share, schedule.partitions == 1);
    std::set<graph::ValueId> values;
    for (const auto& store : nest->stores) {
      const double bytes = bytes_of(graph, store.access.value);
      if (!values.insert(store.access.value).second) continue;
      const double runs = is_far(bytes, model) ? panel_runs(storage, nest, schedule, model) : 1;
      const double passes = passes_to_write(store.access, group.nests[n], bytes, model) *
                            split_runs(store.access, group.nests[n], model);
      cost.memory += share * runs * passes * bytes * passing.write_cycles(bytes);
    }
    for (const Access& load : nest->loads) {
      if (!values.insert(load.value).second) continue;
      if (storage.is_constant(load.root)) continue;
      const double bytes = bytes_of(graph, load.value);
      const double passes = passes_to_read(load, group.nests[n], bytes, model) *
                            split_runs(load, group.nests[n], model);
      reading.add(passes, bytes, load.root, fusion::split_span(group, n, load), cost);
    }
    const bool alone_before =
        n == 0 ? before.on_one_worker : group.nests[n - 1].schedule.partitions == 1;
    if (!alone_before || schedule.partitions > 1) cost.barrier += rates.barrier;
  }
  return cost;
}

}  // namespace

double GroupCost::total(const Coefficients& k) const {
  const double hidden = k.hidden_memory * memory;
  const double seen = std::max(waited, k.seen_weights * streamed);
  return std::max(compute + seen, streamed + hidden) + (memory - hidden) + remote + barrier;
}

GroupCost predict(const graph::Graph& graph, const fusion::StoragePlan& storage,
                  const GroupPlan& group, const Model& model, const fusion::Before& before) {
  look_at_budget();
  const fusion::StorageView view(storage, group.walk);
  if (group.walk) return strip_cost(graph, view, group, model, before);
  return predict_single(graph, view, group, model, before);
}

}  // namespace corf::cost
