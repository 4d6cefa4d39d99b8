#include "graph/operators.h"

#include <algorithm>
#include <string_view>

#include "graph/identity_of.h"
#include "support/assert.h"

namespace corf::graph {

using index::Axis;
using index::AxisKind;
using index::Expr;

namespace {

/// Appends the axis; the variable that stands for it.
Expr add_axis(Compute& compute, std::string name, int64_t extent, AxisKind kind) {
  compute.space.axes.push_back({std::move(name), extent, kind});
  return Expr::variable(static_cast<int>(compute.space.axes.size()) - 1);
}

/// What a guarded operand reads beyond its edges, so that it does not count; saturates where the
/// type's greatest value is no double.
double neutral_padding(Combiner combiner, DType dtype) {
  const ScalarNode value = identity_of(combiner, dtype);
  if (is_float(dtype)) return value.f64;
  return dtype == DType::kU64 ? static_cast<double>(static_cast<uint64_t>(value.i64))
                              : static_cast<double>(value.i64);
}

}  // namespace

ValueId matmul(Graph& graph, std::string name, ValueId a, ValueId b, bool transpose_a,
               bool transpose_b) {
  const Shape& shape_a = graph.values[a].shape;
  const Shape& shape_b = graph.values[b].shape;
  CORF_ASSERT(!shape_a.empty() && !shape_b.empty(), "matmul of scalars");
  bool has_m = shape_a.size() > 1, has_n = shape_b.size() > 1;
  int64_t m = has_m ? shape_a[shape_a.size() - (transpose_a ? 1 : 2)] : 1;
  int64_t k = has_m ? shape_a[shape_a.size() - (transpose_a ? 2 : 1)] : shape_a[0];
  int64_t n = has_n ? shape_b[shape_b.size() - (transpose_b ? 2 : 1)] : 1;
  int64_t k_b = has_n ? shape_b[shape_b.size() - (transpose_b ? 1 : 2)] : shape_b[0];
  CORF_ASSERT(k == k_b, "matmul's operands agree in K");

  Compute compute;
  size_t batch_a = has_m ? shape_a.size() - 2 : 0, batch_b = has_n ? shape_b.size() - 2 : 0;
  size_t batch = std::max(batch_a, batch_b);
  Operand operand_a, operand_b;
  for (size_t i = 0; i < batch; ++i) {
    int64_t extent_a = i + batch_a >= batch ? shape_a[i + batch_a - batch] : 1;
    int64_t extent_b = i + batch_b >= batch ? shape_b[i + batch_b - batch] : 1;
    CORF_ASSERT(extent_a == extent_b || extent_a == 1 || extent_b == 1, "batches broadcast");
    int64_t extent = extent_a == 1 ? extent_b : extent_a;
    Expr v = add_axis(compute, "b" + std::to_string(i), extent, AxisKind::kParallel);
    if (i + batch_a >= batch) operand_a.map.exprs.push_back(extent_a == 1 ? Expr(0) : v);
    if (i + batch_b >= batch) operand_b.map.exprs.push_back(extent_b == 1 ? Expr(0) : v);
  }
  Expr m_axis, n_axis;
  if (has_m) m_axis = add_axis(compute, "m", m, AxisKind::kParallel);
  if (has_n) n_axis = add_axis(compute, "n", n, AxisKind::kParallel);
  Expr k_axis = add_axis(compute, "k", k, AxisKind::kReduction);
  auto append = [&](Operand& operand, bool has_outer, const Expr& row, const Expr& column) {
    if (!has_outer) {
      operand.map.exprs.push_back(k_axis);
      return;
    }
    operand.map.exprs.push_back(row);
    operand.map.exprs.push_back(column);
  };
  append(operand_a, has_m, transpose_a ? k_axis : m_axis, transpose_a ? m_axis : k_axis);
  append(operand_b, has_n, transpose_b ? n_axis : k_axis, transpose_b ? k_axis : n_axis);
  compute.operands = {operand_a, operand_b};
  DType dtype = graph.values[a].dtype;
  int x = compute.body.operand(0, dtype);
  int y = compute.body.operand(1, graph.values[b].dtype);
  compute.body.apply(ScalarOp::kMul, x, y);
  compute.combiner = Combiner::kSum;
  return graph.add_compute(std::move(name), std::move(compute), {a, b}, "MatMul");
}

ValueId reduce(Graph& graph, std::string name, ValueId x, Combiner combiner,
               const std::vector<int>& axes, bool keep_dims,
               const std::function<int(ScalarBody&, int)>& body, bool select_last) {
  const Shape& shape = graph.values[x].shape;
  Compute compute;
  Operand operand;
  operand.map.exprs.resize(shape.size(), Expr(0));
  auto is_reduced = [&](size_t d) {
    return std::find(axes.begin(), axes.end(), static_cast<int>(d)) != axes.end();
  };
  for (size_t d = 0; d < shape.size(); ++d) {
    std::string axis = "d" + std::to_string(d);
    if (!is_reduced(d)) {
      operand.map.exprs[d] = add_axis(compute, axis, shape[d], AxisKind::kParallel);
    } else if (keep_dims) {
      add_axis(compute, axis, 1, AxisKind::kParallel);
    }
  }
  for (size_t d = 0; d < shape.size(); ++d) {
    if (!is_reduced(d)) continue;
    operand.map.exprs[d] =
        add_axis(compute, "r" + std::to_string(d), shape[d], AxisKind::kReduction);
  }
  compute.operands = {operand};
  int element = compute.body.operand(0, graph.values[x].dtype);
  if (body) {
    int result = body(compute.body, element);
    CORF_ASSERT(result == static_cast<int>(compute.body.nodes.size()) - 1,
                "a body's last node is its result");
  }
  compute.combiner = axes.empty() ? Combiner::kNone : combiner;
  compute.select_last = select_last;
  return graph.add_compute(std::move(name), std::move(compute), {x});
}

ValueId pool(Graph& graph, std::string name, ValueId x, Combiner combiner, const Window& window,
             const std::vector<int64_t>& output_extents) {
  const Shape& shape = graph.values[x].shape;
  size_t spatial = window.kernel.size();
  CORF_ASSERT(shape.size() == spatial + 2, "a pool's window has the rank of its image");
  CORF_ASSERT(spatial == output_extents.size(), "a pool's output has the rank of its window");
  constexpr std::string_view kSuffixes = "dhw";
  const bool has_suffix = spatial <= kSuffixes.size();
  auto axis_name = [&](char kind, size_t i) {
    return has_suffix ? std::string{kind, kSuffixes[kSuffixes.size() - spatial + i]}
                      : std::string{kind} + std::to_string(i);
  };
  Compute compute;
  Operand operand;
  operand.map.exprs = {add_axis(compute, "n", shape[0], AxisKind::kParallel),
                       add_axis(compute, "c", shape[1], AxisKind::kParallel)};
  std::vector<Expr> out;
  for (size_t i = 0; i < spatial; ++i) {
    out.push_back(add_axis(compute, axis_name('o', i), output_extents[i], AxisKind::kParallel));
  }
  for (size_t i = 0; i < spatial; ++i) {
    Expr k = add_axis(compute, axis_name('k', i), window.kernel[i], AxisKind::kReduction);
    operand.map.exprs.push_back(Expr(window.strides[i]) * out[i] + Expr(window.dilations[i]) * k -
                                Expr(window.pads_begin[i]));
    int64_t last = (output_extents[i] - 1) * window.strides[i] +
                   (window.kernel[i] - 1) * window.dilations[i] - window.pads_begin[i];
    operand.guarded |= window.pads_begin[i] != 0 || last >= shape[i + 2];
  }
  DType dtype = graph.values[x].dtype;
  if (operand.guarded) operand.padding = neutral_padding(combiner, dtype);
  compute.operands = {operand};
  compute.body.operand(0, dtype);
  compute.combiner = combiner;
  return graph.add_compute(std::move(name), std::move(compute), {x});
}

ValueId elementwise(Graph& graph, std::string name, std::vector<ValueId> inputs,
                    const std::function<int(ScalarBody&, const std::vector<int>&)>& body,
                    std::string origin) {
  size_t rank = 0;
  for (ValueId input : inputs) rank = std::max(rank, graph.values[input].shape.size());
  Shape output(rank, 1);
  for (ValueId input : inputs) {
    const Shape& shape = graph.values[input].shape;
    for (size_t d = 0; d < shape.size(); ++d) {
      int64_t& extent = output[d + rank - shape.size()];
      CORF_ASSERT(extent == 1 || shape[d] == 1 || shape[d] == extent, "operands broadcast");
      if (extent == 1) extent = shape[d];
    }
  }
  Compute compute;
  for (size_t d = 0; d < rank; ++d) {
    add_axis(compute, "d" + std::to_string(d), output[d], AxisKind::kParallel);
  }
  std::vector<int> arguments;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Value& value = graph.values[inputs[i]];
    Operand operand;
    for (size_t d = 0; d < value.shape.size(); ++d) {
      int axis = static_cast<int>(d + rank - value.shape.size());
      operand.map.exprs.push_back(value.shape[d] == 1 ? Expr(0) : Expr::variable(axis));
    }
    compute.operands.push_back(std::move(operand));
    arguments.push_back(compute.body.operand(static_cast<int>(i), value.dtype));
  }
  int result = body(compute.body, arguments);
  if (result != static_cast<int>(compute.body.nodes.size()) - 1) {
    // The result is one of the operands or an inner node: the last node must stand for it.
    ScalarNode copy = compute.body.nodes[result];
    compute.body.nodes.push_back(copy);
  }
  return graph.add_compute(std::move(name), std::move(compute), std::move(inputs),
                           std::move(origin));
}

ValueId gather(Graph& graph, std::string name, ValueId data, ValueId indices, int axis) {
  const Shape& data_shape = graph.values[data].shape;
  const Shape& index_shape = graph.values[indices].shape;
  int rank = static_cast<int>(data_shape.size());
  CORF_ASSERT(axis >= 0 && axis < rank, "gather's axis is a dimension of its data");
  Compute compute;
  Operand data_operand, index_operand;
  data_operand.map.exprs.resize(rank, Expr(0));
  for (int d = 0; d < rank; ++d) {
    if (d != axis) {
      data_operand.map.exprs[d] =
          add_axis(compute, "d" + std::to_string(d), data_shape[d], AxisKind::kParallel);
      continue;
    }
    for (size_t i = 0; i < index_shape.size(); ++i) {
      index_operand.map.exprs.push_back(
          add_axis(compute, "i" + std::to_string(i), index_shape[i], AxisKind::kParallel));
    }
  }
  // The modulo maps -extent..-1 to the end, and keeps any index inside of the data.
  Expr held = Expr::variable(static_cast<int>(compute.space.axes.size()) + 1);
  data_operand.map.exprs[axis] = mod(held, Expr(std::max<int64_t>(data_shape[axis], 1)));
  compute.operands = {data_operand, index_operand};
  compute.body.operand(0, graph.values[data].dtype);
  return graph.add_compute(std::move(name), std::move(compute), {data, indices}, "Gather");
}

}  // namespace corf::graph
