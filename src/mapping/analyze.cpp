#include "mapping/analyze.h"

#include <algorithm>

namespace corf::mapping {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::NodeId;
using graph::ValueId;
using index::Expr;
using index::IndexMap;

namespace {

/// A value on the way up from an operand to what computes it.
struct Path {
  ValueId value = -1;
  IndexMap map;  // its coordinates over the consumer's axes
  bool guarded = false;
  std::vector<NodeId> views;  // from the consumer upwards
};

/// The integers that operands hold may be anything.
std::vector<index::Interval> variable_ranges(const Compute& compute) {
  std::vector<index::Interval> ranges;
  for (const index::Axis& axis : compute.space.axes) ranges.push_back({0, axis.extent - 1});
  constexpr int64_t kAny = int64_t{1} << 40;
  for (size_t i = 0; i < compute.operands.size(); ++i) ranges.push_back({-kAny, kAny});
  return ranges;
}

/// The paths through a view, one for each of its inputs.
std::vector<Path> through_view(const Graph& graph, const Path& path, const Node& node,
                               const graph::View& view,
                               const std::vector<index::Interval>& ranges) {
  std::vector<Path> paths;
  const Shape& output = graph.values[path.value].shape;
  const auto* concat = std::get_if<graph::Concat>(&view);
  int64_t offset = 0;
  for (ValueId input : node.inputs) {
    const Shape& shape = graph.values[input].shape;
    Path inner{input, path.map, path.guarded, path.views};
    inner.views.push_back(graph.values[path.value].producer);
    if (concat) {
      inner.map.exprs[concat->axis] = inner.map.exprs[concat->axis] - Expr(offset);
      inner.guarded = inner.guarded || node.inputs.size() > 1;
      offset += shape[concat->axis];
    } else {
      inner.map = index::compose(graph::index_map(view, shape, output), path.map);
      inner.guarded = inner.guarded || std::holds_alternative<graph::Pad>(view);
    }
    for (Expr& expr : inner.map.exprs) expr = index::simplify(expr, ranges);
    paths.push_back(std::move(inner));
  }
  return paths;
}

void add_pairs(const Graph& graph, NodeId consumer, int operand, MappingTable& table) {
  const Node& node = graph.nodes[consumer];
  const auto& compute = std::get<Compute>(node.op);
  const std::vector<index::Interval> ranges = variable_ranges(compute);
  std::vector<Path> paths = {
      {node.inputs[operand], compute.operands[operand].map, compute.operands[operand].guarded, {}}};
  while (!paths.empty()) {
    const Path path = std::move(paths.back());
    paths.pop_back();
    const Node& source = graph.producer(path.value);
    if (const auto* view = std::get_if<graph::View>(&source.op)) {
      std::vector<Path> inner = through_view(graph, path, source, *view, ranges);
      // Taken from the back: the first input comes first.
      std::move(inner.rbegin(), inner.rend(), std::back_inserter(paths));
      continue;
    }
    const auto* producer = std::get_if<Compute>(&source.op);
    if (!producer) continue;
    PairMapping pair;
    pair.producer = graph.values[path.value].producer;
    pair.consumer = consumer;
    pair.operand = operand;
    pair.intermediate = path.value;
    pair.views.assign(path.views.rbegin(), path.views.rend());
    pair.producer_name = source.name;
    pair.consumer_name = node.name;
    pair.producer_space = producer->space;
    pair.consumer_space = compute.space;
    pair.map = path.map;
    pair.guarded = path.guarded;
    derive(pair);
    table.pairs.push_back(std::move(pair));
  }
}

}  // namespace

Result<MappingTable> analyze(const Graph& graph) {
  MappingTable table;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    if (!std::holds_alternative<Compute>(graph.nodes[n].op)) continue;
    for (size_t i = 0; i < graph.nodes[n].inputs.size(); ++i) {
      add_pairs(graph, static_cast<NodeId>(n), static_cast<int>(i), table);
    }
  }
  return table;
}

}  // namespace corf::mapping
