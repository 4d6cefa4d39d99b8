#include "loop/address.h"

#include <algorithm>

namespace corf::loop {
namespace {

/// At each point of the box, the last axis fastest, its coordinates times `strides`, summed up.
template <typename Number>
std::vector<Number> sums_at_points(const TileInfo& info, AxisSet box,
                                   const std::vector<int64_t>& strides) {
  const auto num_points = static_cast<size_t>(info.num_points(box));
  if (num_points == 0) return {};
  std::vector<Number> sums;
  sums.reserve(num_points);
  sums.push_back(0);
  for (size_t axis = strides.size(); axis-- > 0;) {
    if (!(box >> axis & 1)) continue;
    const size_t num_inner = sums.size();
    for (int64_t at = 1; at < info.extents[axis]; ++at) {
      const auto outer = static_cast<Number>(at * strides[axis]);
      for (size_t i = 0; i < num_inner; ++i) sums.push_back(outer + sums[i]);
    }
  }
  return sums;
}

}  // namespace

Address::Address(const Expr& expr) : expr_(expr) {
  const index::Linear linear = index::to_linear(expr);
  terms_.assign(linear.coefficients.begin(), linear.coefficients.end());
  constant_ = linear.constant;
  rest_ = linear.rest;
  has_rest_ = !linear.is_affine();
}

Address::Address(const Expr& expr, const TileInfo& info, AxisSet box) : Address(expr) {
  std::vector<std::pair<int, int64_t>> outer;
  std::vector<int64_t> strides(info.extents.size(), 0);
  per_point_ = has_rest_ && info.axes_of(rest_) != 0;
  for (const auto& [var, coefficient] : terms_) {
    auto it = info.variable_axes.find(var);
    if (it == info.variable_axes.end() || it->second == 0) {
      outer.emplace_back(var, coefficient);
      continue;
    }
    // A variable that varies is either one of the axes or bound to a register's values.
    bool is_axis = false;
    for (size_t i = 0; i < info.axis_variables.size(); ++i) {
      if (info.axis_variables[i] != var) continue;
      strides[i] = coefficient;
      is_axis = true;
    }
    if (!is_axis) per_point_ = true;
  }
  if (per_point_) return;
  terms_ = std::move(outer);
  differences_ = sums_at_points<int64_t>(info, box, strides);
  if (differences_.empty()) return;
  const auto [least, greatest] = std::minmax_element(differences_.begin(), differences_.end());
  least_ = *least;
  greatest_ = *greatest;
}

int64_t Address::base(std::span<const int64_t> values) const {
  int64_t value = constant_;
  for (const auto& [var, coefficient] : terms_) value += coefficient * values[var];
  if (has_rest_) value += index::evaluate(rest_, values);
  return value;
}

std::vector<int32_t> projection(const TileInfo& info, AxisSet from, AxisSet to) {
  std::vector<int64_t> strides(info.extents.size(), 0);
  int64_t stride = 1;
  for (int i = static_cast<int>(strides.size()) - 1; i >= 0; --i) {
    if (!(to >> i & 1)) continue;
    strides[i] = stride;
    stride *= info.extents[i];
  }
  return sums_at_points<int32_t>(info, from, strides);
}

}  // namespace corf::loop
