#include "fusion/storage.h"

#include <algorithm>
#include <map>

#include "fusion/order.h"
#include "support/assert.h"

namespace corf::fusion {
namespace {

using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::NodeId;
using graph::ValueId;
using index::Expr;
using index::Interval;

struct Margins {
  std::vector<int64_t> before, after;
  int64_t value = 0;

  bool any() const {
    const auto is_some = [](int64_t extent) { return extent > 0; };
    return std::any_of(before.begin(), before.end(), is_some) ||
           std::any_of(after.begin(), after.end(), is_some);
  }
};

/// A value that lies inside of a concatenation's storage.
struct Binding {
  ValueId concat = -1;
  int axis = 0;
  int64_t start = 0;
};

bool is_row_major(const Shape& shape, const std::vector<int64_t>& strides) {
  std::vector<int64_t> expected = row_major_strides(shape);
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] != 1 && strides[d] != expected[d]) return false;
  }
  return true;
}

class StoragePlanner {
 public:
  explicit StoragePlanner(const Graph& graph)
      : graph_(graph), orders_(choose_orders(graph)), bindings_(graph.values.size()) {
    plan_.values.resize(graph.values.size());
    plan_.output_roots.assign(graph.outputs.size(), -1);
  }

  StoragePlan run() {
    find_dense();
    find_margins();
    bind_concatenations();
    for (ValueId value = static_cast<ValueId>(graph_.values.size()) - 1; value >= 0; --value) {
      if (!is_alias_view(value)) place(value);
    }
    for (NodeId id = 0; id < static_cast<NodeId>(graph_.nodes.size()); ++id) place_view(id);
    place_outputs();
    for (const Root& root : plan_.roots) {
      if (root.kind != Root::Kind::kConstant) continue;
      plan_.constant_bytes += root.size_elems * size_bytes(root.dtype);
    }
    return std::move(plan_);
  }

 private:
  const Node& producer(ValueId value) const { return graph_.producer(value); }
  const Shape& shape(ValueId value) const { return graph_.values[value].shape; }
  bool is_compute(ValueId value) const {
    return std::holds_alternative<Compute>(producer(value).op);
  }
  /// Routines read constants as they are.
  bool is_constant(ValueId value) const {
    return std::holds_alternative<graph::Constant>(producer(value).op) && !read_by_routine_[value];
  }
  const graph::View* view_of(ValueId value) const {
    return std::get_if<graph::View>(&producer(value).op);
  }
  bool is_concat(ValueId value) const {
    return view_of(value) && std::holds_alternative<graph::Concat>(*view_of(value));
  }
  bool is_pad(ValueId value) const {
    return view_of(value) && std::holds_alternative<graph::Pad>(*view_of(value));
  }
  bool is_reshape(ValueId value) const {
    return view_of(value) && std::holds_alternative<graph::Reshape>(*view_of(value));
  }
  /// Views that may be another look at their input's storage.
  bool is_alias_view(ValueId value) const {
    return view_of(value) && !is_concat(value) && !is_pad(value);
  }

  /// Values whose elements must lie without gaps: the caller's, constants, those of routines.
  void find_dense() {
    dense_.assign(graph_.values.size(), false);
    read_by_routine_.assign(graph_.values.size(), false);
    for (ValueId output : graph_.outputs) {
      dense_[output] = true;
      while (is_reshape(output)) {
        output = graph_.producer(output).inputs[0];
        dense_[output] = true;
      }
    }
    for (const Node& node : graph_.nodes) {
      const bool opaque = std::holds_alternative<graph::Opaque>(node.op);
      const bool written =
          std::holds_alternative<Compute>(node.op) || std::holds_alternative<graph::View>(node.op);
      for (ValueId output : node.outputs) dense_[output] = dense_[output] || !written;
      for (ValueId input : node.inputs) {
        dense_[input] = dense_[input] || opaque;
        read_by_routine_[input] = read_by_routine_[input] || opaque;
      }
    }
  }

  /// Padding that consumers read around each value: what the first of them reads.
  void find_margins() {
    margins_.resize(graph_.values.size());
    for (size_t v = 0; v < graph_.values.size(); ++v) {
      margins_[v].before.assign(graph_.values[v].shape.size(), 0);
      margins_[v].after.assign(graph_.values[v].shape.size(), 0);
    }
    for (const Node& node : graph_.nodes) {
      const auto* compute = std::get_if<Compute>(&node.op);
      if (!compute) continue;
      std::vector<Interval> ranges;
      for (const index::Axis& axis : compute->space.axes) ranges.push_back({0, axis.extent - 1});
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        const graph::Operand& operand = compute->operands[i];
        ValueId value = node.inputs[i];
        if (!operand.guarded || !fills_margins(operand.padding, graph_.values[value].dtype)) {
          continue;
        }
        const auto padding = static_cast<int64_t>(operand.padding);
        const bool placed = is_compute(value) || is_concat(value) || is_pad(value) ||
                            (is_constant(value) && padding == 0);
        if (!placed || (margins_[value].any() && margins_[value].value != padding)) continue;
        margins_[value].value = padding;
        for (size_t d = 0; d < operand.map.exprs.size(); ++d) {
          if (!index::to_linear(operand.map.exprs[d]).is_affine()) continue;
          Interval range = index::bounds(operand.map.exprs[d], ranges);
          Margins& margins = margins_[value];
          margins.before[d] = std::max(margins.before[d], -range.lo);
          margins.after[d] = std::max(margins.after[d], range.hi - (shape(value)[d] - 1));
        }
      }
    }
  }

  bool can_bind(ValueId part, ValueId concat) const {
    if (bindings_[part].concat >= 0 || graph_.values[part].dtype != graph_.values[concat].dtype) {
      return false;
    }
    if (!is_compute(part) && !is_concat(part) && !is_pad(part)) return false;
    return orders_[part] == orders_[concat];
  }

  /// Later concatenations first: what they repeat of earlier ones then lies inside of them.
  void bind_concatenations() {
    for (size_t id = graph_.nodes.size(); id-- > 0;) {
      const Node& node = graph_.nodes[id];
      const auto* view = std::get_if<graph::View>(&node.op);
      if (!view || !std::holds_alternative<graph::Concat>(*view)) continue;
      const int axis = std::get<graph::Concat>(*view).axis;
      const ValueId output = node.outputs[0];
      if (bindings_[output].concat < 0 && repeats_bound_parts(node, axis)) continue;
      int64_t start = 0;
      for (ValueId part : node.inputs) {
        if (can_bind(part, output)) {
          bindings_[part] = {output, axis, start};
          merge_margins(output, part, axis);
        }
        start += shape(part)[axis];
      }
    }
  }

  /// All parts already lie side by side in one later concatenation: then this one is a slice of it.
  bool repeats_bound_parts(const Node& node, int axis) {
    const Binding first = bindings_[node.inputs[0]];
    if (first.concat < 0 || first.axis != axis) return false;
    int64_t start = first.start;
    for (ValueId part : node.inputs) {
      const Binding& binding = bindings_[part];
      if (binding.concat != first.concat || binding.start != start) return false;
      start += shape(part)[axis];
    }
    if (orders_[node.outputs[0]] != orders_[first.concat]) return false;
    bindings_[node.outputs[0]] = first;
    merge_margins(first.concat, node.outputs[0], axis);
    return true;
  }

  /// A part whose margins hold something else has none: its readers are guarded.
  void merge_margins(ValueId into, ValueId part, int axis) {
    if (!margins_[part].any()) return;
    if (!margins_[into].any()) margins_[into].value = margins_[part].value;
    if (margins_[into].value != margins_[part].value) return;
    for (size_t d = 0; d < margins_[into].before.size(); ++d) {
      if (static_cast<int>(d) == axis) continue;
      margins_[into].before[d] = std::max(margins_[into].before[d], margins_[part].before[d]);
      margins_[into].after[d] = std::max(margins_[into].after[d], margins_[part].after[d]);
    }
  }

  void place(ValueId value) {
    Storage& storage = plan_.values[value];
    const Binding& binding = bindings_[value];
    if (binding.concat >= 0) {
      storage = plan_.values[binding.concat];
      CORF_ASSERT(storage.assigned(), "a concatenation is placed before its parts");
      const int axis = binding.axis;
      storage.offset += binding.start * storage.strides[axis];
      // Around the first and the last part lie the concatenation's margins; who writes them zeroes
      // these.
      const int64_t end = binding.start + shape(value)[axis];
      if (binding.start > 0) storage.margin_before[axis] = 0;
      if (end < shape(binding.concat)[axis]) storage.margin_after[axis] = 0;
      return;
    }
    place_root(value, margins_[value]);
  }

  void place_root(ValueId value, const Margins& margins) {
    Storage& storage = plan_.values[value];
    Shape extents = shape(value);
    for (size_t d = 0; d < extents.size(); ++d) extents[d] += margins.before[d] + margins.after[d];
    if (!dense_[value]) {
      spread_over_cache_sets(extents, orders_[value], graph_.values[value].dtype);
    }
    storage.strides = dense_strides(extents, orders_[value]);
    storage.margin_before = margins.before;
    storage.margin_after = margins.after;
    storage.margin_value = margins.value;
    storage.offset = 0;
    for (size_t d = 0; d < extents.size(); ++d) {
      storage.offset += margins.before[d] * storage.strides[d];
    }
    storage.root = add_root(value, num_elems(extents));
  }

  int add_root(ValueId value, int64_t size_elems) {
    Root root;
    root.value = value;
    root.dtype = graph_.values[value].dtype;
    root.size_elems = size_elems;
    const Node& node = producer(value);
    if (std::holds_alternative<graph::Constant>(node.op)) root.kind = Root::Kind::kConstant;
    if (std::holds_alternative<graph::Input>(node.op)) {
      root.kind = Root::Kind::kInput;
      auto it = std::find(graph_.inputs.begin(), graph_.inputs.end(), value);
      root.position = static_cast<int>(it - graph_.inputs.begin());
    }
    plan_.roots.push_back(root);
    return static_cast<int>(plan_.roots.size()) - 1;
  }

  void place_view(NodeId id) {
    const Node& node = graph_.nodes[id];
    const auto* view = std::get_if<graph::View>(&node.op);
    if (!view) return;
    const ValueId output = node.outputs[0];
    std::vector<int> copied_parts;
    if (is_concat(output)) {
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (!lies_in_place(node, static_cast<int>(i))) copied_parts.push_back(static_cast<int>(i));
      }
    } else if (!is_alias_view(output) || !alias(*view, node.inputs[0], output)) {
      if (is_alias_view(output)) place_root(output, margins_[output]);
      copied_parts.push_back(0);
    }
    if (copied_parts.empty()) return;
    plan_.copied_views.push_back(id);
    plan_.copied_parts.push_back(copied_parts);
  }

  bool lies_in_place(const Node& node, int part) const {
    const ValueId output = node.outputs[0];
    const int axis = std::get<graph::Concat>(std::get<graph::View>(node.op)).axis;
    int64_t start = 0;
    for (int i = 0; i < part; ++i) start += shape(node.inputs[i])[axis];
    const Storage& whole = plan_.values[output];
    const Storage& here = plan_.values[node.inputs[part]];
    return here.root == whole.root && here.strides == whole.strides &&
           here.offset == whole.offset + start * whole.strides[axis];
  }

  bool alias(const graph::View& view, ValueId input, ValueId output) {
    const Storage& from = plan_.values[input];
    Storage to;
    to.root = from.root;
    to.offset = from.offset;
    const size_t rank = shape(output).size();
    to.margin_before.assign(rank, 0);
    to.margin_after.assign(rank, 0);
    if (std::holds_alternative<graph::Reshape>(view)) {
      auto strides = reshape_strides(shape(input), from.strides, shape(output));
      if (!strides) return false;
      to.strides = *strides;
    } else {
      index::IndexMap map = graph::index_map(view, shape(input), shape(output));
      to.strides.assign(rank, 0);
      for (size_t d = 0; d < map.exprs.size(); ++d) {
        index::Linear linear = index::to_linear(map.exprs[d]);
        if (!linear.is_affine()) return false;
        to.offset += linear.constant * from.strides[d];
        for (auto [variable, coefficient] : linear.coefficients) {
          to.strides[variable] += coefficient * from.strides[d];
        }
      }
    }
    plan_.values[output] = to;
    return true;
  }

  void place_outputs() {
    for (size_t i = 0; i < graph_.outputs.size(); ++i) {
      ValueId value = graph_.outputs[i];
      const Storage& storage = plan_.values[value];
      Root& root = plan_.roots[storage.root];
      const bool is_whole = root.size_elems == num_elems(shape(value)) && storage.offset == 0;
      bool direct = is_whole && root.kind == Root::Kind::kArena && !storage.has_margins() &&
                    is_row_major(shape(value), storage.strides);
      if (direct) {
        root.kind = Root::Kind::kOutput;
        root.position = static_cast<int>(i);
        plan_.output_roots[i] = storage.root;
        continue;
      }
      Root copy;
      copy.kind = Root::Kind::kOutput;
      copy.value = value;
      copy.dtype = graph_.values[value].dtype;
      copy.size_elems = num_elems(shape(value));
      copy.position = static_cast<int>(i);
      plan_.output_roots[i] = static_cast<int>(plan_.roots.size());
      plan_.roots.push_back(copy);
      if (copy.size_elems > 0) plan_.copied_outputs.push_back(static_cast<int>(i));
    }
  }

  const Graph& graph_;
  std::vector<DimOrder> orders_;
  std::vector<bool> dense_, read_by_routine_;
  std::vector<Margins> margins_;
  std::vector<Binding> bindings_;
  StoragePlan plan_;
};

}  // namespace

bool fills_margins(double padding, DType dtype) {
  if (padding == 0) return true;
  if (dtype == DType::kU8) return padding > 0 && padding <= 255;
  return dtype == DType::kI8 && padding >= -128 && padding <= 127;
}

bool Storage::has_margins() const {
  auto positive = [](int64_t margin) { return margin > 0; };
  return std::any_of(margin_before.begin(), margin_before.end(), positive) ||
         std::any_of(margin_after.begin(), margin_after.end(), positive);
}

std::optional<std::vector<int64_t>> reshape_strides(const Shape& from,
                                                    const std::vector<int64_t>& strides,
                                                    const Shape& to) {
  // Extents of 1 have no say; the others are matched in runs of equal products.
  Shape from_extents;
  std::vector<int64_t> from_strides;
  for (size_t d = 0; d < from.size(); ++d) {
    if (from[d] == 1) continue;
    from_extents.push_back(from[d]);
    from_strides.push_back(strides[d]);
  }
  std::vector<int64_t> result(to.size(), 1);
  if (num_elems(from) == 0) return result;
  size_t f = 0, t = 0;
  while (t < to.size()) {
    if (to[t] == 1) {
      ++t;
      continue;
    }
    size_t f_end = f, t_end = t;
    int64_t f_size = from_extents[f_end++], t_size = to[t_end++];
    while (f_size != t_size) {
      if (f_size < t_size) {
        f_size *= from_extents[f_end++];
      } else {
        t_size *= to[t_end++];
      }
    }
    for (size_t i = f; i + 1 < f_end; ++i) {
      if (from_strides[i] != from_extents[i + 1] * from_strides[i + 1]) return std::nullopt;
    }
    int64_t stride = from_strides[f_end - 1];
    for (size_t i = t_end; i-- > t;) {
      result[i] = stride;
      stride *= to[i];
    }
    f = f_end;
    t = t_end;
  }
  // Unit extents take the stride of what follows, so that sorting by strides keeps their place.
  for (size_t i = to.size(); i-- > 0;) {
    if (to[i] == 1) result[i] = i + 1 < to.size() ? result[i + 1] * to[i + 1] : 1;
  }
  return result;
}

StoragePlan plan_storage(const Graph& graph) { return StoragePlanner(graph).run(); }

}  // namespace corf::fusion
