#include "rewrite/merge_branches.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "rewrite/channel_affine.h"
#include "rewrite/contraction.h"
#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
#include "rewrite/structure.h"
#include "support/checked.h"

namespace corf::rewrite {
using graph::Graph;
using graph::Node;
using graph::Operand;
using graph::ScalarOp;
using graph::ValueId;
using index::AxisKind;
using index::Expr;
using index::IterationSpace;
using index::Linear;

namespace {

// Beyond, merging would cost more compile time than it is worth.
constexpr int64_t kMaxTaps = 1 << 18, kMaxWeights = 1 << 24;

/// sum over the reduction axes of weights[...] * x[...], plus a constant for each channel.
struct Branch {
  ValueId x = -1;
  IterationSpace space;
  Operand x_operand, weights_operand;
  Tensor weights;
  int shift_axis = -1;
  std::vector<double> shift = {0};
  // The contraction, if it is one.
  std::optional<graph::Compute> compute;
  std::string name, origin;
  ValueId weights_value = -1;
  int weights_number = 1;
};

std::optional<Branch> contraction_branch(const Rebuild& rebuild, const Graph& graph,
                                         ValueId value) {
  if (rebuild.num_readers(value) != 1) return std::nullopt;
  const Node& node = graph.producer(value);
  const std::optional<Contraction> contraction = match_contraction(graph, node);
  if (!contraction) return std::nullopt;
  const Operand& x = contraction->x_operand();
  if ((x.guarded && x.padding != 0) || contraction->weights_operand().guarded) return std::nullopt;
  Branch branch;
  branch.x = node.inputs[contraction->x];
  branch.space = contraction->compute->space;
  branch.x_operand = x;
  branch.weights_operand = contraction->weights_operand();
  branch.weights = contraction->weights_tensor;
  branch.compute = *contraction->compute;
  branch.name = node.name;
  branch.origin = node.origin;
  branch.weights_value = node.inputs[contraction->weights];
  branch.weights_number = contraction->weights;
  return branch;
}

/// x * scale[c] + shift[c].
Branch scaled_branch(const Graph& graph, const ChannelAffine& affine) {
  Branch branch;
  branch.x = affine.x;
  const graph::Value& x = graph.values[affine.x];
  for (size_t d = 0; d < x.shape.size(); ++d) {
    branch.space.axes.push_back({"d" + std::to_string(d), x.shape[d], AxisKind::kParallel});
  }
  branch.x_operand.map = index::IndexMap::identity(static_cast<int>(x.shape.size()));
  Shape shape;
  if (affine.axis != -1) {
    shape = {x.shape[affine.axis]};
    branch.weights_operand.map.exprs = {Expr::variable(affine.axis)};
  }
  branch.weights = Tensor(x.dtype, std::move(shape));
  for (size_t c = 0; c < affine.scale.size(); ++c) {
    branch.weights.set_f64(static_cast<int64_t>(c), affine.scale[c]);
  }
  branch.shift_axis = affine.axis;
  branch.shift = affine.shift;
  return branch;
}

/// What a summand is: the ways in which it is a linear function of a value.
std::vector<Branch> branches(const Rebuild& rebuild, const Graph& graph, ValueId value) {
  std::vector<Branch> result;
  if (auto branch = contraction_branch(rebuild, graph, value)) result.push_back(*branch);
  const Node& node = graph.producer(value);
  if (const auto affine = match_channel_affine(graph, node); affine && affine->finite()) {
    const bool only_shifts = !affine->scales() && rebuild.num_readers(value) == 1;
    auto branch = only_shifts ? contraction_branch(rebuild, graph, affine->x) : std::nullopt;
    if (branch) {
      branch->shift_axis = affine->axis;
      branch->shift = affine->shift;
      result.push_back(std::move(*branch));
    } else {
      result.push_back(scaled_branch(graph, *affine));
    }
  }
  if (result.empty() || !result.back().compute) {
    result.push_back(scaled_branch(graph, {value, -1, {1}, {0}}));
  }
  return result;
}

std::vector<int> used_axes(const std::vector<Expr>& exprs) {
  std::vector<bool> used;
  for (const Expr& expr : exprs) index::collect_variables(expr, used);
  std::vector<int> axes;
  for (size_t i = 0; i < used.size(); ++i) {
    if (used[i]) axes.push_back(static_cast<int>(i));
  }
  return axes;
}

std::optional<int64_t> num_points(const IterationSpace& space, const std::vector<int>& axes) {
  int64_t points = 1;
  for (int axis : axes) {
    const std::optional<int64_t> product = checked_mul(points, space.axes[axis].extent);
    if (!product) return std::nullopt;
    points = *product;
  }
  return points;
}

/// Calls `visit` with the values of all axes, for every combination of `axes`; the others stay as
/// they are in `point`.
template <typename Visit>
void for_each_point(const IterationSpace& space, const std::vector<int>& axes,
                    std::vector<int64_t>& point, const Visit& visit) {
  const std::optional<int64_t> points = num_points(space, axes);
  for (int axis : axes) point[axis] = 0;
  for (int64_t i = 0; i < *points; ++i) {
    visit(point);
    for (size_t a = axes.size(); a-- > 0;) {
      if (++point[axes[a]] < space.axes[axes[a]].extent) break;
      point[axes[a]] = 0;
    }
  }
}

/// The offset in the weights of those that are read, over the axes.
Expr weight_offset(const Branch& branch) {
  const std::vector<int64_t> strides = row_major_strides(branch.weights.shape());
  Expr offset = 0;
  for (size_t d = 0; d < strides.size(); ++d) {
    offset = offset + Expr(strides[d]) * branch.weights_operand.map.exprs[d];
  }
  return offset;
}

/// Whether each weight belongs to one tap of one channel: its coordinates are different axes, all
/// those of the sum among them.
bool has_weight_for_each_tap(const Branch& branch) {
  std::vector<bool> seen(branch.space.axes.size(), false);
  const Shape& shape = branch.weights.shape();
  for (size_t d = 0; d < shape.size(); ++d) {
    const Expr& expr = branch.weights_operand.map.exprs[d];
    if (expr.is_constant() && shape[d] == 1) continue;
    if (expr.kind() != index::ExprKind::kVariable || seen[expr.variable_id()]) return false;
    seen[expr.variable_id()] = true;
  }
  for (size_t a = 0; a < seen.size(); ++a) {
    const index::Axis& axis = branch.space.axes[a];
    if (axis.kind == AxisKind::kReduction && axis.extent > 1 && !seen[a]) return false;
  }
  return true;
}

/// The largest sum of the weights' magnitudes at a point of the axes `channels`.
double largest_magnitude(const Branch& branch, const std::vector<int>& channels) {
  std::vector<int> summed;
  for (int axis : used_axes(branch.weights_operand.map.exprs)) {
    if (branch.space.axes[axis].kind == AxisKind::kReduction) summed.push_back(axis);
  }
  const Linear offset = index::to_linear(weight_offset(branch));
  std::vector<int64_t> point(branch.space.axes.size(), 0);
  double largest = 0;
  for_each_point(branch.space, channels, point, [&](std::vector<int64_t>& channel) {
    double sum = 0;
    for_each_point(branch.space, summed, channel, [&](const std::vector<int64_t>& at) {
      int64_t weight = offset.constant;
      for (const auto& [axis, coefficient] : offset.coefficients) weight += coefficient * at[axis];
      sum += std::fabs(branch.weights.at_f64(weight));
    });
    largest = std::max(largest, sum);
  });
  return largest;
}

int64_t num_terms(const Branch& branch) {
  int64_t terms = 1;
  for (const index::Axis& axis : branch.space.axes) {
    if (axis.kind == AxisKind::kReduction) terms *= axis.extent;
  }
  return terms;
}

/// What two branches read, one from the other's point of view.
class Merge {
 public:
  Merge(const Branch& longer, const Branch& other) : longer_(longer), other_(other) {}

  /// The longer one's weights with those of the other one among them; nullopt if the other one
  /// reads what the longer one does not.
  std::optional<Tensor> weights() {
    if (!is_possible() || !set_up_distances()) return std::nullopt;
    collect_taps();
    if (!add_weights()) return std::nullopt;
    if (num_terms(longer_) > 2 * num_terms(other_) &&
        largest_magnitude(other_, channels_) > largest_magnitude(longer_, channels_)) {
      return std::nullopt;
    }
    return std::move(sum_);
  }

 private:
  bool is_possible() {
    if (longer_.x != other_.x || longer_.weights.dtype() != other_.weights.dtype()) return false;
    const int parallel = longer_.space.num_parallel();
    if (other_.space.num_parallel() != parallel) return false;
    for (int axis = 0; axis < parallel; ++axis) {
      if (longer_.space.axes[axis].extent != other_.space.axes[axis].extent) return false;
    }
    if (!has_weight_for_each_tap(longer_)) return false;
    for (int axis : used_axes(longer_.weights_operand.map.exprs)) {
      if (axis < parallel) channels_.push_back(axis);
    }
    // The other one's weights belong to the same channels.
    for (int axis : used_axes(other_.weights_operand.map.exprs)) {
      const bool known = std::count(channels_.begin(), channels_.end(), axis) > 0;
      if (axis < parallel && !known) return false;
    }
    return index::to_linear(weight_offset(other_)).is_affine() && fits();
  }

  bool fits() {
    for (size_t a = static_cast<size_t>(other_.space.num_parallel()); a < other_.space.axes.size();
         ++a) {
      sums_.push_back(static_cast<int>(a));
    }
    const auto channels = num_points(other_.space, channels_);
    const auto taps = num_points(other_.space, sums_);
    const auto all = channels && taps ? checked_mul(*channels, *taps) : std::nullopt;
    return all && *all <= kMaxWeights && longer_.weights.num_elems() <= kMaxWeights &&
           num_terms(longer_) <= kMaxTaps;
  }

  bool is_channel(int axis) const {
    return std::count(channels_.begin(), channels_.end(), axis) > 0;
  }

  /// How far the element that the other one reads lies from the longer one's first, in each
  /// dimension of x: an expression over the channels and the other one's reduction axes.
  bool set_up_distances() {
    const int parallel = longer_.space.num_parallel();
    for (size_t d = 0; d < longer_.x_operand.map.exprs.size(); ++d) {
      const Linear a = index::to_linear(longer_.x_operand.map.exprs[d]);
      const Linear b = index::to_linear(other_.x_operand.map.exprs[d]);
      for (int axis = 0; axis < parallel; ++axis) {
        const bool moves = longer_.space.axes[axis].extent > 1 && !is_channel(axis);
        if (moves && a.coefficient(axis) != b.coefficient(axis)) return false;
      }
      for (const Linear* linear : {&a, &b}) {
        for (int axis : used_axes({linear->rest})) {
          if (!is_channel(axis)) return false;
        }
      }
      Linear taps, distance = b;
      distance.constant -= a.constant;
      for (const auto& [axis, coefficient] : a.coefficients) {
        if (axis >= parallel) {
          taps.coefficients[axis] = coefficient;
        } else {
          distance.coefficients[axis] -= coefficient;
        }
      }
      distance.rest = index::structurally_equal(a.rest, b.rest) ? Expr(0) : b.rest - a.rest;
      for (int axis = 0; axis < parallel; ++axis) {
        if (longer_.space.axes[axis].extent == 1) distance.coefficients.erase(axis);
      }
      taps_.push_back(index::to_expr(taps));
      distances_.push_back(index::to_expr(distance));
    }
    return true;
  }

  /// The longer one's weights by what they read.
  void collect_taps() {
    std::vector<int> sums;
    for (size_t a = static_cast<size_t>(longer_.space.num_parallel());
         a < longer_.space.axes.size(); ++a) {
      sums.push_back(static_cast<int>(a));
    }
    const Expr offset = weight_offset(longer_);
    std::vector<int64_t> point(longer_.space.axes.size(), 0);
    for_each_point(longer_.space, sums, point, [&](const std::vector<int64_t>& at) {
      std::vector<int64_t> read;
      for (const Expr& expr : taps_) read.push_back(index::evaluate(expr, at));
      weight_of_tap_.emplace(std::move(read), index::evaluate(offset, at));
    });
  }

  bool add_weights() {
    // Axes that decide which tap it is, and the others, along which both go in equal steps.
    std::vector<int> deciding = used_axes(distances_), along;
    for (const std::vector<int>* axes : {&channels_, &sums_}) {
      for (int axis : *axes) {
        if (std::count(deciding.begin(), deciding.end(), axis) == 0) along.push_back(axis);
      }
    }
    if (num_points(other_.space, deciding).value_or(kMaxTaps + 1) > kMaxTaps) return false;
    const Linear from = index::to_linear(weight_offset(other_));
    const Linear to = index::to_linear(weight_offset(longer_));
    sum_ = Tensor(longer_.weights.dtype(), longer_.weights.shape());
    std::copy_n(longer_.weights.bytes(), longer_.weights.size_bytes(), sum_.bytes());
    std::vector<int64_t> point(other_.space.axes.size(), 0);
    bool found = true;
    for_each_point(other_.space, deciding, point, [&](std::vector<int64_t>& at) {
      std::vector<int64_t> read;
      for (const Expr& expr : distances_) read.push_back(index::evaluate(expr, at));
      const auto tap = weight_of_tap_.find(read);
      found = found && tap != weight_of_tap_.end();
      if (!found) return;
      for_each_point(other_.space, along, at, [&](const std::vector<int64_t>& inner) {
        int64_t source = from.constant, target = tap->second;
        for (const auto& [axis, coefficient] : from.coefficients) {
          source += coefficient * inner[axis];
        }
        for (int axis : channels_) target += to.coefficient(axis) * inner[axis];
        sum_.set_f64(target, sum_.at_f64(target) + other_.weights.at_f64(source));
        found = found && std::isfinite(sum_.at_f64(target));
      });
    });
    return found;
  }

  const Branch& longer_;
  const Branch& other_;
  std::vector<int> channels_;  // parallel axes that the longer one's weights depend on
  std::vector<int> sums_;      // the other one's reduction axes
  std::vector<Expr> taps_, distances_;
  std::map<std::vector<int64_t>, int64_t> weight_of_tap_;
  Tensor sum_;
};

/// a + b; nullopt if they vary along different axes.
std::optional<ChannelAffine> sum_of_shifts(const Branch& a, const Branch& b) {
  if (a.shift_axis != -1 && b.shift_axis != -1 && a.shift_axis != b.shift_axis) return std::nullopt;
  ChannelAffine result;
  result.axis = std::max(a.shift_axis, b.shift_axis);
  const size_t channels = std::max(a.shift.size(), b.shift.size());
  for (size_t c = 0; c < channels; ++c) {
    result.shift.push_back(a.shift[a.shift_axis == -1 ? 0 : c] +
                           b.shift[b.shift_axis == -1 ? 0 : c]);
  }
  result.scale.assign(channels, 1);
  return result;
}

/// a + b of two values of the result's shape.
bool adds_two(const Graph& graph, const Node& node, const std::vector<ValueId>& inputs) {
  const auto* compute = std::get_if<graph::Compute>(&node.op);
  if (!compute || !is_elementwise(*compute) || inputs.size() != 2) return false;
  const auto& nodes = compute->body.nodes;
  if (nodes.size() != 3 || nodes.back().op != ScalarOp::kAdd || !is_float(nodes.back().dtype) ||
      nodes[0].op != ScalarOp::kOperand || nodes[1].op != ScalarOp::kOperand ||
      nodes[0].index == nodes[1].index || nodes.back().args[0] == nodes.back().args[1]) {
    return false;
  }
  for (size_t i : {0, 1}) {
    const Shape& shape = graph.values[inputs[i]].shape;
    if (!reads_own_point(compute->operands[i], shape, compute->space)) return false;
    for (size_t d = 0; d < shape.size(); ++d) {
      if (shape[d] != compute->space.axes[d].extent) return false;
    }
  }
  return true;
}

bool merge_summands(Rebuild& rebuild, const Node& node) {
  Graph& graph = rebuild.graph();
  const std::vector<ValueId> inputs = rebuild.mapped(node.inputs);
  if (!adds_two(graph, node, inputs) || rebuild.demand(node.outputs[0]).digits) return false;
  const std::vector<Branch> first = branches(rebuild, graph, inputs[0]);
  const std::vector<Branch> second = branches(rebuild, graph, inputs[1]);
  for (const auto& [longer, others] : {std::pair(&first, &second), std::pair(&second, &first)}) {
    for (const Branch& a : *longer) {
      if (!a.compute) continue;
      for (const Branch& b : *others) {
        std::optional<ChannelAffine> shift = sum_of_shifts(a, b);
        if (!shift || !shift->finite()) continue;
        std::optional<Tensor> weights = Merge(a, b).weights();
        if (!weights) continue;
        std::vector<ValueId> operands(2, a.x);
        const std::string name = graph.values[a.weights_value].name;
        operands[a.weights_number] = graph.add_constant(name, std::move(*weights));
        shift->x = graph.add_compute(a.name, *a.compute, std::move(operands), a.origin);
        rebuild.replace(node.outputs[0], add_channel_affine(graph, node.name, node.origin, *shift));
        return true;
      }
    }
  }
  return false;
}

}  // namespace

Result<Graph> merge_branches(Graph graph) {
  return rebuild_until_stable(std::move(graph), merge_summands);
}

}  // namespace corf::rewrite
