#include "onnx/indices.h"

#include <algorithm>

#include "index/expr.h"

namespace corf::onnx {
namespace {

using index::Interval;

constexpr int kMaxDepth = 32;  // of producers that are looked through

Interval join(const Interval& a, const Interval& b) {
  return {std::min(a.lo, b.lo), std::max(a.hi, b.hi)};
}

std::optional<Interval> range_of(const graph::Graph& graph, ValueId value, int depth);

/// Of a position that arg-min or arg-max finds, or of what is passed on as another integer type.
std::optional<Interval> range_of(const graph::Graph& graph, const graph::Node& node,
                                 const graph::Compute& compute, int depth) {
  if (compute.combiner == graph::Combiner::kArgMin ||
      compute.combiner == graph::Combiner::kArgMax) {
    return Interval{0, std::max<int64_t>(compute.space.axes.back().extent, 1) - 1};
  }
  if (compute.combiner != graph::Combiner::kNone || compute.operands.size() != 1 ||
      compute.operands[0].guarded) {
    return std::nullopt;
  }
  for (const graph::ScalarNode& scalar : compute.body.nodes) {
    const bool passes_on = scalar.op == ScalarOp::kOperand || scalar.op == ScalarOp::kCast;
    if (!passes_on || (scalar.dtype != DType::kI32 && scalar.dtype != DType::kI64)) {
      return std::nullopt;
    }
  }
  return range_of(graph, node.inputs[0], depth + 1);
}

/// Where the values of an integer tensor are known to lie; nullopt if that is not known.
std::optional<Interval> range_of(const graph::Graph& graph, ValueId value, int depth) {
  if (depth > kMaxDepth) return std::nullopt;
  const graph::Node& node = graph.producer(value);
  if (const auto* constant = std::get_if<graph::Constant>(&node.op)) {
    const Tensor& tensor = constant->tensor;
    Interval range{0, 0};
    for (int64_t i = 0; i < tensor.num_elems(); ++i) {
      const Interval one{tensor.at_i64(i), tensor.at_i64(i)};
      range = i == 0 ? one : join(range, one);
    }
    return range;
  }
  if (const auto* compute = std::get_if<graph::Compute>(&node.op)) {
    return range_of(graph, node, *compute, depth);
  }
  if (const auto* opaque = std::get_if<graph::Opaque>(&node.op)) {
    const auto axis = opaque->attributes.find("axis");
    const bool is_position = opaque->routine == "TopK" && node.outputs[0] != value;
    if (!is_position || axis == opaque->attributes.end()) return std::nullopt;
    const Shape& shape = graph.values[node.inputs[0]].shape;
    return Interval{0, std::max<int64_t>(shape.at(std::get<int64_t>(axis->second)), 1) - 1};
  }
  const auto* view = std::get_if<graph::View>(&node.op);
  if (view == nullptr || std::holds_alternative<graph::Pad>(*view)) return std::nullopt;
  std::optional<Interval> range;
  for (ValueId input : node.inputs) {
    const auto part = range_of(graph, input, depth + 1);
    if (!part) return std::nullopt;
    range = range ? join(*range, *part) : part;
  }
  return range;
}

Status check_known(const NodeImport& node, const Tensor& known,
                   const std::vector<int64_t>& extents) {
  for (int64_t i = 0; i < known.num_elems(); ++i) {
    const int64_t index = known.at_i64(i);
    const int64_t extent = extents[i % static_cast<int64_t>(extents.size())];
    if (index < -extent || index >= extent) {
      return node.invalid("index {} is outside of an axis of {} elements", index, extent);
    }
  }
  return {};
}

}  // namespace

Result<ValueId> checked_indices(NodeImport& node, std::string_view suffix, ValueId indices,
                                const std::vector<int64_t>& extents) {
  if (const Tensor* known = node.known(indices)) {
    CORF_RETURN_IF_ERROR(check_known(node, *known, extents));
    return indices;
  }
  const int64_t least = *std::min_element(extents.begin(), extents.end());
  const auto range = range_of(node.graph, indices, 0);
  const bool is_inside = range && range->lo >= -least && range->hi < least;
  // What an If did not choose is computed all the same, and its indices may be anything.
  if (is_inside || node.is_speculative()) return indices;
  return node.graph.add_opaque(node.part(suffix), {"CheckIndices", {{"extents", extents}}},
                               {indices}, {{node.dtype(indices), node.shape(indices)}})[0];
}

}  // namespace corf::onnx
