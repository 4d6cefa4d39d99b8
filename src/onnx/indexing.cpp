#include <algorithm>

#include "onnx/compose.h"
#include "onnx/indices.h"

namespace corf::onnx {
namespace {

using index::Expr;

/// Parallel axes of the given extents.
index::IterationSpace parallel_space(const Shape& shape) {
  index::IterationSpace space;
  for (size_t d = 0; d < shape.size(); ++d) {
    space.axes.push_back({fmt::format("d{}", d), shape[d], index::AxisKind::kParallel});
  }
  return space;
}

/// The value of operand j as a coordinate in a dimension of the given extent. Negative indices
/// count from the end; the modulo also keeps what is out of range inside.
Expr wrapped_index(size_t num_axes, size_t j, int64_t extent) {
  return mod(Expr::variable(static_cast<int>(num_axes + j)), std::max<int64_t>(extent, 1));
}

Status import_gather(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId data = node.input(0);
  ValueId indices = node.input(1);
  CORF_ASSIGN(int axis, normal_axis(node, node.int_attribute("axis", 0), node.rank(data)));
  int64_t extent = node.shape(data)[axis];
  if (extent == 0 && num_elems(node.shape(indices)) > 0) {
    return node.invalid("the axis has no elements");
  }
  CORF_ASSIGN(indices, checked_indices(node, "indices", indices, {extent}));
  const Tensor* known = node.known(indices);
  if (known != nullptr && known->num_elems() == 1) {
    // One known index is a slice.
    int64_t index = known->at_i64(0);
    if (index < 0) index += extent;
    Shape shape = node.shape(data);
    shape.erase(shape.begin() + axis);
    Shape inner = node.shape(indices);
    shape.insert(shape.begin() + axis, inner.begin(), inner.end());
    ValueId row = slice(node.graph, node.part("slice"), data, axis, index, index + 1);
    node.set_output(reshape(node.graph, node.name(), row, shape));
    return {};
  }
  node.set_output(graph::gather(node.graph, node.name(), data, indices, axis));
  return {};
}

Status import_gather_elements(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId data = node.input(0);
  ValueId indices = node.input(1);
  int rank = node.rank(data);
  CORF_ASSIGN(int axis, normal_axis(node, node.int_attribute("axis", 0), rank));
  Shape from = node.shape(data);
  Shape to = node.shape(indices);
  bool fits = from.size() == to.size();
  for (int d = 0; fits && d < rank; ++d) fits = d == axis || to[d] <= from[d];
  if (!fits || (from[axis] == 0 && num_elems(to) > 0)) {
    return node.invalid("indices {} do not fit data {}", to_string(to), to_string(from));
  }
  CORF_ASSIGN(indices, checked_indices(node, "indices", indices, {from[axis]}));
  graph::Compute compute;
  compute.space = parallel_space(to);
  graph::Operand source;
  source.map = index::IndexMap::identity(rank);
  source.map.exprs[axis] = wrapped_index(to.size(), 1, from[axis]);
  graph::Operand index_operand;
  index_operand.map = index::IndexMap::identity(rank);
  compute.operands = {source, index_operand};
  compute.body.operand(0, node.dtype(data));
  node.set_output(node.graph.add_compute(node.name(), std::move(compute), {data, indices}));
  return {};
}

/// The last dimension of the indices holds coordinates of data's dimensions from batch_dims on:
/// each is an operand of its own, the same indices read at a fixed last coordinate.
Status import_gather_nd(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId data = node.input(0);
  ValueId indices = node.input(1);
  Shape from = node.shape(data);
  Shape index_shape = node.shape(indices);
  int64_t batch_dims = node.int_attribute("batch_dims", 0);
  auto rank = static_cast<int64_t>(from.size());
  bool fits = !index_shape.empty() && batch_dims >= 0 &&
              batch_dims < static_cast<int64_t>(index_shape.size()) && index_shape.back() >= 1 &&
              index_shape.back() <= rank - batch_dims;
  for (int64_t d = 0; fits && d < batch_dims; ++d) fits = from[d] == index_shape[d];
  if (!fits) {
    return node.invalid("indices {} do not fit data {} with {} batch dimensions",
                        to_string(index_shape), to_string(from), batch_dims);
  }
  int64_t num_coordinates = index_shape.back();
  Shape to(index_shape.begin(), index_shape.end() - 1);
  size_t num_outer = to.size();
  to.insert(to.end(), from.begin() + batch_dims + num_coordinates, from.end());
  graph::Compute compute;
  compute.space = parallel_space(to);
  graph::Operand source;
  for (int64_t d = 0; d < batch_dims; ++d) {
    source.map.exprs.push_back(Expr::variable(static_cast<int>(d)));
  }
  const std::vector<int64_t> extents(from.begin() + batch_dims,
                                     from.begin() + batch_dims + num_coordinates);
  if (num_elems(extents) == 0 && num_elems(index_shape) > 0) {
    return node.invalid("data has no elements");
  }
  CORF_ASSIGN(indices, checked_indices(node, "indices", indices, extents));
  for (int64_t k = 0; k < num_coordinates; ++k) {
    source.map.exprs.push_back(wrapped_index(to.size(), k + 1, from[batch_dims + k]));
  }
  for (size_t d = num_outer; d < to.size(); ++d) {
    source.map.exprs.push_back(Expr::variable(static_cast<int>(d)));
  }
  compute.operands.push_back(source);
  std::vector<ValueId> inputs = {data};
  for (int64_t k = 0; k < num_coordinates; ++k) {
    graph::Operand coordinate;
    coordinate.map = index::IndexMap::identity(static_cast<int>(num_outer));
    coordinate.map.exprs.push_back(Expr(k));
    compute.operands.push_back(coordinate);
    inputs.push_back(indices);
  }
  compute.body.operand(0, node.dtype(data));
  node.set_output(node.graph.add_compute(node.name(), std::move(compute), inputs));
  return {};
}

Status import_one_hot(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  ValueId indices = node.input(0);
  ValueId values = node.input(2);
  const Tensor* known_depth = node.known(node.input(1));
  if (known_depth == nullptr) return node.depends_on_data(1, "depth");
  if (known_depth->num_elems() != 1) return node.invalid("its depth is not one number");
  const int64_t depth = known_depth->at_i64(0);
  if (depth < 1) return node.invalid("its depth is {}", depth);
  if (node.shape(values) != Shape{2}) {
    return node.invalid("values of shape {}, not 2", to_string(node.shape(values)));
  }
  Shape shape = node.shape(indices);
  CORF_ASSIGN(int axis, normal_axis(node, node.int_attribute("axis", -1),
                                    static_cast<int>(shape.size()) + 1));
  indices = cast(node.graph, node.part("indices"), indices, DType::kI64);
  graph::Compute compute;
  graph::Operand index_operand;
  shape.insert(shape.begin() + axis, depth);
  auto count = checked_num_elems(shape);
  if (!count.ok()) return node.invalid("{}", count.error().message);
  compute.space = parallel_space(shape);
  for (int d = 0; d < static_cast<int>(shape.size()); ++d) {
    if (d != axis) index_operand.map.exprs.push_back(Expr::variable(d));
  }
  graph::Operand off;
  off.map.exprs = {Expr(0)};
  graph::Operand on;
  on.map.exprs = {Expr(1)};
  compute.operands = {index_operand, off, on};
  ScalarBody& body = compute.body;
  int index = body.operand(0, DType::kI64);
  int off_value = body.operand(1, node.dtype(values));
  int on_value = body.operand(2, node.dtype(values));
  int position = body.axis_index(axis);
  int from_end = body.apply(ScalarOp::kSub, position, body.constant_i64(depth, DType::kI64));
  int hit = body.apply(ScalarOp::kOr, body.apply(ScalarOp::kEqual, index, position),
                       body.apply(ScalarOp::kEqual, index, from_end));
  body.apply(ScalarOp::kSelect, hit, on_value, off_value);
  node.set_output(
      node.graph.add_compute(node.name(), std::move(compute), {indices, values, values}));
  return {};
}

/// Keeps column - row >= k (upper) or <= k (lower) of the last two dimensions.
Status import_trilu(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  int rank = node.rank(x);
  if (rank < 2) return node.invalid("input of rank {}", rank);
  if (node.has(1) && num_elems(node.shape(node.input(1))) != 1) {
    return node.invalid("k is not one number");
  }
  bool upper = node.int_attribute("upper", 1) != 0;
  graph::Compute compute;
  compute.space = parallel_space(node.shape(x));
  graph::Operand operand;
  operand.map = index::IndexMap::identity(rank);
  compute.operands = {operand};
  std::vector<ValueId> inputs = {x};
  ScalarBody& body = compute.body;
  int element = body.operand(0, node.dtype(x));
  int distance = body.apply(ScalarOp::kSub, body.axis_index(rank - 1), body.axis_index(rank - 2));
  int bound = -1;
  if (const Tensor* known = node.has(1) ? node.known(node.input(1)) : nullptr;
      known != nullptr || !node.has(1)) {
    bound = body.constant_i64(known != nullptr ? known->at_i64(0) : 0, DType::kI64);
  } else {
    const ValueId k = reshape(node.graph, node.part("k"), node.input(1), {});
    inputs.push_back(k);
    compute.operands.emplace_back();
    bound = body.cast(body.operand(1, node.dtype(k)), DType::kI64);
  }
  int kept = upper ? body.apply(ScalarOp::kLessEqual, bound, distance)
                   : body.apply(ScalarOp::kLessEqual, distance, bound);
  body.apply(ScalarOp::kSelect, kept, element, number(body, 0, node.dtype(x)));
  node.set_output(node.graph.add_compute(node.name(), std::move(compute), std::move(inputs)));
  return {};
}

constexpr Operator kOperators[] = {
    {"Gather", 1, import_gather},       {"GatherElements", 11, import_gather_elements},
    {"GatherND", 11, import_gather_nd}, {"OneHot", 9, import_one_hot},
    {"Trilu", 14, import_trilu},        {"com.microsoft.Trilu", 0, import_trilu},
};

}  // namespace

std::span<const Operator> indexing_operators() { return kOperators; }

}  // namespace corf::onnx
