#include "fusion/through_views.h"

#include <algorithm>

namespace corf::fusion {

using graph::NodeId;
using graph::ValueId;
using index::Expr;

namespace {

class Views {
 public:
  Views(const graph::Graph& graph, const StoragePlan& storage,
        const std::vector<index::Interval>& ranges)
      : graph_(graph), storage_(storage), ranges_(ranges) {}

  std::vector<PartRead> parts;

  void follow(ValueId value, std::vector<Expr> coordinates) {
    const NodeId producer = graph_.values[value].producer;
    if (!is_view_in_place(graph_, storage_, producer)) {
      parts.push_back({value, std::move(coordinates)});
      return;
    }
    const graph::Node& node = graph_.nodes[producer];
    const auto& view = std::get<graph::View>(node.op);
    if (const auto* concat = std::get_if<graph::Concat>(&view)) {
      follow_parts(node, concat->axis, coordinates);
      return;
    }
    const ValueId input = node.inputs[0];
    const index::IndexMap map = graph::index_map(view, shape(input), shape(value));
    follow(input, index::compose(map, {std::move(coordinates)}).exprs);
  }

 private:
  const Shape& shape(ValueId value) const { return graph_.values[value].shape; }

  void follow_parts(const graph::Node& concat, int axis, const std::vector<Expr>& coordinates) {
    const index::Interval reached = index::bounds(coordinates[axis], ranges_);
    int64_t start = 0;
    for (const ValueId part : concat.inputs) {
      const int64_t end = start + shape(part)[axis];
      if (reached.lo < end && reached.hi >= start) {
        std::vector<Expr> own = coordinates;
        own[axis] = own[axis] - Expr(start);
        follow(part, std::move(own));
      }
      start = end;
    }
  }

  const graph::Graph& graph_;
  const StoragePlan& storage_;
  const std::vector<index::Interval>& ranges_;
};

}  // namespace

bool is_view_in_place(const graph::Graph& graph, const StoragePlan& storage, NodeId node) {
  const auto& copied = storage.copied_views;  // in graph order
  return std::holds_alternative<graph::View>(graph.nodes[node].op) &&
         !std::binary_search(copied.begin(), copied.end(), node);
}

std::vector<PartRead> through_views(const graph::Graph& graph, const StoragePlan& storage,
                                    ValueId value, std::vector<Expr> coordinates,
                                    const std::vector<index::Interval>& ranges) {
  Views views(graph, storage, ranges);
  views.follow(value, std::move(coordinates));
  return std::move(views.parts);
}

}  // namespace corf::fusion
