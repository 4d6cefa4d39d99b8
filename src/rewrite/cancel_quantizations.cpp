#include "rewrite/cancel_quantizations.h"

#include <algorithm>
#include <cmath>

#include "rewrite/quantization.h"
#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::ValueId;

namespace {

/// Scales whose quotients and products with differences of bytes are normal numbers.
bool is_usual(double scale) { return scale > 0x1p-100 && scale < 0x1p100; }

/// The bytes that a value is made of with the scale and zero point that are wanted.
struct Source {
  ValueId bytes = -1;
  index::IndexMap map;
};
std::optional<Source> source_of(const Graph& graph, ValueId value, const Quantization& wanted) {
  const Node& node = graph.producer(value);
  const auto found = match_dequantization(graph, node);
  if (!found || !found->scale || !found->scale->is_single() || !found->zero_point.is_single() ||
      found->zero_point_value >= 0) {
    return std::nullopt;
  }
  const ValueId bytes = node.inputs[found->operand];
  if (graph.values[bytes].dtype != wanted.dtype || !is_usual(wanted.scale) ||
      found->scale->values[0] != wanted.scale ||
      found->zero_point.values[0] != static_cast<double>(wanted.zero_point)) {
    return std::nullopt;
  }
  return Source{bytes, std::get<Compute>(node.op).operands[found->operand].map};
}

/// The bytes of `value` at the map's coordinates, as a value over `space`.
ValueId moved_bytes(Graph& graph, ValueId bytes, index::IndexMap map,
                    const index::IterationSpace& space, const Node& named) {
  Compute compute;
  compute.space = space;
  const std::vector<index::Interval> ranges = axis_ranges(space);
  for (index::Expr& expr : map.exprs) expr = index::simplify(expr, ranges);
  compute.operands.push_back({std::move(map)});
  if (reads_own_point(compute.operands[0], graph.values[bytes].shape, compute.space)) return bytes;
  compute.body.operand(0, graph.values[bytes].dtype);
  return graph.add_compute(named.name, std::move(compute), {bytes}, named.origin);
}

bool is_maximum(const Compute& compute) {
  return compute.combiner == graph::Combiner::kMax && compute.operands.size() == 1 &&
         returned_operand(compute.body) == 0 &&
         reads_axes_only(compute.operands[0], compute.space) &&
         (!compute.operands[0].guarded || std::isinf(compute.operands[0].padding));
}

/// `value` quantised as a whole by that node.
ValueId quantized(Graph& graph, ValueId value, const Node& quantization) {
  Compute compute = std::get<Compute>(quantization.op);
  const Shape& shape = graph.values[value].shape;
  compute.space = {};
  for (size_t d = 0; d < shape.size(); ++d) {
    compute.space.axes.push_back({"d" + std::to_string(d), shape[d], index::AxisKind::kParallel});
  }
  compute.operands[0].map = index::IndexMap::identity(static_cast<int>(shape.size()));
  return graph.add_compute(quantization.name, std::move(compute), {value}, quantization.origin);
}

/// What makes bytes of a value's elements, wherever these are read.
struct Wanted {
  const Node& node;
  Quantization quantization;
};

/// The bytes of `value` quantised that way; -1 where that takes more than moving bytes, or
/// quantising the parts of a concatenation (`is_part`) in its place. What has to be made is made if
/// `make` is set, else -2 stands for it.
ValueId bytes_of(Rebuild& rebuild, ValueId value, const Wanted& all, bool make, bool is_part) {
  Graph& graph = rebuild.graph();
  const Quantization& wanted = all.quantization;
  if (const auto source = source_of(graph, value, wanted)) {
    if (!make) return source->bytes;
    const Node dequantization = graph.producer(value);
    return moved_bytes(graph, source->bytes, source->map,
                       std::get<Compute>(dequantization.op).space, dequantization);
  }
  const Node node = graph.producer(value);
  const auto* view = std::get_if<graph::View>(&node.op);
  const auto* compute = std::get_if<Compute>(&node.op);
  const bool moves =
      view ? !std::holds_alternative<graph::Pad>(*view) : compute && is_maximum(*compute);
  if (!moves || rebuild.num_readers(value) > 1) {
    if (!is_part) return -1;
    return make ? quantized(graph, value, all.node) : -2;
  }
  // Bytes are less to move, and what makes a part makes bytes of it at once.
  const bool has_parts = view && std::holds_alternative<graph::Concat>(*view);
  std::vector<ValueId> inputs;
  for (const ValueId input : node.inputs) {
    const ValueId bytes = bytes_of(rebuild, input, all, make, has_parts);
    if (bytes == -1) return -1;
    inputs.push_back(bytes);
  }
  if (!make) return -2;
  const Shape shape = graph.values[value].shape;
  if (view) return graph.add_view(node.name, *view, std::move(inputs), shape, node.origin);
  Compute maximum = *compute;
  maximum.body = {};
  maximum.body.operand(0, wanted.dtype);
  if (maximum.operands[0].guarded) {
    maximum.operands[0].padding = wanted.dtype == DType::kI8 ? -128 : 0;
  }
  return graph.add_compute(node.name, std::move(maximum), std::move(inputs), node.origin);
}

bool cancel(Rebuild& rebuild, const Node& node) {
  const auto quantization_of_node = match_quantization(node);
  if (!quantization_of_node) return false;
  const Wanted wanted{node, *quantization_of_node};
  const ValueId input = rebuild.mapped(node.inputs[0]);
  if (bytes_of(rebuild, input, wanted, false, false) == -1) return false;
  const auto& quantization = std::get<Compute>(node.op);
  Graph& graph = rebuild.graph();
  // Read at once where nothing is between the two.
  if (const auto source = source_of(graph, input, wanted.quantization)) {
    const index::IndexMap map = index::compose(source->map, quantization.operands[0].map);
    rebuild.replace(node.outputs[0],
                    moved_bytes(graph, source->bytes, map, quantization.space, node));
    return true;
  }
  const ValueId bytes = bytes_of(rebuild, input, wanted, true, false);
  rebuild.replace(node.outputs[0], moved_bytes(graph, bytes, quantization.operands[0].map,
                                               quantization.space, node));
  return true;
}

}  // namespace

Result<Graph> cancel_quantizations(Graph graph) {
  return without_dead_nodes(rebuild(graph, cancel));
}

}  // namespace corf::rewrite
