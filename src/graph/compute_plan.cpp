#include "graph/compute_plan.h"

#include <algorithm>
#include <limits>

#include "support/checked.h"

namespace corf::graph {

using index::Expr;
using index::Interval;

namespace {

bool uses_index(const Compute& compute, int axis) {
  for (const ScalarNode& node : compute.body.nodes) {
    if (node.op == ScalarOp::kIndex && node.index == axis) return true;
  }
  return false;
}

PlanOperand plan_operand(const ComputePlan& plan, const Operand& operand, const Tensor& tensor,
                         const std::vector<Interval>& ranges) {
  PlanOperand result;
  result.tensor = tensor;
  result.padding = operand.padding;
  result.strides.resize(plan.axes.size());
  std::vector<int64_t> strides = row_major_strides(tensor.shape());
  for (size_t d = 0; d < operand.map.exprs.size(); ++d) {
    Expr expr = simplify(operand.map.exprs[d], ranges);
    index::Linear linear = to_linear(expr);
    bool held = std::any_of(linear.coefficients.begin(), linear.coefficients.end(),
                            [&](auto& term) { return term.first >= plan.num_axes; });
    if (!linear.is_affine() || held) {
      result.general.push_back({expr, tensor.shape()[d], strides[d]});
      continue;
    }
    std::vector<int64_t> coefficients;
    for (size_t i = 0; i < plan.axes.size(); ++i) {
      coefficients.push_back(linear.coefficient(plan.axes[i].axis));
      result.strides[i] += coefficients[i] * strides[d];
    }
    result.base += linear.constant * strides[d];
    Interval range = bounds(expr, ranges);
    if (range.lo < 0 || range.hi >= tensor.shape()[d]) {
      result.checked.push_back({std::move(coefficients), linear.constant, tensor.shape()[d]});
    }
  }
  return result;
}

/// Whether plan axes i and i + 1 can be walked as one.
bool can_merge(const ComputePlan& plan, const Compute& compute, size_t i) {
  const PlanAxis& outer = plan.axes[i];
  const PlanAxis& inner = plan.axes[i + 1];
  if (outer.reduction != inner.reduction) return false;
  if (uses_index(compute, outer.axis) || uses_index(compute, inner.axis)) return false;
  for (const PlanOperand& operand : plan.operands) {
    if (operand.strides[i] != operand.strides[i + 1] * inner.extent) return false;
    for (const CheckedCoordinate& checked : operand.checked) {
      if (checked.coefficients[i] != 0 || checked.coefficients[i + 1] != 0) return false;
    }
    for (const GeneralCoordinate& general : operand.general) {
      if (depends_on(general.expr, outer.axis) || depends_on(general.expr, inner.axis)) {
        return false;
      }
    }
  }
  return true;
}

void merge(ComputePlan& plan, size_t i) {
  plan.axes[i + 1].extent *= plan.axes[i].extent;
  plan.axes.erase(plan.axes.begin() + static_cast<long>(i));
  for (PlanOperand& operand : plan.operands) {
    operand.strides.erase(operand.strides.begin() + static_cast<long>(i));
    for (CheckedCoordinate& checked : operand.checked) {
      checked.coefficients.erase(checked.coefficients.begin() + static_cast<long>(i));
    }
  }
}

void find_variation(ComputePlan& plan) {
  // Operands are indexed only by later ones.
  for (size_t k = plan.operands.size(); k-- > 0;) {
    PlanOperand& operand = plan.operands[k];
    for (size_t i = 0; i < plan.axes.size(); ++i) {
      bool varies = operand.strides[i] != 0;
      for (const auto& checked : operand.checked) varies |= checked.coefficients[i] != 0;
      for (const auto& general : operand.general) {
        varies |= depends_on(general.expr, plan.axes[i].axis);
        for (size_t j = k + 1; j < plan.operands.size(); ++j) {
          if (!depends_on(general.expr, plan.num_axes + static_cast<int>(j))) continue;
          plan.operands[j].is_index = true;
          varies |= plan.operands[j].varies[i];
        }
      }
      operand.varies.push_back(varies);
    }
    for (const auto& general : operand.general) {
      for (size_t j = k + 1; j < plan.operands.size(); ++j) {
        plan.operands[j].is_index |= depends_on(general.expr, plan.num_axes + static_cast<int>(j));
      }
    }
  }
}

}  // namespace

ComputePlan plan_compute(const Compute& compute, const std::vector<Tensor>& inputs,
                         const Shape& output) {
  ComputePlan plan;
  plan.num_axes = static_cast<int>(compute.space.axes.size());
  std::vector<int64_t> out_strides = row_major_strides(output);
  std::vector<Interval> ranges;
  size_t dimension = 0;
  for (int i = 0; i < plan.num_axes; ++i) {
    const index::Axis& axis = compute.space.axes[i];
    bool reduction = axis.kind == index::AxisKind::kReduction;
    int64_t stride = reduction ? 0 : out_strides[dimension++];
    plan.has_points &= axis.extent > 0;
    ranges.push_back({0, std::max<int64_t>(axis.extent - 1, 0)});
    if (axis.extent != 1) plan.axes.push_back({axis.extent, reduction, stride, i});
  }
  for (size_t j = 0; j < inputs.size(); ++j) {
    ranges.push_back({std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()});
  }
  if (!plan.has_points) return plan;
  for (size_t k = 0; k < inputs.size(); ++k) {
    plan.operands.push_back(plan_operand(plan, compute.operands[k], inputs[k], ranges));
  }
  bool selects = compute.combiner == Combiner::kArgMin || compute.combiner == Combiner::kArgMax;
  for (size_t i = plan.axes.size(); i-- > 1;) {
    if (selects && plan.axes[i].reduction) continue;
    if (can_merge(plan, compute, i - 1)) merge(plan, i - 1);
  }
  find_variation(plan);
  return plan;
}

void clip_line(int64_t first, int64_t step, int64_t extent, int64_t& begin, int64_t& end) {
  const int64_t limit = end;
  if (step == 0) {
    if (first < 0 || first >= extent) end = begin;
    return;
  }
  if (step > 0) {
    begin = std::max(begin, corf::ceil_div(-first, step));
    end = std::min(end, corf::ceil_div(extent - first, step));
  } else {
    begin = std::max(begin, corf::ceil_div(first - extent + 1, -step));
    end = std::min(end, corf::floor_div(first, -step) + 1);
  }
  begin = std::min(begin, limit);
  end = std::max(begin, end);
}

bool next_point(const ComputePlan& plan, const std::vector<int>& axes, std::vector<int64_t>& at) {
  for (size_t i = axes.size(); i-- > 0;) {
    if (++at[axes[i]] < plan.axes[axes[i]].extent) return true;
    at[axes[i]] = 0;
  }
  return false;
}

}  // namespace corf::graph
