#include "fusion/group_reads.h"

#include <algorithm>
#include <set>
#include <utility>

#include "fusion/through_views.h"

namespace corf::fusion {

using graph::NodeId;
using graph::ValueId;

namespace {

/// By load: whether the nest's reduction takes it in. What follows the reduction stands behind it.
std::vector<bool> reduced_loads(const Nest& nest) {
  std::vector<bool> reduced(nest.loads.size(), false);
  for (int op = 0; op < nest.reduce_op; ++op) {
    if (nest.ops[op].kind == NestOp::Kind::kLoad) reduced[nest.ops[op].access] = true;
  }
  return reduced;
}

}  // namespace

GroupReads::GroupReads(const graph::Graph& graph, const StoragePlan& storage,
                       const std::vector<Stage>& stages, WalkCache& cache)
    : graph(graph), storage(storage), stages(stages), cache(cache) {
  for (size_t s = 0; s < stages.size(); ++s) {
    nests.push_back(&cache.nest_of(graph, storage, stages[s]));
    for (const ValueId value : stages[s].stored) producer[value] = static_cast<int>(s);
  }
}

Error GroupReads::fault(int stage, std::string_view what) const {
  return make_error(ErrorCode::kUnsupported, "'{}' cannot walk in step with the group: {}",
                    graph.nodes[stages[stage].nodes[0]].name, what);
}

Status GroupReads::find() {
  for (const Stage& stage : stages) {
    leaves.push_back(std::any_of(stage.stored.begin(), stage.stored.end(),
                                 [&](ValueId value) { return is_read_outside(value); }));
  }
  std::set<int> roots;
  for (const auto& [value, s] : producer) roots.insert(storage.values[value].root);
  for (int c = 0; c < num_stages(); ++c) {
    std::vector<index::Interval> ranges;
    for (const NestAxis& axis : nests[c]->axes) ranges.push_back({0, axis.extent - 1});
    const std::vector<bool> reduced = reduced_loads(*nests[c]);
    for (size_t number = 0; number < reduced.size(); ++number) {
      const Access& load = nests[c]->loads[number];
      if (!roots.count(load.root)) continue;
      if (producer.count(load.value)) {
        add(c, load, reduced[number], load.value, load.coordinates);
        continue;
      }
      if (std::any_of(load.coordinates.begin(), load.coordinates.end(), is_gathered)) {
        return fault(c, "it gathers from a view of another stage's result");
      }
      for (PartRead& part : through_views(graph, storage, load.value, load.coordinates, ranges)) {
        if (!producer.count(part.value)) continue;
        add(c, load, reduced[number], part.value, std::move(part.coordinates));
      }
    }
  }
  return {};
}

void GroupReads::add(int consumer, const Access& load, bool reduced, ValueId value,
                     std::vector<Expr> at) {
  reads.push_back({producer.at(value), consumer, value, load.value, std::move(at), reduced});
}

bool GroupReads::is_inside(NodeId node) const {
  return std::any_of(stages.begin(), stages.end(), [&](const Stage& stage) {
    return std::count(stage.nodes.begin(), stage.nodes.end(), node) > 0;
  });
}

bool GroupReads::is_read_outside(ValueId value) const {
  if (cache.is_output[value]) return true;
  const std::vector<NodeId>& readers = cache.readers[value];
  return std::any_of(readers.begin(), readers.end(), [&](NodeId reader) {
    if (is_inside(reader)) return false;
    return !is_view_in_place(graph, storage, reader) ||
           is_read_outside(graph.nodes[reader].outputs[0]);
  });
}

bool GroupReads::is_read_directly(ValueId value) const {
  bool is_read = false;
  for (const StageRead& read : reads) {
    if (read.value != value) continue;
    if (read.loaded != value) return false;
    is_read = true;
  }
  return is_read;
}

}  // namespace corf::fusion
