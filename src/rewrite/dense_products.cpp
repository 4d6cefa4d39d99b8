#include "rewrite/dense_products.h"

#include <algorithm>

namespace corf::rewrite {
using graph::Combiner;
using graph::Compute;
using graph::Operand;
using graph::ScalarBody;
using graph::ScalarOp;
using index::Expr;

bool is_product(const Compute& compute) {
  const ScalarBody& body = compute.body;
  if (compute.combiner != Combiner::kSum || compute.operands.size() != 2) return false;
  if (body.nodes.size() != 3 || body.nodes.back().op != ScalarOp::kMul) return false;
  const graph::ScalarNode &a = body.nodes[body.nodes.back().args[0]],
                          &b = body.nodes[body.nodes.back().args[1]];
  const DType dtype = body.result_dtype();
  return a.op == ScalarOp::kOperand && b.op == ScalarOp::kOperand && a.index != b.index &&
         (dtype == DType::kF32 || dtype == DType::kI32);
}

namespace {

bool depends_on(const Operand& operand, int axis) {
  return std::any_of(operand.map.exprs.begin(), operand.map.exprs.end(),
                     [&](const Expr& expr) { return index::depends_on(expr, axis); });
}

/// Dimension of the operand that `axis` walks in steps of 1, beside nothing but axes that `other`
/// has as well (groups of channels); -1 if there is none.
int channel_dim(const Operand& operand, const Operand& other, int axis) {
  int found = -1;
  for (int d = 0; d < static_cast<int>(operand.map.exprs.size()); ++d) {
    const Expr& expr = operand.map.exprs[d];
    if (!index::depends_on(expr, axis)) continue;
    const index::Linear linear = index::to_linear(expr);
    if (found >= 0 || !linear.is_affine() || linear.coefficient(axis) != 1) return -1;
    for (const auto& [variable, coefficient] : linear.coefficients) {
      if (variable != axis && !depends_on(other, variable)) return -1;
    }
    found = d;
  }
  return found;
}

/// Whether x and w have an axis in common that nothing is summed over: each has channels of its
/// own, as in a depthwise convolution.
bool is_by_channel(const Compute& compute, const Operand& x, const Operand& w) {
  const auto has_plain = [](const Operand& operand, int axis) {
    return std::any_of(operand.map.exprs.begin(), operand.map.exprs.end(),
                       [&](const Expr& expr) { return expr.is_variable(axis); });
  };
  for (int axis = 0; axis < compute.space.num_parallel(); ++axis) {
    if (compute.space.axes[axis].extent == 1) continue;
    if (has_plain(x, axis) && has_plain(w, axis)) return true;
  }
  return false;
}

}  // namespace

int summed_channels(const Compute& compute, const Operand& x, const Operand& w) {
  if (is_by_channel(compute, x, w)) return -1;
  const int num_axes = static_cast<int>(compute.space.axes.size());
  for (int axis = compute.space.num_parallel(); axis < num_axes; ++axis) {
    if (channel_dim(x, w, axis) >= 0 && channel_dim(w, x, axis) >= 0) return axis;
  }
  return -1;
}

bool sums_windows(const Compute& compute, const Operand& x, const Operand& w) {
  constexpr int64_t kLeastTaps = 3;  // of a column, to be taken at once
  if (!is_by_channel(compute, x, w)) return false;
  int long_axes = 0;
  for (size_t axis = compute.space.num_parallel(); axis < compute.space.axes.size(); ++axis) {
    if (!depends_on(x, static_cast<int>(axis)) || !depends_on(w, static_cast<int>(axis))) {
      return false;
    }
    long_axes += compute.space.axes[axis].extent >= kLeastTaps;
  }
  return long_axes >= 2;
}

}  // namespace corf::rewrite
