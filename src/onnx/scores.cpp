#include "onnx/scores.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace corf::onnx {
namespace {

/// sqrt(2) times the inverse of erf at 2 x - 1, by the approximation that ONNX Runtime takes.
/// Source: S. Winitzki, "A handy approximation for the error function and its inverse", 2008.
int probit(ScalarBody& b, int x, DType dtype) {
  const auto real = [&](double value) { return b.constant(value, dtype); };
  constexpr double kA = 0.147;
  const int centred = b.apply(ScalarOp::kSub, b.apply(ScalarOp::kMul, x, real(2)), real(1));
  const int product = b.apply(ScalarOp::kMul, b.apply(ScalarOp::kSub, real(1), centred),
                              b.apply(ScalarOp::kAdd, real(1), centred));
  const int log = b.apply(ScalarOp::kLog, product);
  const int v = b.apply(ScalarOp::kAdd, real(2 / (std::numbers::pi * kA)),
                        b.apply(ScalarOp::kMul, log, real(0.5)));
  const int square = b.apply(ScalarOp::kSub, b.apply(ScalarOp::kMul, v, v),
                             b.apply(ScalarOp::kMul, log, real(1 / kA)));
  const int root = b.apply(ScalarOp::kSqrt, square);
  const int size = b.apply(ScalarOp::kSqrt, b.apply(ScalarOp::kSub, root, v));
  const int sign =
      b.apply(ScalarOp::kSelect, b.apply(ScalarOp::kLess, centred, real(0)), real(-1), real(1));
  return b.apply(ScalarOp::kMul, b.apply(ScalarOp::kMul, sign, size), real(std::numbers::sqrt2));
}

/// exp(x - max) / sum over what is not zero; zeros stay.
ValueId softmax_of_nonzero(NodeImport& node, const std::string& name, ValueId x) {
  using graph::Combiner;
  graph::Graph& graph = node.graph;
  const DType dtype = node.dtype(x);
  const ValueId most = graph::reduce(graph, name + "/max", x, Combiner::kMax, {1}, true);
  const ValueId powers =
      per_element(graph, name + "/exp", {x, most}, [&](ScalarBody& b, const std::vector<int>& in) {
        const int zero = b.constant(0, dtype);
        const int power = b.apply(ScalarOp::kExp, b.apply(ScalarOp::kSub, in[0], in[1]));
        return b.apply(ScalarOp::kSelect, b.apply(ScalarOp::kEqual, in[0], zero), zero, power);
      });
  const ValueId sum = graph::reduce(graph, name + "/sum", powers, Combiner::kSum, {1}, true);
  return per_element(graph, name, {powers, sum}, [&](ScalarBody& b, const std::vector<int>& in) {
    const int zero = b.constant(0, dtype);
    const int ratio = b.apply(ScalarOp::kDiv, in[0], in[1]);
    return b.apply(ScalarOp::kSelect, b.apply(ScalarOp::kEqual, in[1], zero), zero, ratio);
  });
}

}  // namespace

Result<ValueId> feature_rows(NodeImport& node, ValueId x) {
  const Shape shape = node.shape(x);
  if (shape.size() != 1 && shape.size() != 2) {
    return node.invalid("an input of rank {}, not 1 or 2", shape.size());
  }
  if (!is_float(node.dtype(x)) || size_bytes(node.dtype(x)) < 4) {
    x = cast(node.graph, node.part("features"), x, DType::kF32);
  }
  if (shape.size() == 2) return x;
  return reshape(node.graph, node.part("row"), x, {1, shape[0]});
}

Result<ValueId> transformed_scores(NodeImport& node, const std::string& name, ValueId scores,
                                   const std::string& kind) {
  const DType dtype = node.dtype(scores);
  if (kind == "NONE" || kind.empty()) return scores;
  if (kind == "SOFTMAX") return softmax(node.graph, name, scores, {1});
  if (kind == "LOGISTIC") return unary(node.graph, name, ScalarOp::kSigmoid, scores);
  if (kind == "SOFTMAX_ZERO") return softmax_of_nonzero(node, name, scores);
  if (kind == "PROBIT") {
    return per_element(node.graph, name, {scores}, [&](ScalarBody& b, const std::vector<int>& in) {
      return probit(b, in[0], dtype);
    });
  }
  return node.invalid("unknown post_transform '{}'", kind);
}

Result<ValueId> both_scores(NodeImport& node, const std::string& name, ValueId score,
                            SecondClass how, const std::string& kind) {
  if (kind == "PROBIT") return transformed_scores(node, name, score, kind);
  const DType dtype = node.dtype(score);
  const bool is_negated = how == SecondClass::kNegative || kind == "LOGISTIC";
  const ValueId other = per_element(node.graph, name + "/other", {score},
                                    [&](ScalarBody& b, const std::vector<int>& in) {
                                      if (is_negated) return b.apply(ScalarOp::kNeg, in[0]);
                                      return b.apply(ScalarOp::kSub, b.constant(1, dtype), in[0]);
                                    });
  const ValueId both = concat(node.graph, name, {other, score}, 1);
  if (kind != "LOGISTIC") return both;
  return transformed_scores(node, name + "/logistic", both, kind);
}

ClassLabels read_labels(NodeImport& node, const std::string& numbers, const std::string& strings) {
  ClassLabels labels;
  labels.numbers = node.ints_attribute(numbers);
  labels.count = static_cast<int64_t>(labels.numbers.size());
  if (labels.numbers.empty() && node.has_attribute(strings)) {
    const std::string joined = node.strings_attribute(strings);
    labels.count = std::count(joined.begin(), joined.end(), ',') + 1;
  }
  return labels;
}

void set_labels(NodeImport& node, const ClassLabels& labels, ValueId classes) {
  if (labels.numbers.empty() || !node.wants_output(0)) return;
  const Tensor table = make_tensor<int64_t>({labels.count}, std::span(labels.numbers));
  const ValueId known = node.graph.add_constant(node.part("labels"), table);
  node.set_output(0, graph::gather(node.graph, node.name(), known, classes, 0));
}

ValueId best_class(NodeImport& node, ValueId scores) {
  return graph::reduce(node.graph, node.part("class"), scores, graph::Combiner::kArgMax, {1},
                       false);
}

ValueId class_above(NodeImport& node, ValueId score, double threshold) {
  const DType dtype = node.dtype(score);
  const ValueId column = per_element(
      node.graph, node.part("class_column"), {score},
      [&](ScalarBody& b, const std::vector<int>& in) {
        return b.cast(b.apply(ScalarOp::kLess, b.constant(threshold, dtype), in[0]), DType::kI64);
      });
  return reshape(node.graph, node.part("class"), column, {node.shape(score)[0]});
}

}  // namespace corf::onnx
