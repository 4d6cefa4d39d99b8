#include "rewrite/column_blocks.h"

#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Combiner;
using graph::Compute;
using graph::Node;
using graph::Operand;
using graph::ScalarBody;
using graph::ScalarNode;
using graph::ScalarOp;
using graph::ValueId;
using index::Expr;
using index::IndexMap;

int dimension_of(const IndexMap& map, int axis) {
  int found = -1;
  for (size_t d = 0; d < map.exprs.size(); ++d) {
    if (!index::depends_on(map.exprs[d], axis)) continue;
    if (found >= 0 || !map.exprs[d].is_variable(axis)) return -1;
    found = static_cast<int>(d);
  }
  return found;
}

namespace {

/// The same body where axis i has become axis i + 1, behind the blocks' one, and `axis` is cut.
ScalarBody in_blocks(const ScalarBody& body, int axis, int64_t block) {
  ScalarBody result;
  std::vector<int> moved;
  for (ScalarNode node : body.nodes) {
    for (int& arg : node.args) {
      if (arg >= 0) arg = moved[arg];
    }
    if (node.op == ScalarOp::kIndex) {
      const bool cut = node.index++ == axis;
      result.nodes.push_back(node);
      if (cut) {
        const auto inside = static_cast<int>(result.nodes.size()) - 1;
        const int first = result.apply(ScalarOp::kMul, result.axis_index(0, node.dtype),
                                       result.constant_i64(block, node.dtype));
        result.apply(ScalarOp::kAdd, first, inside);
      }
    } else {
      result.nodes.push_back(node);
    }
    moved.push_back(static_cast<int>(result.nodes.size()) - 1);
  }
  return result;
}

}  // namespace

ValueId ColumnBlocks::value(ValueId value, int column) {
  if (const auto known = known_as(value, column)) return *known;
  const Node node = graph_.producer(value);  // a copy: nodes are added
  const auto* compute = std::get_if<Compute>(&node.op);
  const bool cuts = compute && compute->combiner != Combiner::kArgMax &&
                    compute->combiner != Combiner::kArgMin && reads_plainly(*compute);
  const ValueId result = cuts ? cut(node, column) : in_front(value, column);
  stands_for(value, column, result);
  return result;
}

ValueId ColumnBlocks::cut(const Node& node, int axis) {
  Compute compute = std::get<Compute>(node.op);
  std::vector<ValueId> inputs = node.inputs;
  const bool elementwise = is_elementwise(compute);
  for (size_t i = 0; i < inputs.size(); ++i) {
    cut_operand(compute.operands[i], inputs[i], axis, elementwise);
  }
  compute.body = in_blocks(compute.body, axis, block_);
  compute.space.axes[axis].extent = block_;
  compute.space.axes.insert(compute.space.axes.begin(), block_axis(index::AxisKind::kParallel));
  const ValueId result =
      graph_.add_compute(node.name, std::move(compute), std::move(inputs), node.origin);
  graph_.nodes[graph_.values[result].producer].work_flops = node.work_flops;
  return result;
}

std::optional<ValueId> ColumnBlocks::known_as(ValueId value, int column) const {
  const auto known = in_blocks_.find(value);
  if (known == in_blocks_.end() || known->second.first != column) return std::nullopt;
  return known->second.second;
}

bool ColumnBlocks::is_made_for_this(ValueId input) const {
  return std::holds_alternative<Compute>(graph_.producer(input).op) &&
         rebuild_.num_readers(input) == 1 && in_blocks_.count(input) == 0;
}

Expr ColumnBlocks::moved(const Expr& expr, int axis) const {
  return index::substitute(expr, [&](int variable) -> std::optional<Expr> {
    if (variable != axis) return Expr::variable(variable + 1);
    return Expr(block_) * Expr::variable(0) + Expr::variable(axis + 1);
  });
}

void ColumnBlocks::cut_operand(Operand& operand, ValueId& input, int axis, bool elementwise) {
  const int column = dimension_of(operand.map, axis);
  std::vector<Expr> exprs;
  for (const Expr& expr : operand.map.exprs) exprs.push_back(moved(expr, axis));
  if (known_as(input, column) || (elementwise && column >= 0 && is_made_for_this(input))) {
    input = value(input, column);
    if (column >= 0) exprs[column] = Expr::variable(axis + 1);
    exprs.insert(exprs.begin(), Expr::variable(0));
  } else if (column >= 0 && !constant_tensor(graph_, input)) {
    input = cut_dimension(input, column);
    exprs[column] = Expr::variable(axis + 1);
    exprs.insert(exprs.begin() + column, Expr::variable(0));
  }
  operand.map.exprs = std::move(exprs);
}

/// [.., columns, ..] as [.., blocks, columns of a block, ..]: a view.
ValueId ColumnBlocks::cut_dimension(ValueId value, int column) {
  Shape shape = graph_.values[value].shape;
  shape[column] = block_;
  shape.insert(shape.begin() + column, num_blocks_);
  return graph_.add_view(graph_.values[value].name + "/blocks", graph::Reshape{}, {value},
                         std::move(shape));
}

ValueId ColumnBlocks::in_front(ValueId value, int column) {
  const ValueId cut = cut_dimension(value, column);
  const Shape& shape = graph_.values[cut].shape;
  graph::Transpose transpose;
  transpose.permutation.push_back(column);
  for (int d = 0; d < static_cast<int>(shape.size()); ++d) {
    if (d != column) transpose.permutation.push_back(d);
  }
  Shape to;
  for (int d : transpose.permutation) to.push_back(shape[d]);
  return graph_.add_view(graph_.values[value].name + "/blocks_first", transpose, {cut},
                         std::move(to));
}

}  // namespace corf::rewrite
