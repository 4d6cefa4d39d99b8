#include "loop/address.h"

#include <algorithm>

namespace corf::loop {

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
  differences_.reserve(info.num_points(box));
  for_each_point(info, box, [&](const std::vector<int64_t>& at) {
    int64_t difference = 0;
    for (size_t i = 0; i < at.size(); ++i) difference += strides[i] * at[i];
    differences_.push_back(difference);
  });
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
  std::vector<int32_t> numbers;
  numbers.reserve(info.num_points(from));
  for_each_point(info, from, [&](const std::vector<int64_t>& at) {
    int64_t number = 0;
    for (size_t i = 0; i < at.size(); ++i) number += strides[i] * at[i];
    numbers.push_back(static_cast<int32_t>(number));
  });
  return numbers;
}

}  // namespace corf::loop
