#include "fusion/nest.h"

#include <map>
#include <set>

#include "fusion/order.h"
#include "support/assert.h"
#include "support/checked.h"

namespace corf::fusion {
namespace {

using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::NodeId;
using graph::ValueId;
using index::Interval;

using Coordinates = std::vector<Expr>;

std::string key_of(ValueId value, const Coordinates& coordinates) {
  std::string key = std::to_string(value);
  for (const Expr& expr : coordinates) {
    key += '|';
    key += index::to_string(expr, [](int id) { return "v" + std::to_string(id); });
  }
  return key;
}

Coordinates identity_coordinates(int rank) {
  Coordinates result;
  for (int i = 0; i < rank; ++i) result.push_back(Expr::variable(i));
  return result;
}

std::vector<Interval> axis_ranges(const std::vector<NestAxis>& axes) {
  std::vector<Interval> ranges;
  for (const NestAxis& axis : axes) ranges.push_back({0, axis.extent - 1});
  return ranges;
}

/// bounds() for expressions that may hold gathered integers, which can be anything.
std::optional<Interval> known_bounds(const Expr& expr, std::span<const Interval> ranges) {
  if (expr.kind() == index::ExprKind::kMod && is_gathered(expr.lhs()) && expr.rhs().is_constant()) {
    return Interval{0, expr.rhs().constant() - 1};
  }
  if (is_gathered(expr)) return std::nullopt;
  return index::bounds(expr, ranges);
}

Expr simplified(const Expr& expr, std::span<const Interval> ranges) {
  return is_gathered(expr) ? expr : index::simplify(expr, ranges);
}

class NestBuilder {
 public:
  NestBuilder(const Graph& graph, const StorageView& storage, Nest& nest)
      : graph_(graph), storage_(storage), nest_(nest), ranges_(axis_ranges(nest.axes)) {}

  void include(const std::vector<NodeId>& nodes) { group_.insert(nodes.begin(), nodes.end()); }
  void set_reduction(ValueId value, int op) { anchor_ = value, anchor_op_ = op; }

  int add(NestOp op) {
    nest_.ops.push_back(std::move(op));
    return static_cast<int>(nest_.ops.size()) - 1;
  }

  /// The operation that gives `value` at `coordinates` (over the nest's axes).
  int value_at(ValueId value, Coordinates coordinates) {
    if (value == anchor_) return anchor_op_;
    for (size_t d = 0; d < coordinates.size(); ++d) {
      if (graph_.values[value].shape[d] == 1) coordinates[d] = Expr(0);
    }
    std::string key = key_of(value, coordinates);
    if (auto it = memo_.find(key); it != memo_.end()) return it->second;
    NodeId producer = graph_.values[value].producer;
    int op = group_.count(producer) ? body_at(std::get<Compute>(graph_.nodes[producer].op),
                                              graph_.nodes[producer], coordinates)
                                    : load(value, coordinates, nullptr);
    memo_[key] = op;
    return op;
  }

  int body_at(const Compute& compute, const Node& node, const Coordinates& point) {
    std::vector<int> results;
    std::map<int, int> operands;
    for (const graph::ScalarNode& scalar : compute.body.nodes) {
      NestOp op;
      op.dtype = scalar.dtype;
      switch (scalar.op) {
        case graph::ScalarOp::kOperand: {
          auto [it, fresh] = operands.try_emplace(scalar.index, -1);
          if (fresh) it->second = operand_at(compute, node, scalar.index, point);
          results.push_back(it->second);
          continue;
        }
        case graph::ScalarOp::kConstant:
          op.kind = NestOp::Kind::kConstant;
          op.f64 = scalar.f64;
          op.i64 = scalar.i64;
          break;
        case graph::ScalarOp::kIndex:
          op.kind = NestOp::Kind::kIndex;
          op.index = point[scalar.index];
          break;
        default:
          op.kind = NestOp::Kind::kApply;
          op.op = scalar.op;
          for (int arg = 0; arg < graph::num_args(scalar.op); ++arg) {
            op.args.push_back(results[scalar.args[arg]]);
          }
      }
      results.push_back(add(std::move(op)));
    }
    return results.back();
  }

  Access access_of(ValueId value, const Coordinates& coordinates, const graph::Operand* operand) {
    const Storage& place = storage_.place(value);
    const Shape& shape = graph_.values[value].shape;
    CORF_ASSERT(place.assigned(), "a value is read before its storage is planned");
    Access access;
    access.value = value;
    access.root = place.root;
    access.address = Expr(place.offset);
    for (size_t d = 0; d < shape.size(); ++d) {
      Expr coordinate = simplified(coordinates[d], ranges_);
      access.coordinates.push_back(coordinate);
      if (place.turning_dim == static_cast<int>(d)) {
        access.turning = {coordinate, known_bounds(coordinate, ranges_).value_or(Interval{-1, -1})};
      }
      access.address = access.address + coordinate * Expr(place.strides[d]);
      if (!operand || !operand->guarded) continue;
      auto range = known_bounds(coordinate, ranges_);
      if (range && range->lo >= 0 && range->hi < shape[d]) continue;
      if (range && place.has_margins() &&
          operand->padding == static_cast<double>(place.margin_value) &&
          -range->lo <= place.margin_before[d] &&
          range->hi - (shape[d] - 1) <= place.margin_after[d]) {
        if (place.margin_value == 0 && index::to_linear(coordinate).is_affine()) {
          access.zeros.push_back({coordinate, 0, shape[d]});
        }
        continue;
      }
      access.guards.push_back({coordinate, 0, shape[d]});
      access.padding = operand->padding;
    }
    return access;
  }

  int load(ValueId value, const Coordinates& coordinates, const graph::Operand* operand) {
    NestOp op;
    op.kind = NestOp::Kind::kLoad;
    op.dtype = graph_.values[value].dtype;
    op.access = static_cast<int>(nest_.loads.size());
    nest_.loads.push_back(access_of(value, coordinates, operand));
    return add(std::move(op));
  }

 private:
  int operand_at(const Compute& compute, const Node& node, int number, const Coordinates& point) {
    const graph::Operand& operand = compute.operands[number];
    const int num_axes = static_cast<int>(compute.space.axes.size());
    Coordinates coordinates;
    for (const Expr& expr : operand.map.exprs) {
      coordinates.push_back(index::substitute(expr, [&](int id) -> std::optional<Expr> {
        if (id < num_axes) return point[id];
        int gathered = operand_at(compute, node, id - num_axes, point);
        return Expr::variable(kGatherBase + gathered);
      }));
    }
    ValueId value = node.inputs[number];
    if (operand.guarded) return load(value, coordinates, &operand);
    return value_at(value, coordinates);
  }

  const Graph& graph_;
  const StorageView storage_;
  Nest& nest_;
  std::vector<Interval> ranges_;
  std::set<NodeId> group_;
  std::map<std::string, int> memo_;
  ValueId anchor_ = -1;
  int anchor_op_ = -1;
};

}  // namespace

bool turns(const Access& access, const StorageView& storage) {
  if (!access.turning) return false;
  const Storage& place = storage.place(access.value);
  CORF_ASSERT(place.turning_dim >= 0, "the storage has the ring");
  const Interval rows = access.turning->rows;
  return rows.lo < 0 || rows.hi >= place.turning_rows;
}

Expr lies_at(const Access& access, const StorageView& storage) {
  if (!turns(access, storage)) return access.address;
  const Storage& place = storage.place(access.value);
  const Expr& row = access.turning->row;
  const Expr turned = mod(row, Expr(place.turning_rows)) - row;
  return access.address + turned * Expr(place.strides[place.turning_dim]);
}

bool depends_with_guards(const Access& access, int axis) {
  return index::depends_on(access.address, axis) ||
         std::any_of(access.guards.begin(), access.guards.end(), [&](const Access::Guard& guard) {
           return index::depends_on(guard.expr, axis);
         });
}

std::optional<FactorRoles> factor_roles(const Nest& nest, int vector_axis) {
  if (!nest.contraction) return std::nullopt;
  const auto [lhs, rhs] = nest.contraction->factors;
  const bool lhs_along = depends_with_guards(nest.loads[lhs], vector_axis);
  if (lhs_along == depends_with_guards(nest.loads[rhs], vector_axis)) return std::nullopt;
  return lhs_along ? FactorRoles{lhs, rhs} : FactorRoles{rhs, lhs};
}

bool is_packed(const Nest& nest, const StorageView& storage, int load, int vector_axis) {
  const Access& access = nest.loads[load];
  return nest.contraction && vector_axis >= 0 && storage.is_constant(access.root) &&
         access.guards.empty() && !is_gathered(access.address) &&
         index::depends_on(access.address, vector_axis);
}

bool is_table(const Nest& nest, const StorageView& storage, int load, int vector_axis) {
  const Access& access = nest.loads[load];
  const Root& root = storage.root(access.root);
  if (root.kind != Root::Kind::kConstant || !access.guards.empty()) return false;
  if (root.size_elems > kMaxTableElems || is_gathered(access.address)) return false;
  if (root.dtype != DType::kF32 && root.dtype != DType::kF64) return false;
  return vector_axis < 0 || !index::depends_on(access.address, vector_axis);
}

namespace {

/// The loads whose product the operation is; false if it is anything else.
bool collect_factors(const Nest& nest, int op, std::vector<int>& loads) {
  const NestOp& factor = nest.ops[op];
  if (factor.kind == NestOp::Kind::kLoad) {
    loads.push_back(op);
    return true;
  }
  if (factor.kind != NestOp::Kind::kApply || factor.op != graph::ScalarOp::kMul) return false;
  return collect_factors(nest, factor.args[0], loads) &&
         collect_factors(nest, factor.args[1], loads);
}

/// The only axis of that kind with several points that the load depends on; -1 if there are others.
int only_axis(const Nest& nest, int op, bool reduction) {
  int found = -1;
  for (int axis = 0; axis < static_cast<int>(nest.axes.size()); ++axis) {
    if (nest.axes[axis].reduction != reduction || nest.axes[axis].extent == 1) continue;
    if (!index::depends_on(nest.loads[nest.ops[op].access].address, axis)) continue;
    if (found >= 0) return -1;
    found = axis;
  }
  return found;
}

}  // namespace

std::optional<ScaledSum> scaled_sum(const Nest& nest, const StorageView& storage, int vector_axis) {
  if (nest.reduce_op < 0 || nest.combiner != graph::Combiner::kSum || vector_axis < 0 ||
      nest.axes[vector_axis].reduction) {
    return std::nullopt;
  }
  const int body = nest.ops[nest.reduce_op].args[0];
  std::vector<int> factors;
  if (!is_float(nest.ops[body].dtype) || !collect_factors(nest, body, factors)) return std::nullopt;
  ScaledSum sum;
  std::set<int> axes;
  for (int op : factors) {
    if (!is_table(nest, storage, nest.ops[op].access, vector_axis)) {
      if (sum.op >= 0) return std::nullopt;
      sum.op = op;
      continue;
    }
    const ScaledSum::Table table{op, only_axis(nest, op, true), only_axis(nest, op, false)};
    if (table.reduction_axis < 0 || table.parallel_axis < 0) return std::nullopt;
    if (!axes.insert(table.reduction_axis).second || !axes.insert(table.parallel_axis).second) {
      return std::nullopt;
    }
    sum.tables.push_back(table);
  }
  if (sum.op < 0 || sum.tables.empty()) return std::nullopt;
  const Access& scaled = nest.loads[nest.ops[sum.op].access];
  // Where an index says which element it is, it may be another one for each point of any axis.
  if (is_gathered(scaled.address)) return std::nullopt;
  for (const ScaledSum::Table& table : sum.tables) {
    if (index::depends_on(scaled.address, table.parallel_axis)) return std::nullopt;
  }
  for (int axis = 0; axis < static_cast<int>(nest.axes.size()); ++axis) {
    const NestAxis& walked = nest.axes[axis];
    if (walked.reduction && walked.extent > 1 && !axes.count(axis)) return std::nullopt;
  }
  return sum;
}

Nest build_nest(const Graph& graph, const StorageView& storage, const std::vector<NodeId>& nodes,
                const std::vector<ValueId>& stored) {
  CORF_ASSERT(!nodes.empty() && !stored.empty(), "a group without nodes or results");
  NodeId anchor = nodes.back();
  for (NodeId id : nodes) {
    const auto& compute = std::get<Compute>(graph.nodes[id].op);
    if (compute.combiner != graph::Combiner::kNone) anchor = id;
  }
  const auto& compute = std::get<Compute>(graph.nodes[anchor].op);
  const bool reduces = compute.combiner != graph::Combiner::kNone;
  Nest nest;
  for (const index::Axis& axis : compute.space.axes) {
    nest.axes.push_back({axis.name, axis.extent, axis.kind == index::AxisKind::kReduction});
  }
  NestBuilder builder(graph, storage, nest);
  builder.include(nodes);
  const int num_axes = static_cast<int>(nest.axes.size());
  const int num_parallel = compute.space.num_parallel();
  if (reduces) {
    int body = builder.body_at(compute, graph.nodes[anchor], identity_coordinates(num_axes));
    ValueId result = graph.nodes[anchor].outputs[0];
    NestOp reduce;
    reduce.kind = NestOp::Kind::kReduce;
    reduce.dtype = graph.values[result].dtype;
    reduce.args = {body};
    nest.combiner = compute.combiner;
    nest.select_last = compute.select_last;
    nest.reduce_op = builder.add(std::move(reduce));
    builder.set_reduction(result, nest.reduce_op);
  }
  for (ValueId value : stored) {
    Coordinates point = identity_coordinates(num_parallel);
    int op = builder.value_at(value, point);
    nest.stores.push_back({builder.access_of(value, point, nullptr), op});
  }
  nest.contraction = find_contraction(nest);
  return nest;
}

bool is_gathered(const Expr& expr) {
  if (expr.is_constant()) return false;
  if (expr.kind() == index::ExprKind::kVariable) return expr.variable_id() >= kGatherBase;
  return is_gathered(expr.lhs()) || is_gathered(expr.rhs());
}

Nest build_view_copy(const Graph& graph, const StorageView& storage, NodeId node_id, int part) {
  const Node& node = graph.nodes[node_id];
  const auto& view = std::get<graph::View>(node.op);
  ValueId input = node.inputs[part], output = node.outputs[0];
  const Shape& shape = graph.values[output].shape;
  const bool concat = std::holds_alternative<graph::Concat>(view);
  Nest nest;
  const Shape& extents = concat ? graph.values[input].shape : shape;
  for (size_t d = 0; d < extents.size(); ++d) {
    nest.axes.push_back({"d" + std::to_string(d), extents[d], false});
  }
  NestBuilder builder(graph, storage, nest);
  Coordinates point = identity_coordinates(static_cast<int>(extents.size()));
  Coordinates from = point, to = point;
  graph::Operand operand;
  if (concat) {
    int axis = std::get<graph::Concat>(view).axis;
    int64_t start = 0;
    for (int i = 0; i < part; ++i) start += graph.values[node.inputs[i]].shape[axis];
    to[axis] = to[axis] + Expr(start);
  } else {
    from = graph::index_map(view, graph.values[input].shape, shape).exprs;
    if (const auto* pad = std::get_if<graph::Pad>(&view)) {
      operand.guarded = true;
      operand.padding = pad->value;
    }
  }
  int op = builder.load(input, from, &operand);
  nest.stores.push_back({builder.access_of(output, to, nullptr), op});
  return nest;
}

Nest build_output_copy(const Graph& graph, const StorageView& storage, int output) {
  ValueId value = graph.outputs[output];
  const Shape& shape = graph.values[value].shape;
  Nest nest;
  for (size_t d = 0; d < shape.size(); ++d) {
    nest.axes.push_back({"d" + std::to_string(d), shape[d], false});
  }
  NestBuilder builder(graph, storage, nest);
  Coordinates point = identity_coordinates(static_cast<int>(shape.size()));
  int op = builder.load(value, point, nullptr);
  Access store;
  store.value = value;
  store.root = storage.plan().output_roots[output];
  std::vector<int64_t> strides = row_major_strides(shape);
  store.address = Expr(0);
  for (size_t d = 0; d < shape.size(); ++d) {
    store.address = store.address + point[d] * Expr(strides[d]);
  }
  nest.stores.push_back({store, op});
  return nest;
}

}  // namespace corf::fusion
