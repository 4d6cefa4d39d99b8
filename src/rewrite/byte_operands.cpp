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

namespace {

/// A space of so many points, its axes named after dimensions.
index::IterationSpace dense_space(const Shape& shape) {
  index::IterationSpace space;
  for (size_t d = 0; d < shape.size(); ++d) {
    space.axes.push_back({"d" + std::to_string(d), shape[d], index::AxisKind::kParallel});
  }
  return space;
}

}  // namespace

ValueId with_margins(Graph& graph, ValueId x, Operand& read, const index::IterationSpace& space,
                     ValueId zero_point) {
  const Shape shape = graph.values[x].shape;
  const auto ranges = axis_ranges(space);
  Shape wide = shape, inside(shape.size(), 1);
  Compute compute;
  Operand source, is_inside, zero;
  for (size_t d = 0; d < shape.size(); ++d) {
    const index::Interval reach = index::bounds(read.map.exprs[d], ranges);
    const int64_t before = std::max<int64_t>(0, -reach.lo);
    wide[d] = before + std::max(shape[d], reach.hi + 1);
    const Expr at = Expr::variable(static_cast<int>(d)) - Expr(before);
    source.map.exprs.push_back(at);
    const bool has_margins = wide[d] != shape[d];
    if (has_margins) inside[d] = shape[d];
    is_inside.map.exprs.push_back(has_margins ? at : Expr(0));
    read.map.exprs[d] = index::simplify(read.map.exprs[d] + Expr(before), ranges);
  }
  compute.space = dense_space(wide);
  source.guarded = is_inside.guarded = true;
  zero.map.exprs.assign(graph.values[zero_point].shape.size(), Expr(0));
  compute.operands = {source, is_inside, zero};
  const DType dtype = graph.values[x].dtype;
  Tensor ones(dtype, inside);
  for (int64_t i = 0; i < ones.num_elems(); ++i) ones.set_i64(i, 1);
  ScalarBody& body = compute.body;
  const int byte = body.operand(0, dtype), mask = body.operand(1, dtype);
  const int margin = body.cast(body.operand(2, graph.values[zero_point].dtype), dtype);
  body.apply(ScalarOp::kSelect, body.cast(mask, DType::kBool), byte, margin);
  const Node& producer = graph.producer(x);
  const std::string name = producer.name + "/margins", origin = producer.origin;
  read.guarded = false;
  const ValueId mask_value = graph.add_constant(name + "/inside", std::move(ones));
  return graph.add_compute(name, std::move(compute), {x, mask_value, zero_point}, origin);
}

ByteSums sums_of_bytes(Graph& graph, ValueId x, const Operand& read,
                       const index::IterationSpace& space, int channels, const std::string& name) {
  Operand operand = read;
  const Shape shape = graph.values[x].shape;
  const auto reads_channel = [&](const Expr& expr) { return index::depends_on(expr, channels); };
  auto& exprs = operand.map.exprs;
  const auto dim = std::find_if(exprs.begin(), exprs.end(), reads_channel);
  const auto extent = [&] { return shape[static_cast<size_t>(dim - exprs.begin())]; };
  const bool has_channels = dim != exprs.end() && dim->is_variable(channels) &&
                            std::count_if(exprs.begin(), exprs.end(), reads_channel) == 1 &&
                            extent() == space.axes[channels].extent;
  const auto as_i32 = [&](Compute& compute, ValueId value) {
    compute.body.cast(compute.body.operand(0, graph.values[value].dtype), DType::kI32);
    compute.combiner = graph::Combiner::kSum;
  };
  if (has_channels) {
    Compute over_channels;
    const auto d = static_cast<int>(dim - exprs.begin());
    const int64_t summed = extent();
    Shape left = shape;
    left[static_cast<size_t>(d)] = 1;
    over_channels.space = dense_space(left);
    over_channels.space.axes.push_back({"channel", summed, index::AxisKind::kReduction});
    over_channels.operands = {{index::IndexMap::identity(static_cast<int>(shape.size()))}};
    over_channels.operands[0].map.exprs[d] = Expr::variable(static_cast<int>(shape.size()));
    as_i32(over_channels, x);
    x = graph.add_compute(name + "/channels_of_x", std::move(over_channels), {x});
    *dim = Expr(0);
    operand.padding *= static_cast<double>(summed);
  }
  ByteSums result;
  Compute sum;
  std::vector<int> position(space.axes.size(), -1);
  for (int axis = 0; axis < static_cast<int>(space.axes.size()); ++axis) {
    const bool is_read = std::any_of(exprs.begin(), exprs.end(), [&](const Expr& expr) {
      return index::depends_on(expr, axis);
    });
    const bool is_summed = space.axes[axis].kind == index::AxisKind::kReduction;
    if (!is_read && (!is_summed || (has_channels && axis == channels))) continue;
    position[axis] = static_cast<int>(sum.space.axes.size());
    sum.space.axes.push_back(space.axes[axis]);
    if (!is_summed) result.axes.push_back(axis);
  }
  for (Expr& expr : exprs) {
    expr = index::substitute(
        expr, [&](int axis) -> std::optional<Expr> { return Expr::variable(position[axis]); });
  }
  sum.operands = {operand};
  if (sum.space.num_parallel() < static_cast<int>(sum.space.axes.size())) {
    as_i32(sum, x);
  } else {
    sum.body.operand(0, DType::kI32);
  }
  result.value = graph.add_compute(name + "/sums_of_x", std::move(sum), {x});
  return result;
}

}  // namespace corf::rewrite
