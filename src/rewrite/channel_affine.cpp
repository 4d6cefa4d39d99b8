#include "rewrite/channel_affine.h"

#include <algorithm>
#include <cmath>

#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::Operand;
using graph::ScalarBody;
using graph::ScalarNode;
using graph::ScalarOp;
using graph::ValueId;

namespace {

bool all_equal(const std::vector<double>& values, double value) {
  return std::all_of(values.begin(), values.end(), [=](double v) { return v == value; });
}

/// A body node's value as scale * x + shift, for each channel.
struct Term {
  std::vector<double> scale, shift;
  bool is_constant() const { return all_equal(scale, 0); }
};

/// The operation on constants; nullopt for one that is not needed in an affine function.
std::optional<double> apply(ScalarOp op, double a, double b) {
  switch (op) {
    case ScalarOp::kAdd:
      return a + b;
    case ScalarOp::kSub:
      return a - b;
    case ScalarOp::kMul:
      return a * b;
    case ScalarOp::kDiv:
      return a / b;
    case ScalarOp::kPow:
      return std::pow(a, b);
    case ScalarOp::kMin:
      return std::min(a, b);
    case ScalarOp::kMax:
      return std::max(a, b);
    case ScalarOp::kNeg:
      return -a;
    case ScalarOp::kSqrt:
      return std::sqrt(a);
    case ScalarOp::kRsqrt:
      return 1 / std::sqrt(a);
    case ScalarOp::kReciprocal:
      return 1 / a;
    default:
      return std::nullopt;
  }
}

std::optional<Term> apply_to_constants(ScalarOp op, const Term& a, const Term* b) {
  Term result = a;
  for (size_t c = 0; c < a.shift.size(); ++c) {
    const std::optional<double> value = apply(op, a.shift[c], b ? b->shift[c] : 0);
    if (!value) return std::nullopt;
    result.shift[c] = *value;
  }
  return result;
}

std::optional<Term> apply(ScalarOp op, const Term& a, const Term* b) {
  if (a.is_constant() && (!b || b->is_constant())) return apply_to_constants(op, a, b);
  Term result = a;
  const size_t channels = a.scale.size();
  switch (op) {
    case ScalarOp::kAdd:
    case ScalarOp::kSub: {
      const double sign = op == ScalarOp::kAdd ? 1 : -1;
      for (size_t c = 0; c < channels; ++c) {
        result.scale[c] += sign * b->scale[c];
        result.shift[c] += sign * b->shift[c];
      }
      return result;
    }
    case ScalarOp::kNeg:
      for (size_t c = 0; c < channels; ++c) {
        result.scale[c] = -a.scale[c];
        result.shift[c] = -a.shift[c];
      }
      return result;
    case ScalarOp::kMul: {
      const Term& factor = a.is_constant() ? a : *b;
      const Term& other = a.is_constant() ? *b : a;
      if (!factor.is_constant()) return std::nullopt;
      for (size_t c = 0; c < channels; ++c) {
        result.scale[c] = other.scale[c] * factor.shift[c];
        result.shift[c] = other.shift[c] * factor.shift[c];
      }
      return result;
    }
    case ScalarOp::kDiv:
      if (!b->is_constant()) return std::nullopt;
      for (size_t c = 0; c < channels; ++c) {
        result.scale[c] = a.scale[c] / b->shift[c];
        result.shift[c] = a.shift[c] / b->shift[c];
      }
      return result;
    default:
      return std::nullopt;
  }
}

/// The one axis that the map depends on, -1 for none; nullopt if there are several or if it is
/// read at anything but its own coordinate.
std::optional<int> axis_of(const Operand& operand) {
  int axis = -1;
  for (const index::Expr& expr : operand.map.exprs) {
    if (expr.is_constant()) continue;
    if (expr.kind() != index::ExprKind::kVariable || axis != -1) return std::nullopt;
    axis = expr.variable_id();
  }
  return axis;
}

std::vector<double> channel_values(const Tensor& tensor, const Operand& operand, int64_t channels) {
  const std::vector<int64_t> strides = row_major_strides(tensor.shape());
  int64_t offset = 0;
  int64_t stride = 0;
  for (size_t i = 0; i < strides.size(); ++i) {
    const index::Expr& expr = operand.map.exprs[i];
    if (expr.is_constant()) {
      offset += expr.constant() * strides[i];
    } else {
      stride = strides[i];
    }
  }
  std::vector<double> values(static_cast<size_t>(channels));
  for (int64_t c = 0; c < channels; ++c) values[c] = tensor.at_f64(offset + c * stride);
  return values;
}

std::optional<Term> term_of_body(const ScalarBody& body, const std::vector<Term>& operands) {
  std::vector<Term> terms;
  const size_t channels = operands[0].scale.size();
  for (const ScalarNode& node : body.nodes) {
    std::optional<Term> term;
    if (node.op == ScalarOp::kOperand) {
      term = operands[node.index];
    } else if (node.op == ScalarOp::kConstant) {
      term = Term{std::vector<double>(channels, 0), std::vector<double>(channels, node.f64)};
    } else if (node.op == ScalarOp::kCast) {
      if (body.nodes[node.args[0]].dtype == node.dtype) term = terms[node.args[0]];
    } else {
      const int num_args = graph::num_args(node.op);
      if (num_args == 1 || num_args == 2) {
        term = apply(node.op, terms[node.args[0]], num_args == 2 ? &terms[node.args[1]] : nullptr);
      }
    }
    if (!term || node.dtype != body.result_dtype()) return std::nullopt;
    terms.push_back(std::move(*term));
  }
  return terms.back();
}

}  // namespace

bool ChannelAffine::scales() const { return !all_equal(scale, 1); }
bool ChannelAffine::shifts() const { return !all_equal(shift, 0); }
bool ChannelAffine::finite() const {
  const auto is_finite = [](double v) { return std::isfinite(v); };
  return std::all_of(scale.begin(), scale.end(), is_finite) &&
         std::all_of(shift.begin(), shift.end(), is_finite);
}

std::optional<ChannelAffine> match_channel_affine(const Graph& graph, const Node& node) {
  const auto* compute = std::get_if<Compute>(&node.op);
  if (!compute || !is_elementwise(*compute) || !is_float(compute->body.result_dtype())) {
    return std::nullopt;
  }
  ChannelAffine result;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId input = node.inputs[i];
    const Operand& operand = compute->operands[i];
    if (!constant_tensor(graph, input)) {
      if (result.x != -1 && result.x != input) return std::nullopt;
      if (!reads_own_point(operand, graph.values[input].shape, compute->space)) {
        return std::nullopt;
      }
      result.x = input;
      continue;
    }
    const std::optional<int> axis = axis_of(operand);
    if (!axis || operand.guarded) return std::nullopt;
    if (*axis == -1) continue;
    if (result.axis != -1 && result.axis != *axis) return std::nullopt;
    result.axis = *axis;
  }
  if (result.x == -1) return std::nullopt;

  const int64_t channels = result.axis == -1 ? 1 : compute->space.axes[result.axis].extent;
  if (channels == 0) return std::nullopt;
  std::vector<Term> terms;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Tensor* tensor = constant_tensor(graph, node.inputs[i]);
    const std::vector<double> zeros(static_cast<size_t>(channels), 0);
    terms.push_back(tensor ? Term{zeros, channel_values(*tensor, compute->operands[i], channels)}
                           : Term{std::vector<double>(static_cast<size_t>(channels), 1), zeros});
  }
  std::optional<Term> term = term_of_body(compute->body, terms);
  if (!term) return std::nullopt;
  result.scale = std::move(term->scale);
  result.shift = std::move(term->shift);
  return result;
}

std::optional<ChannelAffine> after(const ChannelAffine& second, const ChannelAffine& first) {
  if (second.axis != -1 && first.axis != -1 && second.axis != first.axis) return std::nullopt;
  ChannelAffine result;
  result.x = first.x;
  result.axis = std::max(second.axis, first.axis);
  const size_t channels = std::max(second.scale.size(), first.scale.size());
  for (size_t c = 0; c < channels; ++c) {
    const size_t c1 = first.axis == -1 ? 0 : c;
    const size_t c2 = second.axis == -1 ? 0 : c;
    result.scale.push_back(first.scale[c1] * second.scale[c2]);
    result.shift.push_back(first.shift[c1] * second.scale[c2] + second.shift[c2]);
  }
  return result;
}

ValueId add_channel_affine(Graph& graph, const std::string& name, const std::string& origin,
                           const ChannelAffine& affine) {
  const DType dtype = graph.values[affine.x].dtype;
  const Shape shape = graph.values[affine.x].shape;
  Compute compute;
  for (size_t i = 0; i < shape.size(); ++i) {
    compute.space.axes.push_back({"d" + std::to_string(i), shape[i]});
  }
  compute.operands.push_back({index::IndexMap::identity(static_cast<int>(shape.size()))});
  std::vector<ValueId> inputs = {affine.x};
  int result = compute.body.operand(0, dtype);

  const auto constant = [&](const std::vector<double>& values, const char* suffix) {
    if (all_equal(values, values[0])) return compute.body.constant(values[0], dtype);
    Tensor tensor(dtype, {static_cast<int64_t>(values.size())});
    for (size_t c = 0; c < values.size(); ++c) tensor.set_f64(static_cast<int64_t>(c), values[c]);
    inputs.push_back(graph.add_constant(name + suffix, std::move(tensor)));
    compute.operands.push_back({index::IndexMap{{index::Expr::variable(affine.axis)}}});
    return compute.body.operand(static_cast<int>(inputs.size()) - 1, dtype);
  };
  if (affine.scales()) {
    const int scale = constant(affine.scale, ".scale");
    result = compute.body.apply(ScalarOp::kMul, result, scale);
  }
  if (affine.shifts()) {
    const int shift = constant(affine.shift, ".shift");
    compute.body.apply(ScalarOp::kAdd, result, shift);
  }
  if (compute.body.nodes.size() == 1) return affine.x;
  return graph.add_compute(name, std::move(compute), std::move(inputs), origin);
}

}  // namespace corf::rewrite
