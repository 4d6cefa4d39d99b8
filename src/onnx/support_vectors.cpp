// Support vector machines of ai.onnx.ml, as core nodes.
#include <algorithm>
#include <cmath>

#include "onnx/scores.h"

namespace corf::onnx {
namespace {

using graph::Combiner;

/// Of a row and each of the vectors: a function of their product, or of their distance.
Result<ValueId> kernels(NodeImport& node, ValueId x, const std::vector<double>& vectors,
                        int64_t count) {
  const std::string kind = node.string_attribute("kernel_type", "LINEAR");
  const auto parameters = node.floats_attribute("kernel_params");
  const auto parameter = [&](size_t i) { return i < parameters.size() ? parameters[i] : 0.0; };
  const double gamma = parameter(0), coefficient = parameter(1), degree = parameter(2);
  const Shape shape = node.shape(x);
  const ValueId table = node.graph.add_constant(
      node.part("vectors"), filled(DType::kF32, {count, shape[1]},
                                   [&](int64_t i) { return vectors[static_cast<size_t>(i)]; }));
  if (kind == "RBF") {
    const ValueId rows = reshape(node.graph, node.part("rows"), x, {shape[0], 1, shape[1]});
    const ValueId gap = binary(node.graph, node.part("differences"), ScalarOp::kSub, rows, table);
    const ValueId distance = graph::reduce(
        node.graph, node.part("distances"), gap, Combiner::kSum, {2}, false,
        [](ScalarBody& b, int element) { return b.apply(ScalarOp::kMul, element, element); });
    return per_element(node.graph, node.part("kernels"), {distance},
                       [&](ScalarBody& b, const std::vector<int>& in) {
                         return b.apply(ScalarOp::kExp, b.apply(ScalarOp::kMul, in[0],
                                                                b.constant(-gamma, DType::kF32)));
                       });
  }
  const ValueId product = graph::matmul(node.graph, node.part("products"), x, table, false, true);
  if (kind == "LINEAR") return product;
  if (kind != "POLY" && kind != "SIGMOID") return node.invalid("unknown kernel_type '{}'", kind);
  return per_element(
      node.graph, node.part("kernels"), {product}, [&](ScalarBody& b, const std::vector<int>& in) {
        const auto real = [&](double value) { return b.constant(value, DType::kF32); };
        const int line =
            b.apply(ScalarOp::kAdd, b.apply(ScalarOp::kMul, in[0], real(gamma)), real(coefficient));
        if (kind == "SIGMOID") return b.apply(ScalarOp::kTanh, line);
        return b.apply(ScalarOp::kPow, line, real(degree));
      });
}

/// The weighted sum of kernels, or, without vectors, a linear function of x.
Status import_svm_regressor(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  CORF_ASSIGN(ValueId x, feature_rows(node, node.input(0)));
  x = cast(node.graph, node.part("x_f32"), x, DType::kF32);
  const auto vectors = node.floats_attribute("support_vectors");
  const auto coefficients = node.floats_attribute("coefficients");
  const auto rho = node.floats_attribute("rho");
  const int64_t features = node.shape(x)[1], count = node.int_attribute("n_supports", 0);
  const auto num_coefficients = static_cast<int64_t>(coefficients.size());
  if (rho.empty() || count < 0 || num_coefficients != (count > 0 ? count : features) ||
      (count > 0 && (static_cast<int64_t>(vectors.size()) % count != 0 ||
                     static_cast<int64_t>(vectors.size()) / count != features))) {
    return node.invalid("{} vectors, {} coefficients and {} numbers rho for {} features", count,
                        coefficients.size(), rho.size(), features);
  }
  ValueId terms = x;
  if (count > 0) {
    CORF_ASSIGN(terms, kernels(node, x, vectors, count));
  }
  const ValueId weights = node.graph.add_constant(
      node.part("coefficients"), filled(DType::kF32, {num_coefficients, 1}, [&](int64_t i) {
        return coefficients[static_cast<size_t>(i)];
      }));
  const ValueId sum = graph::matmul(node.graph, node.part("sum"), terms, weights);
  const bool one_class = node.int_attribute("one_class", 0) != 0;
  const ValueId score = per_element(
      node.graph, node.part("score"), {sum}, [&](ScalarBody& b, const std::vector<int>& in) {
        const auto real = [&](double value) { return b.constant(value, DType::kF32); };
        const int shifted = b.apply(ScalarOp::kAdd, in[0], real(rho[0]));
        if (!one_class) return shifted;
        return b.apply(ScalarOp::kSelect, b.apply(ScalarOp::kLess, real(0), shifted), real(1),
                       real(-1));
      });
  CORF_ASSIGN(const ValueId y, transformed_scores(node, node.part("transformed"), score,
                                                  node.string_attribute("post_transform", "NONE")));
  node.set_output(y);
  return {};
}

/// What a classifier is made of: vectors of one class after the other, and for each class but one a
/// coefficient of each vector.
struct Machine {
  ClassLabels labels;
  std::vector<int64_t> class_of_vector;
  std::vector<double> vectors, coefficients, rho, prob_a, prob_b;

  int64_t num_vectors() const { return static_cast<int64_t>(class_of_vector.size()); }
  int64_t num_pairs() const { return labels.count * (labels.count - 1) / 2; }
};

Result<Machine> read_machine(NodeImport& node, int64_t features) {
  Machine machine;
  machine.labels = read_labels(node, "classlabels_ints", "classlabels_strings");
  machine.vectors = node.floats_attribute("support_vectors");
  machine.coefficients = node.floats_attribute("coefficients");
  machine.rho = node.floats_attribute("rho");
  machine.prob_a = node.floats_attribute("prob_a");
  machine.prob_b = node.floats_attribute("prob_b");
  const auto per_class = node.ints_attribute("vectors_per_class");
  constexpr int64_t kMostVectors = 1 << 24, kMostClasses = 1 << 10;
  const int64_t classes = machine.labels.count;
  int64_t number = 0;
  for (int64_t count : per_class) {
    if (count < 0 || machine.num_vectors() + count > kMostVectors) {
      return node.invalid("{} vectors of class {}", count, number);
    }
    machine.class_of_vector.insert(machine.class_of_vector.end(), static_cast<size_t>(count),
                                   number++);
  }
  const auto size = [](const auto& list) { return static_cast<int64_t>(list.size()); };
  const int64_t vectors = machine.num_vectors(), pairs = machine.num_pairs();
  const bool fits =
      classes >= 2 && classes <= kMostClasses &&
      (vectors == 0 ? size(machine.coefficients) == classes * features && !machine.rho.empty()
                    : size(per_class) == classes && size(machine.vectors) == vectors * features &&
                          size(machine.coefficients) == (classes - 1) * vectors &&
                          size(machine.rho) == pairs) &&
      (machine.prob_a.empty() || size(machine.prob_a) == pairs) &&
      machine.prob_a.size() == machine.prob_b.size();
  if (!fits) {
    return node.invalid("{} vectors of {} classes, {} coefficients and {} features do not fit",
                        vectors, classes, machine.coefficients.size(), features);
  }
  return machine;
}

/// The classes of each pair, (0, 1), (0, 2), ..., (1, 2), ...
std::vector<std::pair<int64_t, int64_t>> pairs_of(const Machine& machine) {
  std::vector<std::pair<int64_t, int64_t>> pairs;
  for (int64_t i = 0; i < machine.labels.count; ++i) {
    for (int64_t j = i + 1; j < machine.labels.count; ++j) pairs.emplace_back(i, j);
  }
  return pairs;
}

/// For each pair of classes a number that is positive for the first, [rows, pairs]: the kernels of
/// both classes' vectors, weighted, and rho.
Result<ValueId> pair_scores(NodeImport& node, ValueId x, const Machine& machine) {
  const auto pairs = pairs_of(machine);
  const auto columns = static_cast<int64_t>(pairs.size());
  const int64_t vectors = machine.num_vectors();
  CORF_ASSIGN(const ValueId terms, kernels(node, x, machine.vectors, vectors));
  const ValueId weights = node.graph.add_constant(
      node.part("pair_weights"), filled(DType::kF32, {vectors, columns}, [&](int64_t at) {
        const int64_t vector = at / columns;
        const auto& [i, j] = pairs[static_cast<size_t>(at % columns)];
        const int64_t own = machine.class_of_vector[static_cast<size_t>(vector)];
        if (own != i && own != j) return 0.0;
        const int64_t row = own == i ? j - 1 : i;
        return machine.coefficients[static_cast<size_t>(row * vectors + vector)];
      }));
  const ValueId rho = node.graph.add_constant(
      node.part("rho"), filled(DType::kF32, {columns},
                               [&](int64_t at) { return machine.rho[static_cast<size_t>(at)]; }));
  const ValueId sums = graph::matmul(node.graph, node.part("pair_sums"), terms, weights);
  return binary(node.graph, node.part("pair_scores"), ScalarOp::kAdd, sums, rho);
}

/// How many pairs each class wins, [rows, classes].
ValueId votes_of(NodeImport& node, ValueId scores, const Machine& machine) {
  const auto pairs = pairs_of(machine);
  const int64_t classes = machine.labels.count;
  const ValueId wins = per_element(
      node.graph, node.part("wins"), {scores}, [](ScalarBody& b, const std::vector<int>& in) {
        return b.cast(b.apply(ScalarOp::kLess, b.constant(0, DType::kF32), in[0]), DType::kF32);
      });
  const ValueId gains = node.graph.add_constant(
      node.part("gains"),
      filled(DType::kF32, {static_cast<int64_t>(pairs.size()), classes}, [&](int64_t at) {
        const auto& [i, j] = pairs[static_cast<size_t>(at / classes)];
        return at % classes == i ? 1.0 : at % classes == j ? -1.0 : 0.0;
      }));
  // Class c is the second one of c pairs.
  const ValueId second = node.graph.add_constant(
      node.part("second"),
      filled(DType::kF32, {classes}, [](int64_t c) { return static_cast<double>(c); }));
  const ValueId sums = graph::matmul(node.graph, node.part("vote_sums"), wins, gains);
  return binary(node.graph, node.part("votes"), ScalarOp::kAdd, sums, second);
}

/// The probabilities of two classes, [rows, 2]: 1 / (1 + exp(a score + b)) of the first.
/// Source: J. Platt, "Probabilistic outputs for support vector machines", 1999.
ValueId two_probabilities(NodeImport& node, ValueId scores, const Machine& machine) {
  const ValueId first = per_element(
      node.graph, node.part("first"), {scores}, [&](ScalarBody& b, const std::vector<int>& in) {
        const auto real = [&](double value) { return b.constant(value, DType::kF32); };
        constexpr double kLeast = 1e-7;
        const int line =
            b.apply(ScalarOp::kAdd, b.apply(ScalarOp::kMul, in[0], real(-machine.prob_a[0])),
                    real(-machine.prob_b[0]));
        const int p = b.apply(ScalarOp::kMax, b.apply(ScalarOp::kSigmoid, line), real(kLeast));
        return b.apply(ScalarOp::kMin, p, real(1 - kLeast));
      });
  const ValueId other = per_element(
      node.graph, node.part("other"), {first}, [](ScalarBody& b, const std::vector<int>& in) {
        return b.apply(ScalarOp::kSub, b.constant(1, DType::kF32), in[0]);
      });
  return concat(node.graph, node.part("probabilities"), {first, other}, 1);
}

Status import_svm_classifier(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  CORF_ASSIGN(ValueId x, feature_rows(node, node.input(0)));
  x = cast(node.graph, node.part("x_f32"), x, DType::kF32);
  CORF_ASSIGN(const Machine machine, read_machine(node, node.shape(x)[1]));
  const std::string kind = node.string_attribute("post_transform", "NONE");
  if (machine.num_vectors() == 0) {
    const int64_t classes = machine.labels.count;
    CORF_ASSIGN(const ValueId products, kernels(node, x, machine.coefficients, classes));
    const ValueId scores = per_element(
        node.graph, node.part("sums"), {products}, [&](ScalarBody& b, const std::vector<int>& in) {
          return b.apply(ScalarOp::kAdd, in[0], b.constant(machine.rho[0], DType::kF32));
        });
    set_labels(node, machine.labels, best_class(node, scores));
    CORF_ASSIGN(const ValueId y, transformed_scores(node, node.part("scores"), scores, kind));
    node.set_output(1, y);
    return {};
  }
  CORF_ASSIGN(const ValueId scores, pair_scores(node, x, machine));
  // Even where there are probabilities, whose fit may prefer another class.
  set_labels(node, machine.labels, best_class(node, votes_of(node, scores, machine)));
  if (!machine.prob_a.empty()) {
    if (machine.labels.count != 2) {
      return node.unsupported("probabilities of more than two classes are not supported");
    }
    const ValueId probabilities = two_probabilities(node, scores, machine);
    CORF_ASSIGN(const ValueId y,
                transformed_scores(node, node.part("scores"), probabilities, kind));
    node.set_output(1, y);
    return {};
  }
  if (machine.labels.count == 2) {
    const SecondClass how = kind == "NONE" ? SecondClass::kNegative : SecondClass::kComplement;
    CORF_ASSIGN(const ValueId both, both_scores(node, node.part("scores"), scores, how, kind));
    node.set_output(1, both);
    return {};
  }
  CORF_ASSIGN(const ValueId y, transformed_scores(node, node.part("scores"), scores, kind));
  node.set_output(1, y);
  return {};
}

constexpr Operator kOperators[] = {
    {"ai.onnx.ml.SVMClassifier", 0, import_svm_classifier},
    {"ai.onnx.ml.SVMRegressor", 0, import_svm_regressor},
};

}  // namespace

std::span<const Operator> support_vector_operators() { return kOperators; }

}  // namespace corf::onnx
