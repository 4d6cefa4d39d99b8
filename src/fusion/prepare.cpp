#include "fusion/prepare.h"

#include <algorithm>
#include <map>
#include <optional>

#include "fusion/order.h"
#include "fusion/storage.h"
#include "graph/without_dead_nodes.h"
#include "support/unique_names.h"

namespace corf::fusion {
namespace {

using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::ValueId;
using index::Expr;

Compute identity_compute(const Graph& graph, ValueId value, const DimOrder& order) {
  const graph::Value& source = graph.values[value];
  Compute copy;
  graph::Operand operand;
  operand.map.exprs.resize(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    copy.space.axes.push_back(
        {"d" + std::to_string(i), source.shape[order[i]], index::AxisKind::kParallel});
    operand.map.exprs[order[i]] = Expr::variable(static_cast<int>(i));
  }
  copy.operands.push_back(operand);
  copy.body.operand(0, source.dtype);
  return copy;
}

/// A copy of the part of a value that an operand reads, a dimension for each axis that it varies
/// along.
struct PartCopy {
  Compute compute;
  std::vector<Expr> exprs;  // of the operand that reads the copy
};

/// Copies what `operand` of `compute` reads, `last` being its innermost axis; nullopt if that is no
/// less than the whole value, or depends on what other operands hold.
std::optional<PartCopy> copy_part(const Graph& graph, ValueId value, const Compute& compute,
                                  const graph::Operand& operand, int last) {
  std::vector<bool> used;
  for (const Expr& expr : operand.map.exprs) index::collect_variables(expr, used);
  // Where it reads is in other operands.
  if (used.size() > compute.space.axes.size()) return std::nullopt;
  used.resize(compute.space.axes.size());
  std::vector<int> axes;
  for (int axis = 0; axis < static_cast<int>(used.size()); ++axis) {
    if (used[axis] && axis != last) axes.push_back(axis);
  }
  axes.push_back(last);
  PartCopy part;
  std::map<int, Expr> renamed;
  int64_t points = 1;
  for (int axis : axes) {
    const index::Axis& read = compute.space.axes[axis];
    const auto dimension = static_cast<int>(renamed.size());
    renamed[axis] = Expr::variable(dimension);
    part.compute.space.axes.push_back(
        {"d" + std::to_string(dimension), read.extent, index::AxisKind::kParallel});
    part.exprs.push_back(Expr::variable(axis));
    points *= read.extent;
  }
  const graph::Value& source = graph.values[value];
  if (points >= num_elems(source.shape)) return std::nullopt;
  graph::Operand from;
  for (const Expr& expr : operand.map.exprs) {
    from.map.exprs.push_back(
        index::substitute(expr, [&](int axis) { return std::optional(renamed.at(axis)); }));
  }
  part.compute.operands.push_back(std::move(from));
  part.compute.body.operand(0, source.dtype);
  return part;
}

bool is_constant(const Graph& graph, ValueId value) {
  return std::holds_alternative<graph::Constant>(graph.producer(value).op);
}

class Preparer {
 public:
  explicit Preparer(const Graph& graph) : source_(graph), orders_(choose_orders(graph)) {
    result_.inputs = graph.inputs;
    result_.output_names = graph.output_names;
    result_.values.reserve(graph.values.size());
    mapped_.assign(graph.values.size(), -1);
  }

  Graph run() {
    for (const Node& node : source_.nodes) {
      Node copy = node;
      if (std::holds_alternative<Compute>(node.op)) add_copies(node, copy);
      if (std::holds_alternative<graph::Opaque>(node.op)) add_dense_copies(node);
      if (is_concat(node)) add_parts(node);
      if (mixes_dimensions(node)) {
        Look look = look_of(node.outputs[0], /*through_copies=*/false);
        copy.op = std::move(look.copy);
        copy.inputs = {look.source};
      }
      append(node, std::move(copy));
    }
    for (ValueId& input : result_.inputs) input = mapped_[input];
    for (ValueId output : source_.outputs) result_.outputs.push_back(output_of(output));
    return std::move(result_);
  }

 private:
  void append(const Node& original, Node copy) {
    for (size_t i = 0; i < copy.inputs.size(); ++i) {
      ValueId& input = copy.inputs[i];
      input = i < replaced_.size() && replaced_[i] >= 0 ? replaced_[i] : mapped_[input];
    }
    replaced_.clear();
    copy.outputs.clear();
    for (ValueId output : original.outputs) {
      mapped_[output] = static_cast<ValueId>(result_.values.size());
      graph::Value value = source_.values[output];
      value.producer = static_cast<graph::NodeId>(result_.nodes.size());
      result_.values.push_back(value);
      copy.outputs.push_back(mapped_[output]);
    }
    result_.nodes.push_back(std::move(copy));
  }

  /// Decides which operands of `node` read a copy; rewrites their maps where its order differs.
  void add_copies(const Node& node, Node& copy) {
    auto& compute = std::get<Compute>(copy.op);
    if (compute.combiner == graph::Combiner::kNone) return;
    replaced_.assign(node.inputs.size(), -1);
    const bool contraction = node.inputs.size() > 1;
    const int vector_axis = natural_vector_axis(source_, node);
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      ValueId value = node.inputs[i];
      graph::Operand& operand = compute.operands[i];
      if (is_constant(source_, value) || !contraction) continue;
      int dimension = -1;
      for (size_t d = 0; d < operand.map.exprs.size(); ++d) {
        if (operand.map.exprs[d].is_variable(vector_axis)) dimension = static_cast<int>(d);
      }
      DimOrder order = orders_[value];
      const bool reorder = dimension >= 0 && order.back() != dimension;
      if (reorder) {
        order.erase(std::find(order.begin(), order.end(), dimension));
        order.push_back(dimension);
      }
      const bool no_margins = operand.guarded &&
                              fills_margins(operand.padding, source_.values[value].dtype) &&
                              !can_have_margins(value);
      const bool across = vector_axis >= 0 && dimension < 0 &&
                          compute.space.axes[vector_axis].extent >= kManyChannels;
      if (no_margins && across) {
        // Copied anyway: the channels that a result sums up come side by side.
        const int channels = summed_dimension(compute, operand);
        if (channels >= 0) {
          order.erase(std::find(order.begin(), order.end(), channels));
          order.push_back(channels);
        }
      }
      const bool in_order = reorder && !operand.guarded;
      auto part =
          in_order ? copy_part(source_, value, compute, operand, vector_axis) : std::nullopt;
      if (part) {
        replaced_[i] = add_copy(value, std::move(part->compute));
        operand.map.exprs = std::move(part->exprs);
      } else if (no_margins || in_order) {
        read_copy(i, value, order, operand);
      }
    }
  }

  /// Storage with margins can be given to what a kernel or a concatenation writes.
  bool can_have_margins(ValueId value) const {
    const Node& node = source_.producer(value);
    if (std::holds_alternative<Compute>(node.op) || mixes_dimensions(node)) return true;
    const auto* view = std::get_if<graph::View>(&node.op);
    return is_concat(node) || (view && std::holds_alternative<graph::Pad>(*view));
  }

  static bool is_concat(const Node& node) {
    const auto* view = std::get_if<graph::View>(&node.op);
    return view && std::holds_alternative<graph::Concat>(*view);
  }

  /// Whether the node is a view that may be another look at its input's storage.
  static bool is_mere_look(const Node& node) {
    const auto* view = std::get_if<graph::View>(&node.op);
    return view && !is_concat(node) && !std::holds_alternative<graph::Pad>(*view);
  }

  /// Parts that no kernel writes in place are copied there by one, which can run with others.
  void add_parts(const Node& concat) {
    replaced_.assign(concat.inputs.size(), -1);
    for (size_t i = 0; i < concat.inputs.size(); ++i) {
      const ValueId part = concat.inputs[i];
      const Node& maker = source_.producer(part);
      if (!is_mere_look(maker) && !std::holds_alternative<graph::Input>(maker.op)) continue;
      if (num_elems(source_.values[part].shape) == 0) continue;
      replaced_[i] = part_of(part);
    }
  }

  /// Whether the node is a reshape that no strides describe: windows of an image, channels out of
  /// pixels. It becomes a copy that runs in groups like any other operator.
  bool mixes_dimensions(const Node& node) const {
    const auto* view = std::get_if<graph::View>(&node.op);
    if (!view || !std::holds_alternative<graph::Reshape>(*view)) return false;
    const ValueId input = node.inputs[0];
    const Shape& from = source_.values[input].shape;
    const Shape& to = source_.values[node.outputs[0]].shape;
    if (num_elems(to) == 0 || is_constant(source_, input)) return false;
    return !reshape_strides(from, dense_strides(from, orders_[input]), to);
  }

  /// What a value looks at through views, those that have become copies too or not, and the copy
  /// that it is of that.
  struct Look {
    ValueId source = -1;
    Compute copy;
  };

  Look look_of(ValueId value, bool through_copies) const {
    const Shape& shape = source_.values[value].shape;
    Look look{value,
              identity_compute(source_, value, row_major_order(static_cast<int>(shape.size())))};
    index::IndexMap& map = look.copy.operands[0].map;
    std::vector<index::Interval> ranges;
    for (const int64_t extent : shape) ranges.push_back({0, extent - 1});
    const auto goes_on = [&](const Node& node) {
      const bool stops = !through_copies && look.source != value && mixes_dimensions(node);
      return is_mere_look(node) && !stops;
    };
    while (goes_on(source_.producer(look.source))) {
      const Node& node = source_.producer(look.source);
      const ValueId input = node.inputs[0];
      map = index::compose(
          graph::index_map(std::get<graph::View>(node.op), source_.values[input].shape,
                           source_.values[look.source].shape),
          map);
      for (Expr& expr : map.exprs) expr = index::simplify(expr, ranges);
      look.source = input;
    }
    return look;
  }

  /// A copy of what the value looks at through views other than concatenations and pads.
  ValueId part_of(ValueId part) {
    Look look = look_of(part, /*through_copies=*/true);
    return add_copy(look.source, std::move(look.copy), "Concat");
  }

  /// Routines read dense row-major arrays.
  void add_dense_copies(const Node& node) {
    replaced_.assign(node.inputs.size(), -1);
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId value = node.inputs[i];
      const graph::Op& op = source_.producer(value).op;
      if (std::holds_alternative<Compute>(op) || std::holds_alternative<graph::View>(op)) {
        replaced_[i] =
            copy_of(value, row_major_order(static_cast<int>(source_.values[value].shape.size())));
      }
    }
  }

  /// Whether the value has all elements of what it looks at, in the order that they are computed
  /// in.
  bool lies_as_computed(ValueId value) const {
    while (is_mere_look(source_.producer(value))) {
      const Node& node = source_.producer(value);
      const ValueId input = node.inputs[0];
      const Shape &from = source_.values[input].shape, &to = source_.values[value].shape;
      const auto strides = std::holds_alternative<graph::Reshape>(std::get<graph::View>(node.op))
                               ? reshape_strides(from, dense_strides(from, orders_[input]), to)
                               : std::nullopt;
      if (!strides || *strides != row_major_strides(to)) return false;
      value = input;
    }
    return true;
  }

  /// What a kernel computes in another order than the caller's is copied, and so is what views take
  /// out of it; the copy is inlined into
  /// that kernel, which then writes the caller's order itself.
  ValueId output_of(ValueId value) {
    const Shape& shape = source_.values[value].shape;
    const DimOrder row_major = row_major_order(static_cast<int>(shape.size()));
    auto without_units = [&](DimOrder order) {
      std::erase_if(order, [&](int d) { return shape[d] == 1; });
      return order;
    };
    const Node& producer = source_.producer(value);
    if (is_mere_look(producer) && !mixes_dimensions(producer) && !lies_as_computed(value)) {
      Look look = look_of(value, /*through_copies=*/false);
      const Node& maker = source_.producer(look.source);
      const bool is_computed = std::holds_alternative<Compute>(maker.op) || mixes_dimensions(maker);
      if (num_elems(shape) > 0 && is_computed) return add_copy(look.source, std::move(look.copy));
    }
    if (!std::holds_alternative<Compute>(source_.producer(value).op) ||
        without_units(orders_[value]) == without_units(row_major)) {
      return mapped_[value];
    }
    return copy_of(value, row_major);
  }

  /// Operand i reads a copy of its value, dense in that order.
  void read_copy(size_t i, ValueId value, const DimOrder& order, graph::Operand& operand) {
    replaced_[i] = copy_of(value, order);
    std::vector<Expr> exprs;
    for (int d : order) exprs.push_back(operand.map.exprs[d]);
    operand.map.exprs = exprs;
  }

  ValueId copy_of(ValueId value, const DimOrder& order) {
    auto [it, fresh] = copies_.try_emplace({value, order}, -1);
    if (fresh) it->second = add_copy(value, identity_compute(source_, value, order));
    return it->second;
  }

  ValueId add_copy(ValueId value, Compute copy, const std::string& origin = "Copy") {
    std::string name = source_.values[value].name + "/copy";
    if (const int earlier = num_copies_[value]++; earlier > 0) name += std::to_string(earlier + 1);
    return result_.add_compute(name, std::move(copy), {mapped_[value]}, origin);
  }

  const Graph& source_;
  std::vector<DimOrder> orders_;
  Graph result_;
  std::vector<ValueId> mapped_;    // source value -> result value
  std::vector<ValueId> replaced_;  // of the node at hand: by input, the copy that it reads
  std::map<std::pair<ValueId, DimOrder>, ValueId> copies_;
  std::map<ValueId, int> num_copies_;
};

}  // namespace

namespace {

/// The first of those that have a name keeps it.
void tell_apart(const std::vector<std::string*>& all) {
  UniqueNames names;
  std::vector<std::string*> repeated;
  for (std::string* name : all) {
    if (!names.reserve(*name)) repeated.push_back(name);
  }
  for (std::string* name : repeated) *name = names.claim(*name);
}

/// Plans know nodes and values by their names, callers the graph's inputs.
void tell_names_apart(Graph& graph) {
  std::vector<std::string*> nodes, values;
  for (graph::Node& node : graph.nodes) nodes.push_back(&node.name);
  for (ValueId input : graph.inputs) values.push_back(&graph.values[input].name);
  for (graph::Value& value : graph.values) {
    const graph::Op& maker = graph.nodes[value.producer].op;
    if (!std::holds_alternative<graph::Input>(maker)) values.push_back(&value.name);
  }
  tell_apart(nodes);
  tell_apart(values);
}

}  // namespace

Graph prepare(const Graph& graph) {
  Graph prepared = graph::without_dead_nodes(Preparer(graph).run());
  tell_names_apart(prepared);
  return prepared;
}

}  // namespace corf::fusion
