#include <algorithm>

#include "codegen/tile_lowering.h"

namespace corf::codegen {

using llvm::Value;
using loop::AxisSet;
using loop::Register;

namespace {

/// Orders in which points of an update may be emitted, by the elements that a load brings.
struct StreamOrder {
  const index::Linear& offset;
  const std::vector<int>& axis_variables;
  AxisSet acc_axes, extra_axes;
  AxisSet rest_axes;  // that the offset depends on otherwise than linearly

  using Point = std::vector<int64_t>;

  int64_t distance(const Point& point, AxisSet axes) const {
    int64_t result = 0;
    for (size_t axis = 0; axis < point.size(); ++axis) {
      if (axes >> axis & 1) result += offset.coefficient(axis_variables[axis]) * point[axis];
    }
    return result;
  }
  /// Lacking axes before `sliding`, then the distance along it and the accumulators' axes, then
  /// the rest.
  std::vector<int64_t> key(const Point& point, size_t sliding) const {
    std::vector<int64_t> result;
    for (size_t axis = 0; axis < point.size(); ++axis) {
      if (axis == sliding) {
        result.push_back(distance(point, acc_axes | AxisSet{1} << axis));
      } else if (extra_axes >> axis & 1) {
        result.push_back(point[axis]);
      }
    }
    return result;
  }
  std::vector<int64_t> element(const Point& point) const {
    std::vector<int64_t> result{distance(point, ~AxisSet{0})};
    for (size_t axis = 0; axis < point.size(); ++axis) {
      if (rest_axes >> axis & 1) result.push_back(point[axis]);
    }
    return result;
  }
  size_t num_changes(const std::vector<Point>& order) const {
    size_t changes = 0;
    for (size_t i = 1; i < order.size(); ++i) {
      if (element(order[i - 1]) != element(order[i])) ++changes;
    }
    return changes;
  }
  /// Whether each accumulator meets its terms in ascending order.
  bool is_ascending(const std::vector<Point>& order) const {
    std::map<Point, Point> last_extra;
    for (const Point& point : order) {
      Point acc, extra;
      for (size_t axis = 0; axis < point.size(); ++axis) {
        if (acc_axes >> axis & 1) acc.push_back(point[axis]);
        if (extra_axes >> axis & 1) extra.push_back(point[axis]);
      }
      auto [last, first_time] = last_extra.try_emplace(acc, extra);
      if (!first_time && !(last->second < extra)) return false;
      last->second = extra;
    }
    return true;
  }
};

}  // namespace

/// The load that brings a stream of values past the accumulators: it depends both on an axis that
/// they have and on one that they lack, so that neighbouring accumulators meet the same element.
const TileLowering::RegisterState* TileLowering::streaming_load(Register reg, AxisSet acc_axes,
                                                                AxisSet extra_axes) const {
  const RegisterState& state = registers_[static_cast<size_t>(reg)];
  if (!state.let || !(state.axes & acc_axes) || !(state.axes & extra_axes)) return nullptr;
  if (std::holds_alternative<loop::TileLoad>(state.let->value)) return &state;
  if (const auto* apply = std::get_if<loop::TileApply>(&state.let->value)) {
    for (Register arg : apply->args) {
      if (const RegisterState* load = streaming_load(arg, acc_axes, extra_axes)) return load;
    }
  }
  return nullptr;
}

/// Points of the update in the order in which they are emitted: each accumulator meets its terms
/// in ascending order of the axes that it lacks. Where both factors run along the vector axis
/// (depthwise), an element that several accumulators need serves all of them at once. Where one is
/// a table, accumulators that need the same elements come one after the other.
std::vector<TileLowering::Point> TileLowering::update_order(const loop::TileUpdate& update,
                                                            AxisSet acc_axes, AxisSet extra_axes) {
  AxisSet outer = 0;
  for (const auto& [factor, scaled] : {std::pair{update.a, update.b}, {update.b, update.a}}) {
    if (is_table(factor) && scaled >= 0 && !is_table(scaled)) {
      outer = acc_axes & registers_[static_cast<size_t>(scaled)].axes;
    }
  }
  std::vector<Point> order{Point(info_.extents.size(), 0)};
  for (const AxisSet axes : {outer, extra_axes, acc_axes & ~outer}) {
    std::vector<Point> longer;
    for (const Point& begun : order) {
      for (Point point : points(axes)) {
        for (size_t axis = 0; axis < point.size(); ++axis) point[axis] += begun[axis];
        longer.push_back(std::move(point));
      }
    }
    order = std::move(longer);
  }
  if (extra_axes == 0 || outer != 0) return order;
  const RegisterState* stream = streaming_load(update.a, acc_axes, extra_axes);
  if (!stream && update.b >= 0) stream = streaming_load(update.b, acc_axes, extra_axes);
  if (!stream || !stream->along_vector) return order;

  // Candidates slide along one of the lacking axes: what comes before it stays outside, the
  // accumulators' axes join it by their distance in memory. The fewest changes of element win.
  const StreamOrder slide{stream->offset.linear, info_.axis_variables, acc_axes, extra_axes,
                          info_.axes_of(stream->offset.linear.rest)};
  size_t fewest = slide.num_changes(order);
  std::vector<Point> best = order;
  for (size_t axis = 0; axis < info_.extents.size(); ++axis) {
    if (!(extra_axes >> axis & 1) || (slide.rest_axes & (acc_axes | AxisSet{1} << axis))) continue;
    std::vector<Point> candidate = order;
    std::stable_sort(candidate.begin(), candidate.end(), [&](const Point& x, const Point& y) {
      return slide.key(x, axis) < slide.key(y, axis);
    });
    if (!slide.is_ascending(candidate)) continue;
    const size_t changes = slide.num_changes(candidate);
    if (changes < fewest) {
      fewest = changes;
      best = std::move(candidate);
    }
  }
  return best;
}

bool TileLowering::is_table(Register reg) const {
  if (reg < 0) return false;
  const loop::TileLet* let = registers_[static_cast<size_t>(reg)].let;
  return let && std::holds_alternative<loop::TileTable>(let->value);
}

/// A table's value at the point; nullopt for other registers.
std::optional<double> TileLowering::coefficient(Register reg, const Point& point) const {
  const RegisterState& state = registers_[static_cast<size_t>(reg)];
  if (!is_table(reg)) return std::nullopt;
  return std::get<loop::TileTable>(state.let->value)
      .values[static_cast<size_t>(slot(state, point, 0))];
}

/// Whether all pieces of a vector register are one and the same vector.
bool TileLowering::serves_all_pieces(Register reg) {
  const RegisterState& state = registers_[static_cast<size_t>(reg)];
  if (!state.let || !state.along_vector) return false;
  const auto* load = std::get_if<loop::TileLoad>(&state.let->value);
  return load && repeats_pair(state.offset, load->buffer, Point(info_.extents.size(), 0), 0);
}

void TileLowering::execute(const loop::TileUpdate& update) {
  RegisterState& acc = registers_[static_cast<size_t>(update.acc)];
  const bool has_b = update.b >= 0;
  const AxisSet over = info_.axes_of(update.over), extra_axes = unrolled(over);
  const std::vector<Point> order = update_order(update, acc.axes, extra_axes);
  auto values = std::make_shared<Values>(*acc.values);
  if (const int axis = byte_axis(update, acc, extra_axes); axis >= 0) {
    accumulate_bytes(update, acc, axis, order, *values);
    acc.values = std::move(values);
    return;
  }

  auto argument = [&](Register reg, const Point& point, int piece) {
    const DType dtype = registers_[static_cast<size_t>(reg)].dtype;
    return ops_.cast(spread(value(reg, point, piece), piece), dtype, acc.dtype);
  };
  auto step = [&](const Point& point, int piece) {
    Value*& target = (*values)[static_cast<size_t>(slot(acc, point, piece))];
    if (!has_b) {
      target = ops_.combine(update.reduction, acc.dtype, target, argument(update.a, point, piece));
      return;
    }
    const std::optional<double> a = coefficient(update.a, point);
    const std::optional<double> b = a ? std::nullopt : coefficient(update.b, point);
    if (!a && !b) {
      Value* factor = argument(update.a, point, piece);
      target = ops_.multiply_add(acc.dtype, target, factor, argument(update.b, point, piece));
      return;
    }
    if (a.value_or(1) == 0 || b.value_or(1) == 0) return;
    if (a && coefficient(update.b, point).value_or(1) == 0) return;
    Value* other = argument(a ? update.b : update.a, point, piece);
    target = ops_.add_scaled(acc.dtype, target, other, a ? *a : *b);
  };
  if (!acc.along_vector) {
    const bool sums_lanes = (over & vector_bit_) != 0;
    for (const Point& point : order) {
      if (sums_lanes) {
        accumulate_lanes(update, (*values)[static_cast<size_t>(slot(acc, point, 0))], point);
      } else {
        step(point, -1);
      }
    }
  } else {
    const bool a_along = registers_[static_cast<size_t>(update.a)].along_vector;
    const bool b_along = has_b && registers_[static_cast<size_t>(update.b)].along_vector;
    const int num_pieces = static_cast<int>(pieces_.size());
    const bool shared = serves_all_pieces(update.a) || (has_b && serves_all_pieces(update.b));
    if (a_along && (b_along || !has_b) && !shared) {
      // Pieces share nothing: one after the other needs the fewest registers.
      for (int piece = 0; piece < num_pieces; ++piece) {
        for (const Point& point : order) step(point, piece);
      }
    } else {
      for (const Point& point : order) {
        for (int piece = 0; piece < num_pieces; ++piece) step(point, piece);
      }
    }
  }
  acc.values = std::move(values);
}

/// An accumulator without the vector axis takes the lanes one by one, in order.
void TileLowering::accumulate_lanes(const loop::TileUpdate& update, Value*& acc,
                                    const Point& point) {
  const DType dtype = registers_[static_cast<size_t>(update.acc)].dtype;
  if (update.b >= 0 && (coefficient(update.a, point).value_or(1) == 0 ||
                        coefficient(update.b, point).value_or(1) == 0)) {
    return;
  }
  for (int piece = 0; piece < static_cast<int>(pieces_.size()); ++piece) {
    for (int i = 0; i < pieces_[static_cast<size_t>(piece)].active; ++i) {
      auto argument = [&](Register reg) {
        const RegisterState& state = registers_[static_cast<size_t>(reg)];
        return ops_.cast(lane(value(reg, point, piece), i), state.dtype, dtype);
      };
      acc = update.b >= 0 ? ops_.multiply_add(dtype, acc, argument(update.a), argument(update.b))
                          : ops_.combine(update.reduction, dtype, acc, argument(update.a));
    }
  }
}

}  // namespace corf::codegen
