#pragma once
#include <functional>
#include <string>
#include <vector>

#include "rewrite/demand.h"
#include "rewrite/value_range.h"

namespace corf::rewrite {

/// Builds a graph node by node out of another one. A pass visits the old nodes in order, emits what
/// replaces them into graph(), and says which new value stands for each old one; it recognises
/// patterns by looking upwards in the new graph, so that what it has just rewritten is seen.
class Rebuild {
 public:
  explicit Rebuild(const graph::Graph& old);

  const graph::Graph& old() const { return old_; }
  graph::Graph& graph() { return graph_; }

  graph::ValueId mapped(graph::ValueId old_value) const { return map_[old_value]; }
  std::vector<graph::ValueId> mapped(const std::vector<graph::ValueId>& old_values) const;

  /// Emits the old node as it is, reading the new values.
  void copy(const graph::Node& node);
  /// `new_value` stands for the old one from now on. A value that was made for it alone takes over
  /// its name.
  void replace(graph::ValueId old_value, graph::ValueId new_value);

  /// Readers of what a new value stands for (nodes, and 1 if it is an output of the graph); 1 for a
  /// value that stands for no old one. It may be too large, never too small, where readers have
  /// been rewritten since.
  int num_readers(graph::ValueId new_value) const;

  /// What its readers tell apart of an old value.
  const Demand& demand(graph::ValueId old_value);
  /// What is known of a new value, and of the operands of a new node.
  const ValueRange& range(graph::ValueId new_value) { return ranges_.of(graph_, new_value); }
  std::vector<ValueRange> ranges(const graph::Compute& compute,
                                 const std::vector<graph::ValueId>& inputs) {
    return ranges_.of_operands(graph_, compute, inputs);
  }

  bool changed() const { return changed_; }
  graph::Graph finish();

 private:
  const graph::Graph& old_;
  graph::Graph graph_;
  std::vector<graph::ValueId> map_;
  std::vector<int> old_readers_;
  std::vector<int> new_readers_;
  ValueRanges ranges_;
  std::vector<Demand> demands_;  // of the old values, once somebody has asked
  bool changed_ = false;
};

/// Rebuilds a graph: `visit` returns whether it has emitted the node's replacement; if not, the
/// node is copied.
using Visit = std::function<bool(Rebuild&, const graph::Node&)>;
graph::Graph rebuild(const graph::Graph& graph, const Visit& visit);
/// Again and again, dead nodes removed between, until nothing changes.
graph::Graph rebuild_until_stable(graph::Graph graph, const Visit& visit);

/// "a+b", each part once: the name of a node that does the work of both. Of long names, a.
std::string joined_name(const std::string& a, const std::string& b);

}  // namespace corf::rewrite
