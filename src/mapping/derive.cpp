#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "mapping/analyze.h"
#include "support/checked.h"

namespace corf::mapping {
using index::AxisKind;
using index::Expr;
using index::ExprKind;
using index::IterationSpace;
using index::Linear;

namespace {

// Irregular coordinates are counted point by point up to here.
constexpr int64_t kMaxCountedPoints = 1 << 16;

int64_t saturating_mul(int64_t a, int64_t b) { return checked_mul(a, b).value_or(INT64_MAX); }

bool is_reduction(const IterationSpace& space, int axis) {
  return space.axes[axis].kind == AxisKind::kReduction;
}

/// factor * floor((axis + phase) / divisor), the one form of a term that is not linear.
struct Quotient {
  int axis = -1;
  int64_t factor = 1, divisor = 1, phase = 0;
};

std::optional<Quotient> match_quotient(Expr expr) {
  Quotient quotient;
  if (expr.kind() == ExprKind::kMul && expr.lhs().is_constant()) {
    quotient.factor = expr.lhs().constant();
    expr = expr.rhs();
  }
  if (expr.kind() != ExprKind::kFloorDiv || !expr.rhs().is_constant()) return std::nullopt;
  quotient.divisor = expr.rhs().constant();
  const Linear number = index::to_linear(expr.lhs());
  if (!number.is_affine() || number.coefficients.size() != 1) return std::nullopt;
  const auto [axis, coefficient] = *number.coefficients.begin();
  if (coefficient != 1 || quotient.divisor <= 0) return std::nullopt;
  quotient.axis = axis;
  quotient.phase = number.constant;
  return quotient;
}

/// Fills in the regular form; false if the coordinate has another one.
bool match_regular(DimMapping& dim, const Expr& expr, const IterationSpace& space) {
  const Linear linear = index::to_linear(expr);
  dim.offset = linear.constant;
  if (!linear.is_affine()) {
    const std::optional<Quotient> quotient = match_quotient(linear.rest);
    if (!quotient || is_reduction(space, quotient->axis)) return false;
    dim.consumer_axis = quotient->axis;
    dim.stride = quotient->factor;
    dim.divisor = quotient->divisor;
    dim.phase = quotient->phase;
  }
  for (const auto& [axis, coefficient] : linear.coefficients) {
    int& place = is_reduction(space, axis) ? dim.window_axis : dim.consumer_axis;
    if (place != -1) return false;
    place = axis;
    (is_reduction(space, axis) ? dim.dilation : dim.stride) = coefficient;
  }
  return true;
}

int64_t coordinate(const DimMapping& dim, int64_t output, int64_t tap) {
  return dim.stride * floor_div(output + dim.phase, dim.divisor) + dim.dilation * tap + dim.offset;
}

/// Smallest and largest coordinate that output coordinate `output` reads, padding included.
index::Interval taps(const DimMapping& dim, int64_t output) {
  const int64_t first = coordinate(dim, output, 0);
  const int64_t last = coordinate(dim, output, dim.window - 1);
  return {std::min(first, last), std::max(first, last)};
}

/// The same without the padding; nullopt if the output reads nothing else.
std::optional<index::Interval> taps_inside(const DimMapping& dim, int64_t output) {
  index::Interval inside = taps(dim, output);
  if (dim.window == 0) return std::nullopt;
  const int64_t step = std::max<int64_t>(1, std::abs(dim.dilation));
  if (inside.lo < 0) inside.lo += round_up(-inside.lo, step);
  if (inside.hi >= dim.extent) inside.hi -= round_up(inside.hi - (dim.extent - 1), step);
  if (inside.lo > inside.hi) return std::nullopt;
  return inside;
}

void measure_window(DimMapping& dim, const IterationSpace& space) {
  if (dim.window_axis != -1) dim.window = space.axes[dim.window_axis].extent;
  const int64_t outputs = dim.consumer_axis == -1 ? 1 : space.axes[dim.consumer_axis].extent;
  if (dim.window == 0 || outputs == 0) return;
  dim.span = (dim.window - 1) * std::abs(dim.dilation) + 1;
  if (dim.consumer_axis != -1 && outputs > 1) {
    const int64_t step = std::abs(coordinate(dim, outputs - 1, 0) - coordinate(dim, 0, 0));
    if (step > 0) dim.halo = std::max<int64_t>(0, dim.span - std::abs(dim.stride));
  }
  const index::Interval first = taps(dim, 0);
  const index::Interval last = taps(dim, outputs - 1);
  dim.pad_before = std::max<int64_t>(0, -std::min(first.lo, last.lo));
  dim.pad_after = std::max<int64_t>(0, std::max(first.hi, last.hi) - (dim.extent - 1));
}

DimMapping derive_dim(const Expr& expr, int64_t extent, const IterationSpace& space) {
  DimMapping dim;
  dim.extent = extent;
  std::vector<bool> used;
  index::collect_variables(expr, used);
  bool reads_axes_only = true;
  for (size_t variable = 0; variable < used.size(); ++variable) {
    if (!used[variable]) continue;
    if (variable >= space.axes.size()) {
      reads_axes_only = false;
      continue;
    }
    const int axis = static_cast<int>(variable);
    (is_reduction(space, axis) ? dim.window_axes : dim.consumer_axes).push_back(axis);
  }
  if (reads_axes_only && match_regular(dim, expr, space)) {
    measure_window(dim, space);
    return dim;
  }
  DimMapping irregular;
  irregular.extent = extent;
  irregular.regular = false;
  irregular.consumer_axes = dim.consumer_axes;
  irregular.window_axes = dim.window_axes;
  return irregular;
}

/// Dimensions of the intermediate whose coordinates depend on common parallel axes.
struct DimGroup {
  std::vector<int> dims;
  std::vector<int> axes;  // parallel and reduction axes that they depend on
};

std::vector<DimGroup> group_dims(const std::vector<DimMapping>& dims) {
  std::vector<DimGroup> groups;
  for (size_t d = 0; d < dims.size(); ++d) {
    DimGroup group{{static_cast<int>(d)}, dims[d].consumer_axes};
    for (size_t g = groups.size(); g-- > 0;) {
      const bool common = std::any_of(group.axes.begin(), group.axes.end(), [&](int axis) {
        return std::count(groups[g].axes.begin(), groups[g].axes.end(), axis) > 0;
      });
      if (!common) continue;
      group.dims.insert(group.dims.end(), groups[g].dims.begin(), groups[g].dims.end());
      group.axes.insert(group.axes.end(), groups[g].axes.begin(), groups[g].axes.end());
      groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(g));
    }
    std::sort(group.axes.begin(), group.axes.end());
    group.axes.erase(std::unique(group.axes.begin(), group.axes.end()), group.axes.end());
    groups.push_back(std::move(group));
  }
  return groups;
}

/// The most combinations of the group's parallel axes that read one combination of coordinates, by
/// looking at all; where they are too many or the coordinates are data, the average.
int64_t counted_outputs(const PairMapping& pair, const DimGroup& group) {
  const IterationSpace& space = pair.consumer_space;
  std::set<int> axes(group.axes.begin(), group.axes.end());
  int64_t outputs = 1;
  int64_t elements = 1;
  bool reads_axes_only = true;
  for (int axis : group.axes) outputs = saturating_mul(outputs, space.axes[axis].extent);
  for (int d : group.dims) {
    axes.insert(pair.dims[d].window_axes.begin(), pair.dims[d].window_axes.end());
    elements = saturating_mul(elements, pair.dims[d].extent);
    std::vector<bool> used;
    index::collect_variables(pair.map.exprs[d], used);
    reads_axes_only = reads_axes_only && used.size() <= space.axes.size();
  }
  int64_t points = 1;
  for (int axis : axes) points = saturating_mul(points, space.axes[axis].extent);
  if (points == 0 || elements == 0) return 1;
  if (!reads_axes_only) return outputs;
  if (points > kMaxCountedPoints) return std::max<int64_t>(1, outputs / elements);

  std::map<std::vector<int64_t>, std::set<int64_t>> readers;
  std::vector<int64_t> values(space.axes.size(), 0);
  for (int64_t point = 0; point < points; ++point) {
    int64_t rest = point;
    int64_t output = 0;
    for (int axis : axes) {
      const int64_t extent = space.axes[axis].extent;
      values[axis] = rest % extent;
      rest /= extent;
      if (!is_reduction(space, axis)) output = output * extent + values[axis];
    }
    std::vector<int64_t> at;
    bool inside = true;
    for (int d : group.dims) {
      at.push_back(index::evaluate(pair.map.exprs[d], values));
      inside = inside && at.back() >= 0 && at.back() < pair.dims[d].extent;
    }
    if (inside) readers[at].insert(output);
  }
  int64_t most = 1;
  for (const auto& [at, outputs_of_it] : readers) {
    most = std::max<int64_t>(most, static_cast<int64_t>(outputs_of_it.size()));
  }
  return most;
}

/// Outputs that one element feeds along the group's parallel axes, at most.
int64_t outputs_fed(const PairMapping& pair, const DimGroup& group) {
  if (group.axes.empty()) return 1;
  const DimMapping& dim = pair.dims[group.dims[0]];
  if (group.dims.size() > 1 || !dim.regular || dim.stride == 0 ||
      (dim.divisor != 1 && dim.window > 1)) {
    return counted_outputs(pair, group);
  }
  const int64_t outputs = pair.consumer_space.axes[dim.consumer_axis].extent;
  // Tap r reaches an element from output p for s p + d r = e: every (s / gcd)-th tap does.
  const int64_t period = std::abs(dim.stride) / std::gcd(dim.stride, dim.dilation);
  const int64_t fed = dim.divisor != 1 ? dim.divisor : ceil_div(dim.window, period);
  return std::min(fed, outputs);
}

/// Whether the intermediate's elements come in the order of the consumer's outputs.
bool keeps_order(const PairMapping& pair) {
  int last = -1;
  for (const DimMapping& dim : pair.dims) {
    if (!dim.regular || (dim.consumer_axis != -1 && dim.stride < 0)) return false;
    if (dim.consumer_axis == -1 || dim.extent == 1) continue;
    if (dim.consumer_axis < last) return false;
    last = dim.consumer_axis;
  }
  return true;
}

MappingKind kind_of(int64_t reads, int64_t feeds, bool in_order) {
  if (reads > 1) return feeds > 1 ? MappingKind::kManyToMany : MappingKind::kManyToOne;
  if (feeds > 1) return MappingKind::kOneToMany;
  return in_order ? MappingKind::kOneToOne : MappingKind::kReorganising;
}

}  // namespace

void derive(PairMapping& pair) {
  const IterationSpace& space = pair.consumer_space;
  pair.dims.clear();
  pair.spread_axes.clear();
  pair.contracted_axes.clear();
  pair.producer_reduction_axes.clear();
  pair.reads_per_output = 1;
  pair.outputs_per_element = 1;

  std::vector<bool> used(space.axes.size());
  for (size_t d = 0; d < pair.map.exprs.size(); ++d) {
    pair.dims.push_back(derive_dim(pair.map.exprs[d], pair.producer_space.axes[d].extent, space));
    const DimMapping& dim = pair.dims.back();
    for (int axis : dim.consumer_axes) used[axis] = true;
    for (int axis : dim.window_axes) used[axis] = true;
  }
  for (const DimGroup& group : group_dims(pair.dims)) {
    pair.outputs_per_element = saturating_mul(pair.outputs_per_element, outputs_fed(pair, group));
  }
  for (size_t i = 0; i < space.axes.size(); ++i) {
    const int axis = static_cast<int>(i);
    if (space.axes[i].extent == 1) continue;
    if (used[i] && is_reduction(space, axis)) {
      pair.contracted_axes.push_back(axis);
      pair.reads_per_output = saturating_mul(pair.reads_per_output, space.axes[i].extent);
    } else if (!used[i] && !is_reduction(space, axis)) {
      pair.spread_axes.push_back(axis);
      pair.outputs_per_element = saturating_mul(pair.outputs_per_element, space.axes[i].extent);
    }
  }
  for (size_t i = 0; i < pair.producer_space.axes.size(); ++i) {
    const int axis = static_cast<int>(i);
    if (is_reduction(pair.producer_space, axis) && pair.producer_space.axes[i].extent > 1) {
      pair.producer_reduction_axes.push_back(axis);
    }
  }
  const bool in_order = keeps_order(pair);
  pair.forward = kind_of(pair.reads_per_output, pair.outputs_per_element, in_order);
  pair.backward = kind_of(pair.outputs_per_element, pair.reads_per_output, in_order);
}

Range footprint(const DimMapping& dim, Range outputs) {
  if (outputs.begin >= outputs.end || dim.extent == 0) return {0, 0};
  if (!dim.regular) return {0, dim.extent};
  Range range{dim.extent, 0};
  for (int64_t output = outputs.begin; output < outputs.end; ++output) {
    const std::optional<index::Interval> inside = taps_inside(dim, output);
    if (!inside) continue;
    range.begin = std::min(range.begin, inside->lo);
    range.end = std::max(range.end, inside->hi + 1);
  }
  return range.begin < range.end ? range : Range{0, 0};
}

int64_t retired_outputs(const DimMapping& dim, int64_t produced, int64_t output_extent) {
  if (produced >= dim.extent) return output_extent;
  if (!dim.regular) return 0;
  int64_t retired = 0;
  while (retired < output_extent) {
    const std::optional<index::Interval> inside = taps_inside(dim, retired);
    if (inside && inside->hi >= produced) break;
    ++retired;
  }
  return retired;
}

}  // namespace corf::mapping
