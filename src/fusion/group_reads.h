#pragma once
#include <map>
#include <vector>

#include "fusion/resolve.h"

namespace corf::fusion {

/// A read of a stage's result by a stage of the same group, itself or through views.
struct StageRead {
  int producer = -1, consumer = -1;
  graph::ValueId value = -1, loaded = -1;  // the result; what the consumer's nest loads
  std::vector<Expr> coordinates;           // of the result, in the axes of the consumer's nest
  bool reduced = false;                    // by the consumer's reduction
};

/// Who makes and reads what within a group, and who else reads it. Only as long as all that it was
/// made from.
class GroupReads {
 public:
  GroupReads(const graph::Graph& graph, const StoragePlan& storage,
             const std::vector<Stage>& stages, WalkCache& cache);

  /// Fills in `reads` and `leaves`. Errors: kUnsupported if a stage gathers from a view of
  /// another's result.
  Status find();

  Error fault(int stage, std::string_view what) const;
  /// Whether other groups read the value or a view of it.
  bool is_read_outside(graph::ValueId value) const;
  /// Whether stages of the group read the value, none of them through a view.
  bool is_read_directly(graph::ValueId value) const;
  int num_stages() const { return static_cast<int>(stages.size()); }
  /// Of a stage's results, which all have the same.
  const Shape& points(int stage) const { return graph.values[stages[stage].stored[0]].shape; }

  const graph::Graph& graph;
  const StoragePlan& storage;
  const std::vector<Stage>& stages;
  WalkCache& cache;
  std::vector<const Nest*> nests;  // by stage, not canonical
  std::map<graph::ValueId, int> producer;
  std::vector<StageRead> reads;
  std::vector<bool> leaves;  // by stage: other groups read what it stores

 private:
  void add(int consumer, const Access& load, bool reduced, graph::ValueId value,
           std::vector<Expr> at);
  bool is_inside(graph::NodeId node) const;
};

}  // namespace corf::fusion
