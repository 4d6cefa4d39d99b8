#include <algorithm>
#include <cmath>
#include <map>

#include "onnx/activations.h"
#include "onnx/compose.h"

namespace corf::onnx {
namespace {

/// Errors: kInvalidModel if a x b is no matrix product with numpy's broadcasting.
Status check_matmul(const NodeImport& node, ValueId a, ValueId b) {
  Shape left = node.shape(a);
  Shape right = node.shape(b);
  CORF_RETURN_IF_ERROR(require_same_type(node, {a, b}));
  if (left.empty() || right.empty()) return node.invalid("a matrix product of a scalar");
  int64_t k_left = left.back();
  int64_t k_right = right.size() == 1 ? right[0] : right[right.size() - 2];
  Shape batch_left(left.begin(), left.end() - std::min<size_t>(2, left.size()));
  Shape batch_right(right.begin(), right.end() - std::min<size_t>(2, right.size()));
  if (k_left != k_right || !broadcast_shape(batch_left, batch_right)) {
    return node.invalid("{} and {} cannot be multiplied", to_string(left), to_string(right));
  }
  return {};
}

Status import_matmul(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  CORF_RETURN_IF_ERROR(check_matmul(node, node.input(0), node.input(1)));
  node.set_output(graph::matmul(node.graph, node.name(), node.input(0), node.input(1)));
  return {};
}

/// [d0, d1, ..., rows, columns] as [d1, ..., rows, d0, columns], then the last two swapped.
ValueId turned_factor(NodeImport& node, std::string_view suffix, ValueId x, bool turns_batch,
                      bool turns) {
  const int rank = node.rank(x);
  if (rank < 2) return x;
  std::vector<int> order(static_cast<size_t>(rank));
  for (int d = 0; d < rank; ++d) order[d] = d;
  if (turns_batch) std::rotate(order.begin(), order.begin() + 1, order.end() - 1);
  if (turns) std::swap(order[rank - 2], order[rank - 1]);
  return transpose(node.graph, node.part(suffix), x, order);
}

/// alpha * A' * B'
Status import_fused_matmul(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  const auto factor = [&](int input, const std::string& letter) {
    return turned_factor(node, letter, node.input(input),
                         node.int_attribute("transBatch" + letter, 0) != 0,
                         node.int_attribute("trans" + letter, 0) != 0);
  };
  const ValueId a = factor(0, "A"), b = factor(1, "B");
  CORF_RETURN_IF_ERROR(check_matmul(node, a, b));
  const ValueId product = graph::matmul(node.graph, node.name(), a, b);
  const double alpha = node.float_attribute("alpha", 1);
  node.set_output(multiply(node.graph, node.part("alpha"), product, alpha));
  return {};
}

/// Distances of each row of A (M x K) from each of B (N x K): M x N. Differences are squared, not
/// A^2 + B^2 - 2 A B, of which little is left for rows that are close to each other.
Status import_distances(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  const ValueId a = node.input(0), b = node.input(1);
  CORF_RETURN_IF_ERROR(require_same_type(node, {a, b}));
  const Shape left = node.shape(a), right = node.shape(b);
  const std::string metric = node.string_attribute("metric", "sqeuclidean");
  if (metric != "euclidean" && metric != "sqeuclidean") {
    return node.invalid("attribute 'metric' is '{}', not euclidean or sqeuclidean", metric);
  }
  if (left.size() != 2 || right.size() != 2 || left[1] != right[1]) {
    return node.invalid("{} and {} are not rows of one length", to_string(left), to_string(right));
  }
  const ValueId rows = reshape(node.graph, node.part("a"), a, {left[0], 1, left[1]});
  const ValueId columns = reshape(node.graph, node.part("b"), b, {1, right[0], right[1]});
  const ValueId squares = per_element(node.graph, node.part("squares"), {rows, columns},
                                      [](ScalarBody& body, const std::vector<int>& in) {
                                        const int difference =
                                            body.apply(ScalarOp::kSub, in[0], in[1]);
                                        return body.apply(ScalarOp::kMul, difference, difference);
                                      });
  const bool is_rooted = metric == "euclidean";
  const ValueId sum = graph::reduce(node.graph, is_rooted ? node.part("sum") : node.name(), squares,
                                    graph::Combiner::kSum, {2}, false);
  node.set_output(is_rooted ? unary(node.graph, node.name(), ScalarOp::kSqrt, sum) : sum);
  return {};
}

/// alpha * A' * B' + beta * C: the product, then one element-wise node for the rest.
Result<ValueId> general_product(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId a = node.input(0);
  ValueId b = node.input(1);
  CORF_RETURN_IF_ERROR(require_same_type(node, {a, b}));
  bool transpose_a = node.int_attribute("transA", 0) != 0;
  bool transpose_b = node.int_attribute("transB", 0) != 0;
  double alpha = node.float_attribute("alpha", 1);
  double beta = node.float_attribute("beta", 1);
  Shape left = node.shape(a);
  Shape right = node.shape(b);
  if (left.size() != 2 || right.size() != 2 ||
      left[transpose_a ? 0 : 1] != right[transpose_b ? 1 : 0]) {
    return node.invalid("{}{} and {}{} cannot be multiplied", to_string(left),
                        transpose_a ? " transposed" : "", to_string(right),
                        transpose_b ? " transposed" : "");
  }
  DType dtype = node.dtype(a);
  for (const double factor : {alpha, beta}) {
    if (!is_float(dtype) && factor != std::trunc(factor)) {
      return node.unsupported("a factor of {} for integers is not supported", factor);
    }
  }
  ValueId product = graph::matmul(node.graph, node.name(), a, b, transpose_a, transpose_b);
  if (!node.has(2) || beta == 0) {
    return multiply(node.graph, node.part("alpha"), product, alpha);
  }
  ValueId c = node.input(2);
  CORF_RETURN_IF_ERROR(require_same_type(node, {a, c}));
  if (broadcast_shape(node.shape(product), node.shape(c)) != node.shape(product)) {
    return node.invalid("C of shape {} does not broadcast to the product's {}",
                        to_string(node.shape(c)), to_string(node.shape(product)));
  }
  auto body = [&](ScalarBody& s, const std::vector<int>& in) {
    int scaled = alpha == 1 ? in[0] : s.apply(ScalarOp::kMul, in[0], number(s, alpha, dtype));
    int bias = beta == 1 ? in[1] : s.apply(ScalarOp::kMul, in[1], number(s, beta, dtype));
    return s.apply(ScalarOp::kAdd, scaled, bias);
  };
  return per_element(node.graph, node.part("bias"), {product, c}, body);
}

Status import_gemm(NodeImport& node) {
  CORF_ASSIGN(const ValueId y, general_product(node));
  node.set_output(y);
  return {};
}

Status import_fused_gemm(NodeImport& node) {
  CORF_ASSIGN(const ValueId product, general_product(node));
  Activation activation{node.string_attribute("activation", ""), {}};
  // An attribute that is left out ends the list.
  for (const char* name : {"activation_alpha", "activation_beta", "activation_gamma"}) {
    if (!node.has_attribute(name)) break;
    activation.parameters.push_back(node.float_attribute(name, 0));
  }
  CORF_ASSIGN(const ValueId y, activated(node, node.part("activation"), product, activation));
  node.set_output(y);
  return {};
}

/// An einsum equation: one label for each dimension of each operand and of the result. Dimensions
/// under an ellipsis have labels of their own: the digits, counted from the last one.
struct Equation {
  std::vector<std::string> operands;
  std::string result;
};

Result<std::string> expand_ellipsis(const NodeImport& node, const std::string& term,
                                    int num_hidden) {
  size_t dots = term.find("...");
  if (dots == std::string::npos) return term;
  if (num_hidden < 0 || num_hidden > 9) return node.invalid("einsum term '{}' does not fit", term);
  std::string hidden;
  for (int i = num_hidden; i-- > 0;) hidden += static_cast<char>('0' + i);
  return term.substr(0, dots) + hidden + term.substr(dots + 3);
}

Result<Equation> parse_equation(NodeImport& node) {
  std::string text = node.string_attribute("equation", "");
  std::erase(text, ' ');
  size_t arrow = text.find("->");
  std::string left = text.substr(0, arrow);
  Equation equation;
  int widest = 0;  // dimensions under the ellipsis of any operand
  size_t start = 0;
  for (int i = 0; i < node.num_inputs(); ++i) {
    size_t comma = left.find(',', start);
    if (start > left.size() || (comma == std::string::npos) != (i + 1 == node.num_inputs())) {
      return node.invalid("equation '{}' does not have {} operands", text, node.num_inputs());
    }
    std::string term = left.substr(start, comma - start);
    start = comma + 1;
    int rank = node.rank(node.input(i));
    bool has_ellipsis = term.find("...") != std::string::npos;
    int num_hidden = rank - static_cast<int>(term.size()) + 3;
    CORF_ASSIGN(std::string labels, expand_ellipsis(node, term, num_hidden));
    if (static_cast<int>(labels.size()) != rank) {
      return node.invalid("einsum term '{}' for an operand of rank {}", term, rank);
    }
    if (has_ellipsis) widest = std::max(widest, num_hidden);
    equation.operands.push_back(labels);
  }
  if (arrow != std::string::npos) {
    CORF_ASSIGN(equation.result, expand_ellipsis(node, text.substr(arrow + 2), widest));
  } else {
    // Implicit: the ellipsis, then every label that occurs once, in alphabetical order.
    std::map<char, int> occurrences;
    for (const std::string& labels : equation.operands) {
      for (char label : labels) ++occurrences[label];
    }
    CORF_ASSIGN(equation.result, expand_ellipsis(node, "...", widest));
    for (auto [label, count] : occurrences) {
      if (count == 1 && std::isalpha(static_cast<unsigned char>(label))) equation.result += label;
    }
  }
  for (const std::string& labels : equation.operands) {
    for (char label : labels) {
      if (!std::isalnum(static_cast<unsigned char>(label))) {
        return node.invalid("equation '{}' is malformed", text);
      }
    }
  }
  return equation;
}

/// Any equation is one compute operator: the result's labels are the parallel axes, all others are
/// summed over.
Status import_einsum(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(std::max(1, node.num_inputs())));
  std::vector<ValueId> inputs;
  for (int i = 0; i < node.num_inputs(); ++i) inputs.push_back(node.input(i));
  CORF_RETURN_IF_ERROR(require_same_type(node, inputs));
  CORF_ASSIGN(Equation equation, parse_equation(node));
  std::map<char, int64_t> extents;
  for (size_t i = 0; i < inputs.size(); ++i) {
    Shape shape = node.shape(inputs[i]);
    for (size_t d = 0; d < shape.size(); ++d) {
      int64_t& extent = extents.emplace(equation.operands[i][d], shape[d]).first->second;
      if (extent == 1) extent = shape[d];
      if (shape[d] != 1 && shape[d] != extent) {
        return node.invalid("label '{}' stands for extents {} and {}", equation.operands[i][d],
                            extent, shape[d]);
      }
    }
  }
  graph::Compute compute;
  std::map<char, int> axes;
  auto add_axis = [&](char label, index::AxisKind kind) {
    axes[label] = static_cast<int>(compute.space.axes.size());
    compute.space.axes.push_back({std::string("x") + label, extents[label], kind});
  };
  for (char label : equation.result) {
    if (!extents.contains(label) || axes.contains(label)) {
      return node.invalid("label '{}' of the result is not one of an operand, or is repeated",
                          label);
    }
    add_axis(label, index::AxisKind::kParallel);
  }
  for (auto [label, extent] : extents) {
    if (!axes.contains(label)) add_axis(label, index::AxisKind::kReduction);
  }
  if (axes.size() > equation.result.size()) compute.combiner = graph::Combiner::kSum;
  int product = -1;
  for (size_t i = 0; i < inputs.size(); ++i) {
    graph::Operand operand;
    Shape shape = node.shape(inputs[i]);
    for (size_t d = 0; d < shape.size(); ++d) {
      int axis = axes[equation.operands[i][d]];
      operand.map.exprs.push_back(shape[d] == 1 ? index::Expr(0) : index::Expr::variable(axis));
    }
    compute.operands.push_back(std::move(operand));
    int x = compute.body.operand(static_cast<int>(i), node.dtype(inputs[i]));
    product = product < 0 ? x : compute.body.apply(ScalarOp::kMul, product, x);
  }
  node.set_output(node.graph.add_compute(node.name(), std::move(compute), inputs));
  return {};
}

constexpr Operator kOperators[] = {
    {"Einsum", 12, import_einsum},
    {"Gemm", 1, import_gemm},
    {"MatMul", 1, import_matmul},
    {"com.microsoft.CDist", 0, import_distances},
    {"com.microsoft.FusedGemm", 0, import_fused_gemm},
    {"com.microsoft.FusedMatMul", 0, import_fused_matmul},
    {"com.microsoft.TransposeMatMul", 0, import_fused_matmul},
};

}  // namespace

std::span<const Operator> matmul_operators() { return kOperators; }

}  // namespace corf::onnx
