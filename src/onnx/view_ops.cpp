#include <algorithm>
#include <numeric>

#include "onnx/compose.h"
#include "support/checked.h"

namespace corf::onnx {
namespace {

/// Errors: kInvalidModel if the shape is no shape or holds another number of elements than x.
Status check_reshape(const NodeImport& node, ValueId x, const Shape& shape) {
  auto count = checked_num_elems(shape);
  if (!count.ok() || *count != num_elems(node.shape(x))) {
    return node.invalid("{} cannot be reshaped to {}", to_string(node.shape(x)), to_string(shape));
  }
  return {};
}

/// The shape is an attribute before opset 5 and an input from then on.
Status import_reshape(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(node.opset() < 5 ? 1 : 2));
  ValueId x = node.input(0);
  Shape from = node.shape(x);
  Shape wanted = node.ints_attribute("shape");
  if (node.opset() >= 5) {
    CORF_ASSIGN(wanted, node.known_ints(1, "shape"));
  }
  bool allow_zero = node.int_attribute("allowzero", 0) != 0;
  Shape to = wanted;
  int inferred = -1;
  int64_t rest = 1;  // product of the extents that are given
  for (size_t i = 0; i < to.size(); ++i) {
    if (to[i] == 0 && !allow_zero) {
      if (i >= from.size()) return node.invalid("{} to {}", to_string(from), to_string(wanted));
      to[i] = from[i];
    }
    if (to[i] < -1 || (to[i] == -1 && inferred >= 0)) {
      return node.invalid("{} is no shape to reshape to", to_string(wanted));
    }
    if (to[i] == -1) {
      inferred = static_cast<int>(i);
      continue;
    }
    auto product = checked_mul(rest, to[i]);
    if (!product) return node.invalid("{} is no shape to reshape to", to_string(wanted));
    rest = *product;
  }
  if (inferred >= 0) {
    to[inferred] = 1;
    int64_t count = num_elems(from);
    to[inferred] = rest == 0 ? 0 : count / rest;
  }
  CORF_RETURN_IF_ERROR(check_reshape(node, x, to));
  node.set_output(reshape(node.graph, node.name(), x, to));
  return {};
}

Status import_flatten(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  Shape shape = node.shape(x);
  auto rank = static_cast<int64_t>(shape.size());
  int64_t axis = node.int_attribute("axis", 1);
  if (axis < -rank || axis > rank) return node.invalid("axis {} for rank {}", axis, rank);
  if (axis < 0) axis += rank;
  Shape flat = {num_elems(Shape(shape.begin(), shape.begin() + axis)),
                num_elems(Shape(shape.begin() + axis, shape.end()))};
  node.set_output(reshape(node.graph, node.name(), x, flat));
  return {};
}

/// Axes of Squeeze and Unsqueeze: an attribute before opset 13, an input from then on.
Result<std::optional<std::vector<int64_t>>> read_axes(NodeImport& node) {
  using Axes = std::optional<std::vector<int64_t>>;
  if (node.has(1)) {
    CORF_ASSIGN(auto axes, node.known_ints(1, "axes"));
    return Axes(axes);
  }
  return node.has_attribute("axes") ? Axes(node.ints_attribute("axes")) : Axes();
}

Status import_squeeze(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  Shape shape = node.shape(x);
  CORF_ASSIGN(auto wanted, read_axes(node));
  std::vector<bool> dropped(shape.size());
  if (wanted) {
    CORF_ASSIGN(auto axes, normal_axes(node, *wanted, node.rank(x)));
    for (int axis : axes) {
      if (shape[axis] != 1) {
        return node.invalid("dimension {} of {} is not 1", axis, to_string(shape));
      }
      dropped[axis] = true;
    }
  } else {
    for (size_t d = 0; d < shape.size(); ++d) dropped[d] = shape[d] == 1;
  }
  Shape result;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (!dropped[d]) result.push_back(shape[d]);
  }
  node.set_output(reshape(node.graph, node.name(), x, result));
  return {};
}

Status import_unsqueeze(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  Shape shape = node.shape(x);
  CORF_ASSIGN(auto wanted, read_axes(node));
  if (!wanted) return node.invalid("it has no axes");
  int rank = node.rank(x) + static_cast<int>(wanted->size());
  CORF_ASSIGN(auto axes, normal_axes(node, *wanted, rank));
  for (int axis : axes) shape.insert(shape.begin() + axis, 1);
  node.set_output(reshape(node.graph, node.name(), x, shape));
  return {};
}

Status import_transpose(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  int rank = node.rank(x);
  std::vector<int64_t> reversed(rank);
  std::iota(reversed.rbegin(), reversed.rend(), 0);
  auto perm = node.ints_attribute("perm", reversed);
  CORF_RETURN_IF_ERROR(normal_axes(node, perm, rank));
  if (static_cast<int>(perm.size()) != rank) {
    return node.invalid("a permutation of {} dimensions for rank {}", perm.size(), rank);
  }
  std::vector<int> permutation;
  for (int64_t axis : perm) permutation.push_back(static_cast<int>(axis < 0 ? axis + rank : axis));
  node.set_output(transpose(node.graph, node.name(), x, permutation));
  return {};
}

Status import_concat(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(std::max(1, node.num_inputs())));
  std::vector<ValueId> inputs;
  for (int i = 0; i < node.num_inputs(); ++i) inputs.push_back(node.input(i));
  CORF_RETURN_IF_ERROR(require_same_type(node, inputs));
  if (!node.has_attribute("axis") && node.opset() >= 4) {
    return node.invalid("attribute 'axis' is missing");
  }
  CORF_ASSIGN(int axis, normal_axis(node, node.int_attribute("axis", 1), node.rank(inputs[0])));
  Shape first = node.shape(inputs[0]);
  int64_t total = 0;
  for (ValueId input : inputs) {
    Shape shape = node.shape(input);
    bool fits = shape.size() == first.size();
    auto sum = checked_add(total, fits ? shape[axis] : 0);
    if (fits) shape[axis] = first[axis];
    if (shape != first || !sum) {
      return node.invalid("shapes {} cannot be concatenated along axis {}",
                          join_shapes(node, inputs), axis);
    }
    total = *sum;
  }
  node.set_output(concat(node.graph, node.name(), inputs, axis));
  return {};
}

struct SliceBounds {
  std::vector<int64_t> starts, ends, axes, steps;
};

/// Attributes before opset 10, inputs from then on.
Result<SliceBounds> read_slice(NodeImport& node) {
  SliceBounds bounds;
  if (node.opset() < 10) {
    bounds.starts = node.ints_attribute("starts");
    bounds.ends = node.ints_attribute("ends");
    bounds.axes = node.ints_attribute("axes");
  } else {
    CORF_RETURN_IF_ERROR(node.require_inputs(3));
    CORF_ASSIGN(bounds.starts, node.known_ints(1, "starts"));
    CORF_ASSIGN(bounds.ends, node.known_ints(2, "ends"));
    if (node.has(3)) {
      CORF_ASSIGN(bounds.axes, node.known_ints(3, "axes"));
    }
    if (node.has(4)) {
      CORF_ASSIGN(bounds.steps, node.known_ints(4, "steps"));
    }
  }
  if (bounds.axes.empty()) {
    bounds.axes.resize(bounds.starts.size());
    std::iota(bounds.axes.begin(), bounds.axes.end(), 0);
  }
  if (bounds.steps.empty()) bounds.steps.assign(bounds.starts.size(), 1);
  size_t count = bounds.starts.size();
  if (bounds.ends.size() != count || bounds.axes.size() != count || bounds.steps.size() != count) {
    return node.invalid("starts, ends, axes and steps differ in length");
  }
  return bounds;
}

Status import_slice(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  Shape shape = node.shape(x);
  CORF_ASSIGN(SliceBounds bounds, read_slice(node));
  CORF_RETURN_IF_ERROR(normal_axes(node, bounds.axes, node.rank(x)));
  graph::Slice view{std::vector<int64_t>(shape.size(), 0), std::vector<int64_t>(shape.size(), 1)};
  bool changes = false;
  for (size_t i = 0; i < bounds.starts.size(); ++i) {
    CORF_ASSIGN(int axis, normal_axis(node, bounds.axes[i], node.rank(x)));
    int64_t extent = shape[axis];
    int64_t step = bounds.steps[i];
    if (step == 0) return node.invalid("a step of 0");
    auto from_end = [extent](int64_t v) { return v < 0 ? v + extent : v; };
    // Backwards, the position before the first element is -1.
    int64_t lowest = step > 0 ? 0 : -1;
    int64_t highest = step > 0 ? extent : extent - 1;
    int64_t start = std::clamp(from_end(bounds.starts[i]), std::min(lowest, highest), highest);
    int64_t end = std::clamp(from_end(bounds.ends[i]), std::min(lowest, highest), highest);
    if (step < 0) start = std::max(start, int64_t{-1});
    int64_t count = std::max<int64_t>(0, ceil_div(end - start, step));
    if (count == 0) start = 0;
    changes = changes || count != extent || start != 0 || (step != 1 && count > 1);
    view.starts[axis] = start;
    view.steps[axis] = count > 1 ? step : 1;
    shape[axis] = count;
  }
  if (!changes) {
    node.set_output(x);
    return {};
  }
  node.set_output(node.graph.add_view(node.name(), std::move(view), {x}, shape));
  return {};
}

Status import_split(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  CORF_ASSIGN(int axis, normal_axis(node, node.int_attribute("axis", 0), node.rank(x)));
  int64_t extent = node.shape(x)[axis];
  std::vector<int64_t> parts = node.ints_attribute("split");
  if (node.has(1)) {
    CORF_ASSIGN(parts, node.known_ints(1, "split"));
  }
  if (parts.empty()) {
    // Parts of equal size, the last one smaller if need be (from opset 18 on).
    int64_t count = node.int_attribute("num_outputs", node.num_outputs());
    if (count < 1 || count > node.num_outputs() || (node.opset() < 18 && extent % count != 0)) {
      return node.invalid("extent {} cannot be split into {} parts", extent, count);
    }
    int64_t part = ceil_div(extent, count);
    for (int64_t i = 0; i < count; ++i) {
      parts.push_back(std::clamp<int64_t>(extent - i * part, 0, part));
    }
  }
  int64_t total = 0;
  bool fits = static_cast<int>(parts.size()) == node.num_outputs();
  for (int64_t part : parts) {
    auto sum = checked_add(total, part);
    fits = fits && part >= 0 && sum;
    total = sum.value_or(0);
  }
  if (!fits || total != extent) {
    return node.invalid("parts {} for extent {} and {} outputs", to_string(parts), extent,
                        node.num_outputs());
  }
  int64_t begin = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    std::string name = i == 0 ? node.name() : node.part(std::to_string(i));
    if (node.wants_output(static_cast<int>(i))) {
      node.set_output(static_cast<int>(i),
                      slice(node.graph, name, x, axis, begin, begin + parts[i]));
    }
    begin += parts[i];
  }
  return {};
}

Status import_expand(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId x = node.input(0);
  CORF_ASSIGN(Shape wanted, node.known_ints(1, "shape"));
  auto shape = broadcast_shape(node.shape(x), wanted);
  if (!shape || !checked_num_elems(*shape).ok()) {
    return node.invalid("{} does not broadcast to {}", to_string(node.shape(x)), to_string(wanted));
  }
  node.set_output(broadcast(node.graph, node.name(), x, *shape));
  return {};
}

/// By dimension; before opset 6 a number of repeats and the one dimension that they are of.
Result<std::vector<int64_t>> read_repeats(NodeImport& node) {
  if (node.opset() >= 6) return node.known_ints(1, "repeats");
  std::vector<int64_t> one_each[2];
  for (int i : {1, 2}) {
    ValueId number = node.input(i);
    const Tensor* known = node.known(number);
    if (known == nullptr) return node.known_ints(i, i == 1 ? "tiles" : "axis");  // says why not
    if (known->num_elems() != 1) return node.invalid("input {} is not one number", i);
    one_each[i - 1] = {known->at_i64(0)};
  }
  std::vector<int64_t> repeats(node.rank(node.input(0)), 1);
  CORF_ASSIGN(int axis, normal_axis(node, one_each[1][0], node.rank(node.input(0))));
  repeats[axis] = one_each[0][0];
  return repeats;
}

/// Each dimension d repeated r times: [1, d] broadcast to [r, d], then merged.
Status import_tile(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(node.opset() < 6 ? 3 : 2));
  ValueId x = node.input(0);
  Shape shape = node.shape(x);
  CORF_ASSIGN(auto repeats, read_repeats(node));
  if (repeats.size() != shape.size()) {
    return node.invalid("{} repeats for rank {}", repeats.size(), shape.size());
  }
  Shape split;
  Shape repeated;
  Shape merged;
  for (size_t d = 0; d < shape.size(); ++d) {
    auto extent = checked_mul(shape[d], repeats[d]);
    if (repeats[d] < 0 || !extent) return node.invalid("a repeat of {}", repeats[d]);
    if (repeats[d] != 1 && shape[d] != 1) {
      split.push_back(1);
      repeated.push_back(repeats[d]);
    }
    split.push_back(shape[d]);
    repeated.push_back(shape[d] == 1 ? *extent : shape[d]);
    merged.push_back(*extent);
  }
  auto count = checked_num_elems(merged);
  if (!count.ok()) return node.invalid("{}", count.error().message);
  ValueId parts = reshape(node.graph, node.part("split"), x, split);
  ValueId repetition = broadcast(node.graph, node.part("repeat"), parts, repeated);
  node.set_output(reshape(node.graph, node.name(), repetition, merged));
  return {};
}

struct Padding {
  std::vector<int64_t> before, after;  // by dimension; negative values cut off
  double value = 0;
  int value_input = -1;  // where only a run knows the value
};

Result<Padding> read_padding(NodeImport& node) {
  int rank = node.rank(node.input(0));
  Padding padding;
  padding.before.assign(rank, 0);
  padding.after.assign(rank, 0);
  std::vector<int64_t> pads = node.ints_attribute(node.opset() < 2 ? "paddings" : "pads");
  std::vector<int64_t> wanted_axes;
  if (node.opset() < 11) {
    padding.value = node.float_attribute("value", 0);
  } else {
    CORF_RETURN_IF_ERROR(node.require_inputs(2));
    CORF_ASSIGN(pads, node.known_ints(1, "pads"));
    if (node.has(2) && num_elems(node.shape(node.input(2))) > 0) {
      if (const Tensor* known = node.known(node.input(2))) {
        padding.value = known->at_f64(0);
      } else if (num_elems(node.shape(node.input(2))) == 1) {
        padding.value_input = 2;
      } else {
        return node.invalid("constant_value is not one number");
      }
    }
    if (node.has(3)) {
      CORF_ASSIGN(wanted_axes, node.known_ints(3, "axes"));
    }
  }
  if (!node.has(3)) {
    wanted_axes.resize(rank);
    std::iota(wanted_axes.begin(), wanted_axes.end(), 0);
  }
  CORF_RETURN_IF_ERROR(normal_axes(node, wanted_axes, rank));
  size_t count = wanted_axes.size();
  if (pads.size() != 2 * count) {
    return node.invalid("{} pads for {} axes", pads.size(), count);
  }
  constexpr int64_t kMostPad = int64_t{1} << 40;
  for (const int64_t pad : pads) {
    if (pad < -kMostPad || pad > kMostPad) return node.invalid("a pad of {}", pad);
  }
  for (size_t i = 0; i < count; ++i) {
    CORF_ASSIGN(int axis, normal_axis(node, wanted_axes[i], rank));
    padding.before[axis] = pads[i];
    padding.after[axis] = pads[count + i];
  }
  return padding;
}

/// The input's coordinate that a padded coordinate shows.
index::Expr mirrored(const std::string& mode, const index::Expr& coordinate, int64_t extent) {
  if (mode == "edge") return min(max(coordinate, 0), extent - 1);
  if (mode == "wrap") return mod(coordinate, extent);
  if (extent == 1) return 0;
  // Reflection has a period of 2 (extent - 1), going up and coming down.
  index::Expr phase = mod(coordinate, 2 * (extent - 1));
  // The last minimum changes nothing, but shows that no coordinate lies outside.
  return min(min(phase, index::Expr(2 * (extent - 1)) - phase), extent - 1);
}

/// x with `before` elements of the one value that `value` holds in front of each dimension, and so
/// many behind that it has the shape `to`.
ValueId padded_with(NodeImport& node, ValueId x, const std::vector<int64_t>& before, ValueId value,
                    const Shape& to) {
  const Shape from = node.shape(x);
  graph::Compute compute;
  compute.operands.resize(2);
  compute.operands[0].guarded = true;
  ScalarBody& body = compute.body;
  const int element = body.operand(0, node.dtype(x));
  const int filling = body.operand(1, node.dtype(value));
  int inside = -1;
  const auto require = [&](ScalarOp op, int a, int b) {
    const int condition = body.apply(op, a, b);
    inside = inside < 0 ? condition : body.apply(ScalarOp::kAnd, inside, condition);
  };
  for (size_t d = 0; d < to.size(); ++d) {
    compute.space.axes.push_back({fmt::format("d{}", d), to[d], index::AxisKind::kParallel});
    const auto axis = static_cast<int>(d);
    compute.operands[0].map.exprs.push_back(index::Expr::variable(axis) - before[d]);
    if (to[d] == from[d]) continue;
    const auto number = [&](int64_t at) { return body.constant_i64(at, DType::kI64); };
    require(ScalarOp::kLessEqual, number(before[d]), body.axis_index(axis));
    require(ScalarOp::kLess, body.axis_index(axis), number(before[d] + from[d]));
  }
  body.apply(ScalarOp::kSelect, inside, element, filling);
  return node.graph.add_compute(node.name(), std::move(compute), {x, value});
}

Status import_pad(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  CORF_ASSIGN(Padding padding, read_padding(node));
  std::string mode = node.string_attribute("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge" && mode != "wrap") {
    return node.invalid("unknown mode '{}'", mode);
  }
  Shape from = node.shape(x);
  Shape cut = from;
  Shape to = from;
  graph::Slice slice_view{std::vector<int64_t>(from.size(), 0),
                          std::vector<int64_t>(from.size(), 1)};
  for (size_t d = 0; d < from.size(); ++d) {
    auto first = checked_add(from[d], padding.before[d]);
    auto sum = first ? checked_add(*first, padding.after[d]) : std::nullopt;
    if (!sum || *sum < 0) return node.invalid("padding leaves nothing of dimension {}", d);
    to[d] = *sum;
    slice_view.starts[d] = std::max<int64_t>(0, -padding.before[d]);
    int64_t kept = from[d] - slice_view.starts[d] - std::max<int64_t>(0, -padding.after[d]);
    cut[d] = std::max<int64_t>(0, kept);
    if (mode != "constant" && from[d] == 0 && to[d] > 0) {
      return node.invalid("dimension {} is empty, so mode '{}' has nothing to show", d, mode);
    }
  }
  auto count = checked_num_elems(to);
  if (!count.ok()) return node.invalid("{}", count.error().message);
  if (to == from && cut == from) {
    node.set_output(x);
    return {};
  }
  if (mode == "constant") {
    if (cut != from) x = node.graph.add_view(node.part("cut"), slice_view, {x}, cut);
    graph::Pad pad{padding.before, padding.value};
    for (int64_t& before : pad.before) before = std::max<int64_t>(0, before);
    if (padding.value_input >= 0 && to != cut) {
      const ValueId value =
          reshape(node.graph, node.part("value"), node.input(padding.value_input), {});
      node.set_output(padded_with(node, x, pad.before, value, to));
      return {};
    }
    node.set_output(to == cut ? x : node.graph.add_view(node.name(), std::move(pad), {x}, to));
    return {};
  }
  graph::Compute compute;
  graph::Operand operand;
  for (size_t d = 0; d < from.size(); ++d) {
    compute.space.axes.push_back({fmt::format("d{}", d), to[d], index::AxisKind::kParallel});
    index::Expr coordinate = index::Expr::variable(static_cast<int>(d)) - padding.before[d];
    bool whole = padding.before[d] == 0 && padding.after[d] == 0;
    operand.map.exprs.push_back(whole ? coordinate : mirrored(mode, coordinate, from[d]));
  }
  compute.operands = {operand};
  compute.body.operand(0, node.dtype(x));
  node.set_output(node.graph.add_compute(node.name(), std::move(compute), {x}));
  return {};
}

constexpr Operator kOperators[] = {
    {"Concat", 1, import_concat},       {"Expand", 8, import_expand},
    {"Flatten", 1, import_flatten},     {"Pad", 1, import_pad},
    {"Reshape", 1, import_reshape},     {"Slice", 1, import_slice},
    {"Split", 1, import_split},         {"Squeeze", 1, import_squeeze},
    {"Tile", 1, import_tile},           {"Transpose", 1, import_transpose},
    {"Unsqueeze", 1, import_unsqueeze},
};

}  // namespace

std::span<const Operator> view_operators() { return kOperators; }

}  // namespace corf::onnx
