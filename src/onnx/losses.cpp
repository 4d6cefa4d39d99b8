// Losses of a classifier: what its logarithms say of the classes that are right.
#include "onnx/compose.h"

namespace corf::onnx {
namespace {

using graph::Combiner;
using index::Expr;

/// Losses and their weights, of the targets' shape; a target that is ignored has weight 0.
struct Losses {
  ValueId loss = -1;
  std::optional<ValueId> weight;  // none: all are 1
};

Result<Shape> check_targets(const NodeImport& node, ValueId x, ValueId targets) {
  const Shape shape = node.shape(x);
  const DType dtype = node.dtype(targets);
  if (dtype != DType::kI32 && dtype != DType::kI64) {
    return node.invalid("targets have element type {}, not int32 or int64", to_string(dtype));
  }
  Shape expected = shape;
  if (shape.size() >= 2) expected.erase(expected.begin() + 1);
  if (shape.size() < 2 || node.shape(targets) != expected) {
    return node.invalid("targets {} do not fit {}", to_string(node.shape(targets)),
                        to_string(shape));
  }
  if (shape[1] == 0 && num_elems(expected) > 0) return node.invalid("there are no classes");
  return expected;
}

/// The value, 0 where the target is to be ignored.
int unless_ignored(ScalarBody& b, int value, int target, int64_t ignored) {
  const DType dtype = b.nodes[value].dtype;
  int skip = b.apply(ScalarOp::kEqual, target, b.constant_i64(ignored, b.nodes[target].dtype));
  return b.apply(ScalarOp::kSelect, skip, b.constant(0, dtype), value);
}

/// One element for each target: `source` (logarithms by batch and class, or weights by class) at
/// the target's class, 0 if that is `ignored`.
ValueId pick(NodeImport& node, std::string name, ValueId source, ValueId targets,
             std::optional<int64_t> ignored) {
  const Shape shape = node.shape(targets);
  const Shape from = node.shape(source);
  const int rank = static_cast<int>(shape.size());
  graph::Compute compute;
  graph::Operand picked, target;
  for (int d = 0; d < rank; ++d) {
    compute.space.axes.push_back({fmt::format("d{}", d), shape[d], index::AxisKind::kParallel});
    target.map.exprs.push_back(Expr::variable(d));
  }
  // The modulo keeps a target that is ignored inside.
  const bool by_class = from.size() == 1;
  const Expr position = mod(Expr::variable(rank + 1), from[by_class ? 0 : 1]);
  if (by_class) {
    picked.map.exprs = {position};
  } else {
    picked.map = target.map;
    picked.map.exprs.insert(picked.map.exprs.begin() + 1, position);
  }
  compute.operands = {picked, target};
  const int element = compute.body.operand(0, node.dtype(source));
  if (ignored) {
    const int label = compute.body.operand(1, node.dtype(targets));
    unless_ignored(compute.body, element, label, *ignored);
  }
  return node.graph.add_compute(std::move(name), std::move(compute), {source, targets});
}

Result<Losses> losses_of(NodeImport& node, ValueId logarithms, ValueId targets) {
  CORF_ASSIGN(const Shape shape, check_targets(node, logarithms, targets));
  const DType dtype = node.dtype(logarithms);
  std::optional<int64_t> ignored;
  if (node.has_attribute("ignore_index")) ignored = node.int_attribute("ignore_index", 0);
  Losses losses;
  if (node.has(2)) {
    const ValueId weights = node.input(2);
    if (node.shape(weights) != Shape{node.shape(logarithms)[1]}) {
      return node.invalid("weights {} for {} classes", to_string(node.shape(weights)),
                          node.shape(logarithms)[1]);
    }
    CORF_RETURN_IF_ERROR(require_same_type(node, {logarithms, weights}));
    losses.weight = pick(node, node.part("weights"), weights, targets, ignored);
  } else if (ignored) {
    losses.weight = per_element(node.graph, node.part("weights"), {targets},
                                [&](ScalarBody& b, const std::vector<int>& in) {
                                  return unless_ignored(b, b.constant(1, dtype), in[0], *ignored);
                                });
  }
  const ValueId picked = pick(node, node.part("picked"), logarithms, targets, ignored);
  losses.loss = unary(node.graph, node.part("losses"), ScalarOp::kNeg, picked);
  if (losses.weight) {
    losses.loss =
        binary(node.graph, node.part("weighted"), ScalarOp::kMul, losses.loss, *losses.weight);
  }
  return losses;
}

/// All losses, their sum or their mean by weight, as attribute 'reduction' says.
Status set_loss(NodeImport& node, ValueId logarithms) {
  CORF_ASSIGN(const Losses losses, losses_of(node, logarithms, node.input(1)));
  const std::string reduction = node.string_attribute("reduction", "mean");
  if (reduction == "none") {
    node.set_output(losses.loss);
    return {};
  }
  if (reduction != "sum" && reduction != "mean") {
    return node.invalid("unknown reduction '{}'", reduction);
  }
  std::vector<int> axes;
  for (int d = 0; d < node.rank(losses.loss); ++d) axes.push_back(d);
  auto sum = [&](std::string_view suffix, ValueId x) {
    return graph::reduce(node.graph, node.part(suffix), x, Combiner::kSum, axes, false);
  };
  if (reduction == "mean" && !losses.weight) {
    const ValueId average = mean(node.graph, node.part("mean"), losses.loss, axes);
    node.set_output(reshape(node.graph, node.name(), average, {}));
    return {};
  }
  const ValueId total = sum("sum", losses.loss);
  node.set_output(reduction == "sum" ? total
                                     : binary(node.graph, node.name(), ScalarOp::kDiv, total,
                                              sum("weight_sum", *losses.weight)));
  return {};
}

Status import_negative_log_likelihood_loss(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  CORF_RETURN_IF_ERROR(require_float(node, node.input(0)));
  return set_loss(node, node.input(0));
}

Status import_softmax_cross_entropy_loss(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  CORF_RETURN_IF_ERROR(require_float(node, node.input(0)));
  CORF_RETURN_IF_ERROR(check_targets(node, node.input(0), node.input(1)));
  const ValueId logarithms =
      softmax(node.graph, node.part("log_probabilities"), node.input(0), {1}, true);
  node.set_output(1, logarithms);
  return set_loss(node, logarithms);
}

constexpr Operator kOperators[] = {
    {"NegativeLogLikelihoodLoss", 12, import_negative_log_likelihood_loss},
    {"SoftmaxCrossEntropyLoss", 12, import_softmax_cross_entropy_loss},
};

}  // namespace

std::span<const Operator> loss_operators() { return kOperators; }

}  // namespace corf::onnx
