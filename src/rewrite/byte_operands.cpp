#include "rewrite/byte_operands.h"

#include <algorithm>

#include "rewrite/quantization.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::Operand;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;
using index::Expr;

namespace {

/// The body of a quantisation, to numbers that are 128 larger.
ScalarBody body_as_u8(const ScalarBody& body, const Quantization& quantization) {
  const auto rounded = std::find_if(body.nodes.begin(), body.nodes.end(), [](const auto& node) {
    return node.op == ScalarOp::kRoundEven;
  });
  ScalarBody result;
  result.nodes.assign(body.nodes.begin(), rounded + 1);
  const DType wide = rounded->dtype;
  const auto with = [&](ScalarOp op, double number) {
    const int last = static_cast<int>(result.nodes.size()) - 1;
    result.apply(op, last, result.constant(number, wide));
  };
  with(ScalarOp::kAdd, static_cast<double>(quantization.zero_point + 128));
  with(ScalarOp::kMax, 0);
  with(ScalarOp::kMin, 255);
  result.cast(static_cast<int>(result.nodes.size()) - 1, DType::kU8);
  return result;
}

}  // namespace

ValueId ByteOperands::as_u8(Graph& graph, ValueId value) {
  if (graph.values[value].dtype == DType::kU8) return value;
  auto [known, is_new] = made_.try_emplace({value, 0}, -1);
  if (!is_new) return known->second;
  const Node& producer = graph.producer(value);
  Compute compute;
  std::vector<ValueId> inputs = {value};
  const auto* elementwise = std::get_if<Compute>(&producer.op);
  const auto quantization = match_quantization(producer);
  if (elementwise && quantization) {
    // Quantised to u8 in the first place.
    compute = *elementwise;
    inputs = producer.inputs;
    compute.body = body_as_u8(compute.body, *quantization);
  } else {
    for (const int64_t extent : graph.values[value].shape) {
      compute.space.axes.push_back({"d", extent, index::AxisKind::kParallel});
    }
    for (size_t d = 0; d < compute.space.axes.size(); ++d) {
      compute.space.axes[d].name += std::to_string(d);
    }
    compute.operands.push_back(
        {index::IndexMap::identity(static_cast<int>(compute.space.axes.size()))});
    ScalarBody& body = compute.body;
    const int wide = body.cast(body.operand(0, DType::kI8), DType::kI32);
    body.cast(body.apply(ScalarOp::kAdd, wide, body.constant_i64(128, DType::kI32)), DType::kU8);
  }
  const std::string name = producer.name, origin = producer.origin;
  known->second = graph.add_compute(name, std::move(compute), std::move(inputs), origin);
  return known->second;
}

std::optional<ValueId> ByteOperands::with_channels(Graph& graph, ValueId value, int dim,
                                                   int64_t channels) {
  auto known = made_.find({value, channels});
  if (known != made_.end()) return known->second;
  const Node producer = graph.producer(value);
  const auto* elementwise = std::get_if<Compute>(&producer.op);
  if (!elementwise || !is_elementwise(*elementwise)) return std::nullopt;
  Compute compute = *elementwise;
  compute.space.axes[dim].extent = channels;
  for (Operand& operand : compute.operands) {
    if (operand.guarded) return std::nullopt;
    for (const Expr& expr : operand.map.exprs) {
      if (!index::depends_on(expr, dim)) continue;
      if (!expr.is_variable(dim)) return std::nullopt;
      operand.guarded = true;
    }
  }
  return made_[{value, channels}] =
             graph.add_compute(producer.name, std::move(compute), producer.inputs, producer.origin);
}

ValueId side_by_side(Graph& graph, ValueId x, const index::IndexMap& read,
                     const index::IterationSpace& space, int axis) {
  const Shape shape = graph.values[x].shape;
  index::IndexMap map = index::IndexMap::identity(static_cast<int>(shape.size()));
  ValueId source = x;
  while (const graph::View* view = producing_view(graph, source)) {
    if (std::holds_alternative<graph::Concat>(*view) || std::holds_alternative<graph::Pad>(*view)) {
      break;
    }
    const ValueId input = graph.producer(source).inputs[0];
    map = index::compose(
        graph::index_map(*view, graph.values[input].shape, graph.values[source].shape), map);
    source = input;
  }
  if (source == x) return x;
  const auto ranges = axis_ranges(space);
  int dims = 0;
  bool is_plain = true;
  for (const Expr& expr : index::compose(map, read).exprs) {
    const index::Linear linear = index::to_linear(index::simplify(expr, ranges));
    if (index::depends_on(linear.rest, axis)) is_plain = false;
    const int64_t step = linear.coefficient(axis);
    if (step != 0) ++dims;
    if (step != 0 && step != 1) is_plain = false;
  }
  if (is_plain && dims == 1) return x;
  Compute moved;
  for (size_t d = 0; d < shape.size(); ++d) {
    moved.space.axes.push_back({"d" + std::to_string(d), shape[d], index::AxisKind::kParallel});
  }
  const auto own_ranges = axis_ranges(moved.space);
  for (Expr& expr : map.exprs) expr = index::simplify(expr, own_ranges);
  moved.operands.push_back({std::move(map)});
  moved.body.operand(0, graph.values[x].dtype);
  const std::string name = graph.producer(x).name, origin = graph.producer(x).origin;
  return graph.add_compute(name, std::move(moved), {source}, origin);
}

}  // namespace corf::rewrite
