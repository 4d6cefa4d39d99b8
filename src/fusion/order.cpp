#include "fusion/order.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "fusion/byte_steps.h"
#include "fusion/storage.h"
#include "support/checked.h"

namespace corf::fusion {
namespace {

using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::ValueId;
using index::Expr;

bool is_constant(const Graph& graph, ValueId value) {
  return std::holds_alternative<graph::Constant>(graph.producer(value).op);
}

int num_variables(const Expr& expr) {
  std::vector<bool> used;
  index::collect_variables(expr, used);
  return static_cast<int>(std::count(used.begin(), used.end(), true));
}

/// Dimension of the operand that is exactly this axis, or -1.
int plain_dimension(const graph::Operand& operand, int axis) {
  for (size_t d = 0; d < operand.map.exprs.size(); ++d) {
    if (operand.map.exprs[d].is_variable(axis)) return static_cast<int>(d);
  }
  return -1;
}

/// The axis that the coordinate is, or -1.
int axis_of(const Expr& coordinate) {
  return coordinate.kind() == index::ExprKind::kVariable ? coordinate.variable_id() : -1;
}

/// Whether neighbours along the axis are neighbours in the operand's last dimension, which other
/// axes outside of the reduction share (heads side by side in one row).
bool is_part_of_last_dimension(const graph::Operand& operand, int axis, int num_parallel) {
  if (operand.map.exprs.empty()) return false;
  const index::Linear linear = index::to_linear(operand.map.exprs.back());
  if (!linear.is_affine() || linear.coefficient(axis) != 1) return false;
  return std::all_of(linear.coefficients.begin(), linear.coefficients.end(),
                     [&](const auto& term) { return term.first < num_parallel; });
}

bool mentions(const graph::Operand& operand, int axis) {
  return std::any_of(operand.map.exprs.begin(), operand.map.exprs.end(),
                     [&](const Expr& expr) { return index::depends_on(expr, axis); });
}

/// Each dimension of the operand depends on the output axis of the same number alone, if at all.
bool keeps_dimensions(const graph::Operand& operand, size_t rank) {
  if (operand.map.exprs.size() != rank) return false;
  for (size_t d = 0; d < rank; ++d) {
    if (operand.map.exprs[d].is_constant()) continue;
    if (num_variables(operand.map.exprs[d]) != 1 ||
        !index::depends_on(operand.map.exprs[d], static_cast<int>(d))) {
      return false;
    }
  }
  return true;
}

/// Orders in which kernels read a value well, with the elements that they read, each as often as it
/// is read.
using Wishes = std::map<DimOrder, double>;

/// Which of the orders of its operands, or of those that its readers wish, a result takes: the one
/// that most elements are read in as they lie. Of equals, that of the largest operand.
class Agreement {
 public:
  explicit Agreement(const Shape& shape) : shape_(shape) {}

  void add_operand(const DimOrder& order, double elems) {
    const auto at = std::find_if(votes_.begin(), votes_.end(),
                                 [&](const Vote& vote) { return vote.elems < elems; });
    votes_.insert(at, {order, elems});
  }

  DimOrder order(const Wishes& wishes) const {
    std::vector<Vote> all = votes_;
    for (const auto& [order, elems] : wishes) all.push_back({order, elems});
    if (all.empty()) return row_major_order(static_cast<int>(shape_.size()));
    const Vote* best = nullptr;
    double most = 0;
    for (const Vote& vote : all) {
      double agreeing = 0;
      for (const Vote& other : all) {
        if (without_units(other.order) == without_units(vote.order)) agreeing += other.elems;
      }
      if (best && agreeing <= most) continue;
      best = &vote;
      most = agreeing;
    }
    return best->order;
  }

 private:
  struct Vote {
    DimOrder order;
    double elems = 0;
  };

  DimOrder without_units(DimOrder order) const {
    std::erase_if(order, [&](int d) { return shape_[d] == 1; });
    return order;
  }

  const Shape& shape_;
  std::vector<Vote> votes_;  // the largest operand first
};

DimOrder elementwise_order(const Graph& graph, const Node& node, const Wishes& wishes,
                           const std::vector<DimOrder>& orders) {
  const auto& compute = std::get<Compute>(node.op);
  const Shape& shape = graph.values[node.outputs[0]].shape;
  Agreement agreement(shape);
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId input = node.inputs[i];
    if (is_constant(graph, input) || !keeps_dimensions(compute.operands[i], shape.size())) continue;
    agreement.add_operand(orders[input], double(num_elems(graph.values[input].shape)));
  }
  return agreement.order(wishes);
}

/// The order in which the operand's dimensions hold the output's axes; axes that it lacks stay in
/// front.
DimOrder inherited_order(const Graph& graph, const Node& node, size_t rank,
                         const std::vector<DimOrder>& orders) {
  const auto& compute = std::get<Compute>(node.op);
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (is_constant(graph, node.inputs[i])) continue;
    DimOrder order;
    for (int d : orders[node.inputs[i]]) {
      const Expr& expr = compute.operands[i].map.exprs[d];
      for (size_t axis = 0; axis < rank; ++axis) {
        if (expr.is_variable(static_cast<int>(axis))) order.push_back(static_cast<int>(axis));
      }
    }
    DimOrder full;
    for (size_t axis = 0; axis < rank; ++axis) {
      if (std::find(order.begin(), order.end(), static_cast<int>(axis)) == order.end()) {
        full.push_back(static_cast<int>(axis));
      }
    }
    full.insert(full.end(), order.begin(), order.end());
    if (full.size() == rank) return full;
  }
  return row_major_order(static_cast<int>(rank));
}

DimOrder compute_order(const Graph& graph, const Node& node, const Wishes& wishes,
                       const std::vector<DimOrder>& orders) {
  const size_t rank = graph.values[node.outputs[0]].shape.size();
  const auto& compute = std::get<Compute>(node.op);
  if (node.origin == "Copy") return row_major_order(static_cast<int>(rank));
  if (compute.combiner == graph::Combiner::kNone) {
    return elementwise_order(graph, node, wishes, orders);
  }
  int axis = natural_vector_axis(graph, node);
  if (axis < 0) return inherited_order(graph, node, rank, orders);
  DimOrder order;
  for (int d = 0; d < static_cast<int>(rank); ++d) {
    if (d != axis) order.push_back(d);
  }
  order.push_back(axis);
  return order;
}

/// What fusion::prepare has put in front of a concatenation: any order does.
bool is_part_copy(const Node& node) {
  return node.origin == "Concat" && std::holds_alternative<Compute>(node.op);
}

DimOrder view_order(const Graph& graph, const Node& node, const Wishes& wishes,
                    const std::vector<DimOrder>& orders) {
  const auto& view = std::get<graph::View>(node.op);
  const Shape& from = graph.values[node.inputs[0]].shape;
  const Shape& to = graph.values[node.outputs[0]].shape;
  const DimOrder& input = orders[node.inputs[0]];
  if (const auto* transpose = std::get_if<graph::Transpose>(&view)) {
    DimOrder order;
    for (int d : input) {
      auto it = std::find(transpose->permutation.begin(), transpose->permutation.end(), d);
      order.push_back(static_cast<int>(it - transpose->permutation.begin()));
    }
    return order;
  }
  if (std::holds_alternative<graph::Reshape>(view)) {
    auto strides = reshape_strides(from, dense_strides(from, input), to);
    // Without strides it is a copy, in any order.
    return strides ? order_of_strides(*strides) : Agreement(to).order(wishes);
  }
  if (std::holds_alternative<graph::Concat>(view)) {
    Agreement agreement(to);
    for (ValueId value : node.inputs) {
      if (is_constant(graph, value) || is_part_copy(graph.producer(value))) continue;
      agreement.add_operand(orders[value], double(num_elems(graph.values[value].shape)));
    }
    return agreement.order(wishes);
  }
  return from.size() == to.size() ? input : row_major_order(static_cast<int>(to.size()));
}

/// For the product of a value and small constant matrices, each summed over a reduction axis of its
/// own: the axis of the value's vectors that they multiply, or -1. The result's innermost dimension
/// if it is one of the value's that the matrices leave alone, else the value's innermost.
int coefficients_vector_axis(const Graph& graph, const Node& node) {
  const auto& compute = std::get<Compute>(node.op);
  const int num_parallel = compute.space.num_parallel();
  const int num_axes = static_cast<int>(compute.space.axes.size());
  if (compute.combiner != graph::Combiner::kSum) return -1;
  std::vector<const graph::Operand*> matrices;
  const graph::Operand* value = nullptr;
  std::set<int> summed;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const graph::Operand& operand = compute.operands[i];
    if (!is_constant(graph, node.inputs[i])) {
      if (value) return -1;
      value = &operand;
      continue;
    }
    if (operand.map.exprs.size() != 2 || operand.guarded ||
        num_elems(graph.values[node.inputs[i]].shape) > kMaxTableElems) {
      return -1;
    }
    for (int axis = num_parallel; axis < num_axes; ++axis) {
      if (mentions(operand, axis) && !summed.insert(axis).second) return -1;
      if (mentions(operand, axis) && plain_dimension(operand, axis) < 0) return -1;
    }
    matrices.push_back(&operand);
  }
  if (!value || value->map.exprs.size() < 2) return -1;
  if (static_cast<int>(summed.size()) != num_axes - num_parallel) return -1;
  for (int axis : {num_parallel - 1, axis_of(value->map.exprs.back())}) {
    if (axis < 0 || axis >= num_parallel) continue;
    const bool scales = std::any_of(matrices.begin(), matrices.end(),
                                    [&](const auto* matrix) { return mentions(*matrix, axis); });
    if (!scales && plain_dimension(*value, axis) >= 0) return axis;
  }
  return -1;
}

/// For a sum over elements of an operand at coordinates that other operands hold (samples of an
/// image): its longest dimension, if that is long, that is read in plain order. Along any other
/// axis each lane would be loaded by itself.
int gathered_vector_axis(const Compute& compute) {
  const int num_parallel = compute.space.num_parallel();
  const auto num_axes = static_cast<int>(compute.space.axes.size());
  const auto is_gathered = [&](const graph::Operand& operand) {
    return std::any_of(operand.map.exprs.begin(), operand.map.exprs.end(), [&](const Expr& expr) {
      std::vector<bool> used;
      index::collect_variables(expr, used);
      return std::find(used.begin() + std::min<size_t>(num_axes, used.size()), used.end(), true) !=
             used.end();
    });
  };
  int best = -1;
  for (const graph::Operand& operand : compute.operands) {
    if (!is_gathered(operand)) continue;
    for (int axis = 0; axis < num_parallel; ++axis) {
      const int64_t extent = compute.space.axes[axis].extent;
      if (extent < kManyChannels || plain_dimension(operand, axis) < 0) continue;
      if (best < 0 || extent > compute.space.axes[best].extent) best = axis;
    }
  }
  return best;
}

}  // namespace

int natural_vector_axis(const Graph& graph, const Node& node) {
  const auto& compute = std::get<Compute>(node.op);
  const int num_parallel = compute.space.num_parallel();
  if (compute.combiner == graph::Combiner::kNone || num_parallel == 0) return -1;
  if (const int axis = gathered_vector_axis(compute); axis >= 0) return axis;
  if (const int axis = coefficients_vector_axis(graph, node); axis >= 0) return axis;
  bool has_constant = false, windowed = false;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    has_constant |= is_constant(graph, node.inputs[i]) && compute.operands[i].map.exprs.size() > 1;
    for (const Expr& expr : compute.operands[i].map.exprs) windowed |= num_variables(expr) > 1;
  }
  int best = -1;
  for (int axis = 0; axis < num_parallel; ++axis) {
    bool candidate = false;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (!mentions(compute.operands[i], axis)) continue;
      bool plain = plain_dimension(compute.operands[i], axis) >= 0;
      if (has_constant) {
        candidate |=
            plain && is_constant(graph, node.inputs[i]) && compute.operands[i].map.exprs.size() > 1;
      } else {
        candidate = plain || is_part_of_last_dimension(compute.operands[i], axis, num_parallel);
      }
    }
    if (!candidate) continue;
    if (has_constant) {
      if (best < 0 || compute.space.axes[axis].extent > compute.space.axes[best].extent)
        best = axis;
    } else if (windowed || node.inputs.size() > 1) {
      best = axis;  // the last plain one: channels of a pool, columns of a matrix product
    }
  }
  return best;
}

DimOrder row_major_order(int rank) {
  DimOrder order(rank);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

std::vector<int64_t> dense_strides(const Shape& extents, const DimOrder& order) {
  std::vector<int64_t> strides(extents.size());
  int64_t stride = 1;
  for (size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = stride;
    stride *= extents[order[i]];
  }
  return strides;
}

DimOrder order_of_strides(const std::vector<int64_t>& strides) {
  DimOrder order = row_major_order(static_cast<int>(strides.size()));
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return strides[a] > strides[b]; });
  return order;
}

void spread_over_cache_sets(Shape& extents, const DimOrder& order, DType dtype) {
  constexpr int64_t kSetsBytes = 512, kLineBytes = 64;
  if (extents.size() < 2) return;
  int64_t& inner = extents[order.back()];
  if (inner * size_bytes(dtype) % kSetsBytes != 0 || num_elems(extents) == inner) return;
  inner += kLineBytes / size_bytes(dtype);
}

int summed_dimension(const Compute& compute, const graph::Operand& operand) {
  const std::vector<index::Axis>& axes = compute.space.axes;
  // Instructions take four bytes side by side.
  const int64_t least = compute.body.result_dtype() == DType::kI32 ? kByteSteps : kManyChannels;
  for (int d = static_cast<int>(operand.map.exprs.size()) - 1; d >= 0; --d) {
    const int axis = axis_of(operand.map.exprs[d]);
    const bool summed =
        axis >= compute.space.num_parallel() && axis < static_cast<int>(axes.size());
    if (summed && axes[axis].extent >= least) return d;
  }
  return -1;
}

namespace {

/// Adds the order in which a weighted sum reads its operand well, if that matters: the channels
/// that a result sums up, or that the vectors run along, innermost.
void add_wish(const Node& node, size_t i, int vector_axis, Wishes& wishes) {
  const auto& compute = std::get<Compute>(node.op);
  const graph::Operand& operand = compute.operands[i];
  const std::vector<index::Axis>& axes = compute.space.axes;
  const bool windowed = std::any_of(operand.map.exprs.begin(), operand.map.exprs.end(),
                                    [](const Expr& expr) { return num_variables(expr) > 1; });
  int innermost = plain_dimension(operand, vector_axis);
  if (innermost >= 0 ? !windowed : axes[vector_axis].extent < kManyChannels) return;
  if (innermost < 0) innermost = summed_dimension(compute, operand);
  if (innermost < 0) return;
  // Once for each vector of results that it is part of.
  double reads = 1;
  for (const index::Axis& axis : axes) reads *= double(axis.extent);
  reads *= double(corf::ceil_div(axes[vector_axis].extent, kManyChannels)) /
           double(axes[vector_axis].extent);
  DimOrder order = row_major_order(static_cast<int>(operand.map.exprs.size()));
  order.erase(order.begin() + innermost);
  order.push_back(innermost);
  wishes[order] += reads;
}

/// By value. What keeps the dimensions of its operands hands on what its own readers wish.
std::vector<Wishes> collect_wishes(const Graph& graph) {
  std::vector<Wishes> wishes(graph.values.size());
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    if (node->outputs.empty()) continue;
    const ValueId result = node->outputs[0];
    const Shape& shape = graph.values[result].shape;
    const auto* compute = std::get_if<Compute>(&node->op);
    const auto* view = std::get_if<graph::View>(&node->op);
    const bool joins = view && (std::holds_alternative<graph::Concat>(*view) ||
                                std::holds_alternative<graph::Pad>(*view));
    const bool sums = compute && compute->combiner != graph::Combiner::kNone;
    const bool weighted =
        sums && std::any_of(node->inputs.begin(), node->inputs.end(), [&](ValueId input) {
          return is_constant(graph, input) && graph.values[input].shape.size() > 1;
        });
    // A product of two values copies what it reads of either, if need be.
    const int vector_axis = weighted ? natural_vector_axis(graph, *node) : -1;
    for (size_t i = 0; i < node->inputs.size(); ++i) {
      const ValueId input = node->inputs[i];
      if (is_constant(graph, input)) continue;
      if (sums) {
        if (vector_axis >= 0) add_wish(*node, i, vector_axis, wishes[input]);
        continue;
      }
      if (!joins && !(compute && keeps_dimensions(compute->operands[i], shape.size()))) continue;
      const double share = double(num_elems(graph.values[input].shape)) /
                           double(std::max<int64_t>(1, num_elems(shape)));
      for (const auto& [order, reads] : wishes[result]) {
        wishes[input][order] += std::min(1.0, share) * reads;
      }
    }
  }
  return wishes;
}

}  // namespace

std::vector<DimOrder> choose_orders(const Graph& graph) {
  const std::vector<Wishes> wishes = collect_wishes(graph);
  std::vector<DimOrder> orders(graph.values.size());
  for (const Node& node : graph.nodes) {
    for (ValueId value : node.outputs) {
      int rank = static_cast<int>(graph.values[value].shape.size());
      if (std::holds_alternative<Compute>(node.op)) {
        orders[value] = compute_order(graph, node, wishes[value], orders);
      } else if (std::holds_alternative<graph::View>(node.op)) {
        orders[value] = view_order(graph, node, wishes[value], orders);
        for (const ValueId input : node.inputs) {
          if (is_part_copy(graph.producer(input))) orders[input] = orders[value];
        }
      } else {
        orders[value] = row_major_order(rank);
      }
    }
  }
  return orders;
}

}  // namespace corf::fusion
