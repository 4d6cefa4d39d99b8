#include "rewrite/requantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>

#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
#include "rewrite/simplify_bodies.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::ScalarBody;
using graph::ScalarNode;
using graph::ScalarOp;
using graph::ValueId;

namespace {

/// A body's expression divided by a constant: built anew behind the old nodes.
class Division {
 public:
  Division(Graph& graph, Compute& compute, std::vector<ValueId>& inputs, double divisor)
      : graph_(graph), compute_(compute), inputs_(inputs), divisor_(divisor) {}

  /// Whether the division goes into constants all over.
  bool is_possible(int id) {
    const ScalarNode& node = at(id);
    switch (node.op) {
      case ScalarOp::kAdd:
      case ScalarOp::kMin:
      case ScalarOp::kMax:
        return is_possible(node.args[0]) && is_possible(node.args[1]);
      case ScalarOp::kMul: {
        const int other = node.args[is_constant(node.args[1]) ? 0 : 1];
        if (is_constant(other)) return false;
        has_sum_ = has_sum_ || holds_sum(other);
        return is_constant(node.args[0]) || is_constant(node.args[1]);
      }
      default:
        return is_constant(id);
    }
  }
  bool has_sum() const { return has_sum_; }

  int divide(int id) {
    const ScalarNode node = at(id);
    if (is_constant(id)) return divided_constant(node);
    std::array<int, 2> args = {node.args[0], node.args[1]};
    if (node.op != ScalarOp::kMul) {
      args[0] = divide(args[0]);
      args[1] = divide(args[1]);
    } else {
      int& factor = args[is_constant(args[1]) ? 1 : 0];
      factor = divide(factor);
    }
    return compute_.body.apply(node.op, args[0], args[1]);
  }

 private:
  const ScalarNode& at(int id) const { return compute_.body.nodes[id]; }

  bool is_constant(int id) const {
    const ScalarNode& node = at(id);
    if (node.dtype != DType::kF32) return false;
    if (node.op == ScalarOp::kConstant) return std::isfinite(node.f64);
    return node.op == ScalarOp::kOperand && !compute_.operands[node.index].guarded &&
           constant_tensor(graph_, inputs_[node.index]);
  }

  /// A sum along axes, or integers that stand for one.
  bool is_sum(int id) const {
    const ScalarNode& node = at(id);
    if (node.op == ScalarOp::kCast) return at(node.args[0]).dtype == DType::kI32;
    // Its correction by the zero point.
    if (node.op == ScalarOp::kAdd && is_constant(node.args[1])) return is_sum(node.args[0]);
    if (node.op != ScalarOp::kOperand) return false;
    const Compute* source = producing_compute(graph_, inputs_[node.index]);
    return source && source->combiner == graph::Combiner::kSum;
  }

  /// Perhaps scaled.
  bool holds_sum(int id) const {
    const ScalarNode& node = at(id);
    if (node.op != ScalarOp::kMul) return is_sum(id);
    const int other = node.args[is_constant(node.args[1]) ? 0 : 1];
    return (is_constant(node.args[0]) || is_constant(node.args[1])) && holds_sum(other);
  }

  int divided_constant(const ScalarNode& node) {
    if (node.op == ScalarOp::kConstant) {
      return compute_.body.constant(static_cast<float>(node.f64 / divisor_), DType::kF32);
    }
    const ValueId old = inputs_[node.index];
    const Tensor& tensor = *constant_tensor(graph_, old);
    Tensor result(DType::kF32, tensor.shape());
    for (int64_t i = 0; i < tensor.num_elems(); ++i) result.set_f64(i, tensor.at_f64(i) / divisor_);
    const std::string name = graph_.producer(old).name;
    compute_.operands.push_back(compute_.operands[node.index]);
    inputs_.push_back(graph_.add_constant(name, std::move(result)));
    return compute_.body.operand(static_cast<int>(inputs_.size()) - 1, DType::kF32);
  }

  Graph& graph_;
  Compute& compute_;
  std::vector<ValueId>& inputs_;
  double divisor_;
  bool has_sum_ = false;
};

/// The nodes that the result depends on, in order.
ScalarBody without_unused(const ScalarBody& body, int result) {
  std::vector<int> map(body.nodes.size(), -1);
  ScalarBody kept;
  const std::function<int(int)> keep = [&](int id) {
    if (map[id] >= 0) return map[id];
    ScalarNode node = body.nodes[id];
    for (int& arg : node.args) {
      if (arg >= 0) arg = keep(arg);
    }
    kept.nodes.push_back(node);
    return map[id] = static_cast<int>(kept.nodes.size()) - 1;
  };
  keep(result);
  return kept;
}

/// The body with one such division less; false if there is none.
bool divide_constants(Graph& graph, Compute& compute, std::vector<ValueId>& inputs) {
  const ScalarBody body = compute.body;
  const int result = static_cast<int>(body.nodes.size()) - 1;
  for (int rounded = 0; rounded <= result; ++rounded) {
    if (body.nodes[rounded].op != ScalarOp::kRoundEven) continue;
    const int quotient_id = body.nodes[rounded].args[0];
    const ScalarNode& quotient = body.nodes[quotient_id];
    if (quotient.op != ScalarOp::kDiv || quotient.dtype != DType::kF32) continue;
    const ScalarNode& divisor = body.nodes[quotient.args[1]];
    if (divisor.op != ScalarOp::kConstant || !(divisor.f64 > 0x1p-100 && divisor.f64 < 0x1p100)) {
      continue;
    }
    Division division(graph, compute, inputs, divisor.f64);
    if (!division.is_possible(quotient.args[0]) || !division.has_sum()) continue;
    // What is made of the quotient follows what it is made of now.
    std::vector<int> map(body.nodes.size());
    std::iota(map.begin(), map.end(), 0);
    map[quotient_id] = division.divide(quotient.args[0]);
    for (int id = rounded; id <= result; ++id) {
      ScalarNode moved = compute.body.nodes[id];
      for (int& arg : moved.args) {
        if (arg >= 0) arg = map[arg];
      }
      map[id] = static_cast<int>(compute.body.nodes.size());
      compute.body.nodes.push_back(moved);
    }
    compute.body = without_unused(compute.body, map[result]);
    tidy_operands(compute, inputs);
    return true;
  }
  return false;
}

bool visit(Rebuild& rebuild, const Node& node) {
  const auto* old = std::get_if<Compute>(&node.op);
  if (!old || !is_elementwise(*old)) return false;
  Compute compute = *old;
  std::vector<ValueId> inputs = rebuild.mapped(node.inputs);
  bool changed = false;
  while (divide_constants(rebuild.graph(), compute, inputs)) changed = true;
  if (!changed) return false;
  rebuild.replace(node.outputs[0], rebuild.graph().add_compute(node.name, std::move(compute),
                                                               std::move(inputs), node.origin));
  return true;
}

}  // namespace

Result<Graph> requantize(Graph graph) { return without_dead_nodes(rebuild(graph, visit)); }

}  // namespace corf::rewrite
