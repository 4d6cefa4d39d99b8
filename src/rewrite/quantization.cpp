#include "rewrite/quantization.h"

#include <cmath>

#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::ScalarBody;
using graph::ScalarNode;
using graph::ScalarOp;

namespace {

bool is_byte(DType dtype) { return dtype == DType::kI8 || dtype == DType::kU8; }

double number_of(const ScalarNode& node) {
  return is_float(node.dtype) ? node.f64 : static_cast<double>(node.i64);
}

/// A constant of the body, perhaps cast to another type that holds it.
std::optional<double> constant_of(const ScalarBody& body, int id) {
  const ScalarNode* node = &body.nodes[id];
  if (node->op == ScalarOp::kCast) node = &body.nodes[node->args[0]];
  if (node->op != ScalarOp::kConstant) return std::nullopt;
  return number_of(*node);
}

/// Number of the operand that is the node, perhaps cast.
std::optional<int> operand_of(const ScalarBody& body, int id) {
  const ScalarNode* node = &body.nodes[id];
  if (node->op == ScalarOp::kCast) node = &body.nodes[node->args[0]];
  if (node->op != ScalarOp::kOperand) return std::nullopt;
  return node->index;
}

std::optional<PointTable> table_of(const Graph& graph, const Node& node, const Compute& compute,
                                   int id) {
  if (const auto constant = constant_of(compute.body, id)) return PointTable{{*constant}, {}};
  const auto operand = operand_of(compute.body, id);
  if (!operand || compute.operands[*operand].guarded) return std::nullopt;
  const Tensor* tensor = constant_tensor(graph, node.inputs[*operand]);
  if (!tensor) return std::nullopt;
  PointTable table;
  const std::vector<int64_t> strides = row_major_strides(tensor->shape());
  for (size_t d = 0; d < strides.size(); ++d) {
    table.index = table.index + index::Expr(strides[d]) * compute.operands[*operand].map.exprs[d];
  }
  for (int64_t i = 0; i < tensor->num_elems(); ++i) table.values.push_back(tensor->at_f64(i));
  return table;
}

}  // namespace

std::optional<Dequantization> match_dequantization(const Graph& graph, const Node& node) {
  const auto* compute = std::get_if<Compute>(&node.op);
  if (!compute || !is_elementwise(*compute)) return std::nullopt;
  const ScalarBody& body = compute->body;
  int id = static_cast<int>(body.nodes.size()) - 1;
  Dequantization result;
  if (body.nodes[id].op == ScalarOp::kMul) {
    result.scale = table_of(graph, node, *compute, body.nodes[id].args[1]);
    if (!result.scale || !is_float(body.nodes[id].dtype)) return std::nullopt;
    id = body.nodes[id].args[0];
  } else if (is_float(body.nodes[id].dtype)) {
    result.scale = PointTable{{1}, {}};
  }
  result.zero_point = {{0}, {}};
  const ScalarNode& shifted = body.nodes[id];
  if (shifted.op == ScalarOp::kSub || shifted.op == ScalarOp::kAdd) {
    id = shifted.args[0];
    if (const auto zero_point = table_of(graph, node, *compute, shifted.args[1])) {
      result.zero_point = *zero_point;
    } else if (const auto operand = operand_of(body, shifted.args[1])) {
      result.zero_point_value = node.inputs[*operand];
      if (num_elems(graph.values[result.zero_point_value].shape) != 1) return std::nullopt;
    } else {
      return std::nullopt;
    }
    if (shifted.op == ScalarOp::kAdd) {
      if (result.zero_point_value >= 0) return std::nullopt;
      for (double& value : result.zero_point.values) value = -value;
    }
  }
  for (const double value : result.zero_point.values) {
    if (value != std::nearbyint(value) || std::fabs(value) > 255) return std::nullopt;
  }
  const ScalarNode& widened = body.nodes[id];
  if (widened.op != ScalarOp::kCast) return std::nullopt;
  const ScalarNode& bytes = body.nodes[widened.args[0]];
  if (bytes.op != ScalarOp::kOperand || !is_byte(bytes.dtype)) return std::nullopt;
  if (!is_float(widened.dtype) && widened.dtype != DType::kI32) return std::nullopt;
  result.operand = bytes.index;
  if (compute->operands[result.operand].guarded) return std::nullopt;
  return result;
}

std::optional<Quantization> match_quantization(const Node& node) {
  const auto* compute = std::get_if<Compute>(&node.op);
  if (!compute || node.inputs.size() != 1 || !is_elementwise(*compute)) return std::nullopt;
  if (compute->operands[0].guarded) return std::nullopt;
  const ScalarBody& body = compute->body;
  Quantization result;
  int id = static_cast<int>(body.nodes.size()) - 1;
  if (body.nodes[id].op != ScalarOp::kCast || !is_byte(body.nodes[id].dtype)) return std::nullopt;
  result.dtype = body.nodes[id].dtype;
  id = body.nodes[id].args[0];
  const bool is_signed = result.dtype == DType::kI8;
  const auto skip = [&](ScalarOp op, double expected) {
    if (body.nodes[id].op != op || constant_of(body, body.nodes[id].args[1]) != expected) {
      return false;
    }
    id = body.nodes[id].args[0];
    return true;
  };
  if (!skip(ScalarOp::kMin, is_signed ? 127 : 255)) return std::nullopt;
  if (!skip(ScalarOp::kMax, is_signed ? -128 : 0)) return std::nullopt;
  if (body.nodes[id].op == ScalarOp::kAdd) {
    const auto zero_point = constant_of(body, body.nodes[id].args[1]);
    if (!zero_point) return std::nullopt;
    result.zero_point = static_cast<int64_t>(*zero_point);
    id = body.nodes[id].args[0];
  }
  if (body.nodes[id].op != ScalarOp::kRoundEven) return std::nullopt;
  const ScalarNode& quotient = body.nodes[body.nodes[id].args[0]];
  if (quotient.op != ScalarOp::kDiv || body.nodes[quotient.args[0]].op != ScalarOp::kOperand) {
    return std::nullopt;
  }
  const auto scale = constant_of(body, quotient.args[1]);
  if (!scale) return std::nullopt;
  result.scale = *scale;
  return result;
}

bool dequantizes_constant(const Graph& graph, const Node& node) {
  const auto dequantization = match_dequantization(graph, node);
  if (!dequantization) return false;
  const graph::ValueId bytes = node.inputs[dequantization->operand];
  return constant_tensor(graph, bytes) && std::get<Compute>(node.op).space.axes.size() > 1;
}

}  // namespace corf::rewrite
