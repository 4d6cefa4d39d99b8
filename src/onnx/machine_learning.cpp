// Features and linear models of ai.onnx.ml, as core nodes.
#include <cmath>
#include <limits>

#include "onnx/indices.h"
#include "onnx/scores.h"

namespace corf::onnx {
namespace {

using graph::Combiner;

/// A list of one number, or of one for each feature, as a constant that broadcasts over rows.
Result<ValueId> per_feature(NodeImport& node, const std::string& name,
                            const std::vector<double>& values, DType dtype, int64_t features) {
  const auto count = static_cast<int64_t>(values.size());
  if (count != 1 && count != features) {
    return node.invalid("{} holds {} numbers for {} features", name, count, features);
  }
  return node.graph.add_constant(node.part(name), filled(dtype, {count}, [&](int64_t i) {
                                   return values[static_cast<size_t>(i)];
                                 }));
}

int64_t num_features(const NodeImport& node, ValueId x) {
  const Shape shape = node.shape(x);
  return shape.empty() ? 1 : shape.back();
}

/// (x - offset) * scale in float32.
Status import_scaler(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  const ValueId x = node.input(0);
  const int64_t features = num_features(node, x);
  const DType dtype = node.dtype(x) == DType::kF64 ? DType::kF64 : DType::kF32;
  CORF_ASSIGN(const ValueId offset,
              per_feature(node, "offset", node.floats_attribute("offset", {0}), dtype, features));
  CORF_ASSIGN(const ValueId scale,
              per_feature(node, "scale", node.floats_attribute("scale", {1}), dtype, features));
  CORF_ASSIGN(const ValueId y,
              map_elements(node, node.name(), {x, offset, scale},
                           [&](ScalarBody& b, const std::vector<int>& in) {
                             const int centred =
                                 b.apply(ScalarOp::kSub, b.cast(in[0], dtype), in[1]);
                             return b.cast(b.apply(ScalarOp::kMul, centred, in[2]), DType::kF32);
                           }));
  node.set_output(y);
  return {};
}

/// Rows divided by the largest element, the sum of magnitudes or the root of the sum of squares;
/// rows where that is 0 stay.
Status import_normalizer(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  const std::string kind = node.string_attribute("norm", "MAX");
  if (kind != "MAX" && kind != "L1" && kind != "L2") return node.invalid("unknown norm '{}'", kind);
  CORF_ASSIGN(const ValueId x, feature_rows(node, node.input(0)));
  const DType dtype = node.dtype(x);
  const ValueId norm = graph::reduce(
      node.graph, node.part("norm"), x, kind == "MAX" ? Combiner::kMax : Combiner::kSum, {1}, true,
      [&](ScalarBody& b, int element) {
        if (kind == "MAX") return element;
        return kind == "L1" ? b.apply(ScalarOp::kAbs, element)
                            : b.apply(ScalarOp::kMul, element, element);
      });
  const ValueId y = per_element(
      node.graph, node.name(), {x, norm}, [&](ScalarBody& b, const std::vector<int>& in) {
        const int divisor = kind == "L2" ? b.apply(ScalarOp::kSqrt, in[1]) : in[1];
        const int is_zero = b.apply(ScalarOp::kEqual, divisor, b.constant(0, dtype));
        const int ratio = b.apply(ScalarOp::kDiv, in[0], divisor);
        return b.cast(b.apply(ScalarOp::kSelect, is_zero, in[0], ratio), DType::kF32);
      });
  node.set_output(reshape(node.graph, node.part("shape"), y, node.shape(node.input(0))));
  return {};
}

/// 1 where x exceeds the threshold, else 0.
Status import_binarizer(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  const double threshold = node.float_attribute("threshold", 0);
  const DType dtype = node.dtype(node.input(0));
  node.set_output(per_element(
      node.graph, node.name(), {node.input(0)}, [&](ScalarBody& b, const std::vector<int>& in) {
        // Integers exceed a fraction if they exceed what is below it.
        const double bound = is_float(dtype) ? threshold : std::floor(threshold);
        return b.cast(b.apply(ScalarOp::kLess, number(b, bound, dtype), in[0]), dtype);
      }));
  return {};
}

/// x, and another number where it is the one to replace (NaN, too).
Status import_imputer(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  const ValueId x = node.input(0);
  const DType dtype = node.dtype(x);
  std::vector<double> imputed;
  double replaced = 0;
  if (is_float(dtype)) {
    imputed = node.floats_attribute("imputed_value_floats");
    replaced = node.float_attribute("replaced_value_float", 0);
  } else {
    for (int64_t value : node.ints_attribute("imputed_value_int64s")) {
      imputed.push_back(static_cast<double>(value));
    }
    replaced = static_cast<double>(node.int_attribute("replaced_value_int64", 0));
  }
  CORF_ASSIGN(const ValueId values,
              per_feature(node, "imputed", imputed, dtype, num_features(node, x)));
  CORF_ASSIGN(
      const ValueId y,
      map_elements(node, node.name(), {x, values}, [&](ScalarBody& b, const std::vector<int>& in) {
        const int is_it = std::isnan(replaced)
                              ? b.apply(ScalarOp::kIsNan, in[0])
                              : b.apply(ScalarOp::kEqual, in[0], number(b, replaced, dtype));
        return b.apply(ScalarOp::kSelect, is_it, in[1], in[0]);
      }));
  node.set_output(y);
  return {};
}

/// Columns of x at the indices in input 1; a vector counts as one row.
Status import_array_feature_extractor(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId x = node.input(0);
  Shape shape = node.shape(x);
  if (shape.empty() || shape.back() == 0) return node.invalid("it has no columns");
  if (shape.size() == 1) {
    shape.insert(shape.begin(), 1);
    x = reshape(node.graph, node.part("row"), x, shape);
  }
  const ValueId flat = reshape(node.graph, node.part("indices"), node.input(1),
                               {num_elems(node.shape(node.input(1)))});
  CORF_ASSIGN(const ValueId indices, checked_indices(node, "checked", flat, {shape.back()}));
  node.set_output(
      graph::gather(node.graph, node.name(), x, indices, static_cast<int>(shape.size()) - 1));
  return {};
}

/// The inputs' columns side by side, in float32.
Status import_feature_vectorizer(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(std::max(1, node.num_inputs())));
  std::vector<ValueId> parts;
  for (int i = 0; i < node.num_inputs(); ++i) {
    ValueId x = node.input(i);
    Shape shape = node.shape(x);
    if (shape.size() == 1) shape = {1, shape[0]};
    if (shape.size() != 2 || (i > 0 && shape[0] != node.shape(parts[0])[0])) {
      return node.invalid("its inputs are not equally many rows");
    }
    x = reshape(node.graph, node.part(fmt::format("rows{}", i)), x, shape);
    parts.push_back(cast(node.graph, node.part(fmt::format("part{}", i)), x, DType::kF32));
  }
  node.set_output(concat(node.graph, node.name(), parts, 1));
  return {};
}

/// 1 for the category that x is, 0 for all others, along a new last dimension.
Status import_one_hot_encoder(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  if (node.has_attribute("cats_strings")) {
    return node.unsupported("categories that are strings are not supported");
  }
  const auto categories = node.ints_attribute("cats_int64s");
  if (categories.empty()) return node.invalid("it has no categories");
  const ValueId x = node.input(0);
  const DType dtype = node.dtype(x);
  Shape column = node.shape(x);
  column.push_back(1);
  const ValueId known = node.graph.add_constant(
      node.part("categories"),
      filled(dtype, {static_cast<int64_t>(categories.size())},
             [&](int64_t i) { return static_cast<double>(categories[static_cast<size_t>(i)]); }));
  node.set_output(per_element(node.graph, node.name(),
                              {reshape(node.graph, node.part("column"), x, column), known},
                              [](ScalarBody& b, const std::vector<int>& in) {
                                return b.cast(b.apply(ScalarOp::kEqual, in[0], in[1]), DType::kF32);
                              }));
  return {};
}

/// The numbers that an attribute lists, under one of its names.
Result<std::optional<Tensor>> listed(NodeImport& node, const std::string& prefix) {
  if (node.has_attribute(prefix + "_tensor")) {
    CORF_ASSIGN(Tensor tensor, node.tensor_attribute(prefix + "_tensor"));
    return std::optional(tensor.reshaped({tensor.num_elems()}));
  }
  if (node.has_attribute(prefix + "_int64s")) {
    const auto values = node.ints_attribute(prefix + "_int64s");
    return std::optional(
        make_tensor<int64_t>({static_cast<int64_t>(values.size())}, std::span(values)));
  }
  if (node.has_attribute(prefix + "_floats")) {
    const auto values = node.floats_attribute(prefix + "_floats");
    return std::optional(filled(DType::kF32, {static_cast<int64_t>(values.size())},
                                [&](int64_t i) { return values[static_cast<size_t>(i)]; }));
  }
  return std::optional<Tensor>();
}

/// The value that belongs to the first key that x is, or the default: a table whose first row is
/// the default, read at 1 + the key's position.
Status import_label_encoder(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  CORF_ASSIGN(const auto keys, listed(node, "keys"));
  CORF_ASSIGN(const auto values, listed(node, "values"));
  if (!keys || !values) return node.unsupported("labels that are strings are not supported");
  const ValueId x = node.input(0);
  const int64_t count = keys->num_elems();
  if (count == 0 || values->num_elems() != count || keys->dtype() != node.dtype(x)) {
    return node.invalid("{} keys and {} values for {}", count, values->num_elems(),
                        to_string(node.dtype(x)));
  }
  const DType dtype = values->dtype();
  Tensor table(dtype, {count + 1});
  std::copy_n(values->bytes(), values->size_bytes(), table.bytes() + size_bytes(dtype));
  if (node.has_attribute("default_tensor")) {
    CORF_ASSIGN(const Tensor otherwise, node.tensor_attribute("default_tensor"));
    if (otherwise.num_elems() != 1 || otherwise.dtype() != dtype) {
      return node.invalid("default_tensor does not fit");
    }
    std::copy_n(otherwise.bytes(), size_bytes(dtype), table.bytes());
  } else if (is_float(dtype)) {
    table.set_f64(0, node.float_attribute("default_float", -0.0));
  } else {
    table.set_i64(0, node.int_attribute("default_int64", -1));
  }
  Shape column = node.shape(x);
  column.push_back(1);
  const int last = static_cast<int>(column.size()) - 1;
  const ValueId known = node.graph.add_constant(node.part("keys"), *keys);
  const ValueId matches =
      per_element(node.graph, node.part("matches"),
                  {reshape(node.graph, node.part("column"), x, column), known},
                  [&](ScalarBody& b, const std::vector<int>& in) {
                    int is_it = b.apply(ScalarOp::kEqual, in[0], in[1]);
                    if (is_float(node.dtype(x))) {
                      const int both = b.apply(ScalarOp::kAnd, b.apply(ScalarOp::kIsNan, in[0]),
                                               b.apply(ScalarOp::kIsNan, in[1]));
                      is_it = b.apply(ScalarOp::kOr, is_it, both);
                    }
                    // The first of equal keys is the largest.
                    const int place = b.apply(ScalarOp::kSub, b.constant_i64(count, DType::kI64),
                                              b.axis_index(last));
                    return b.apply(ScalarOp::kSelect, is_it, place, b.constant_i64(0, DType::kI64));
                  });
  const ValueId best =
      graph::reduce(node.graph, node.part("best"), matches, Combiner::kMax, {last}, false);
  const ValueId row = per_element(
      node.graph, node.part("row"), {best}, [&](ScalarBody& b, const std::vector<int>& in) {
        const int zero = b.constant_i64(0, DType::kI64);
        const int place = b.apply(ScalarOp::kSub, b.constant_i64(count + 1, DType::kI64), in[0]);
        return b.apply(ScalarOp::kSelect, b.apply(ScalarOp::kEqual, in[0], zero), zero, place);
      });
  const ValueId rows = node.graph.add_constant(node.part("table"), std::move(table));
  node.set_output(graph::gather(node.graph, node.name(), rows, row, 0));
  return {};
}

/// x coefficients' + intercepts, [rows, targets]; one row of coefficients for each target.
Result<ValueId> linear_scores(NodeImport& node, ValueId x, int64_t targets,
                              const std::vector<double>& intercepts) {
  const auto coefficients = node.floats_attribute("coefficients");
  const int64_t features = node.shape(x)[1];
  if (targets < 1 || features < 1 ||
      static_cast<int64_t>(coefficients.size()) / targets != features ||
      static_cast<int64_t>(coefficients.size()) % targets != 0) {
    return node.invalid("{} coefficients for {} features and {} targets", coefficients.size(),
                        features, targets);
  }
  const ValueId wide = cast(node.graph, node.part("x_f32"), x, DType::kF32);
  const ValueId weights = node.graph.add_constant(
      node.part("coefficients"), filled(DType::kF32, {targets, features}, [&](int64_t i) {
        return coefficients[static_cast<size_t>(i)];
      }));
  const ValueId product =
      graph::matmul(node.graph, node.part("product"), wide, weights, false, true);
  if (intercepts.empty()) return product;
  CORF_ASSIGN(const ValueId row, per_feature(node, "intercepts", intercepts, DType::kF32, targets));
  return binary(node.graph, node.part("sum"), ScalarOp::kAdd, product, row);
}

Status import_linear_regressor(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  CORF_ASSIGN(const ValueId x, feature_rows(node, node.input(0)));
  CORF_ASSIGN(const ValueId scores, linear_scores(node, x, node.int_attribute("targets", 1),
                                                  node.floats_attribute("intercepts")));
  CORF_ASSIGN(const ValueId y, transformed_scores(node, node.part("transformed"), scores,
                                                  node.string_attribute("post_transform", "NONE")));
  node.set_output(y);
  return {};
}

Status import_linear_classifier(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  CORF_ASSIGN(const ValueId x, feature_rows(node, node.input(0)));
  const auto intercepts = node.floats_attribute("intercepts");
  const ClassLabels labels = read_labels(node, "classlabels_ints", "classlabels_strings");
  const std::string kind = node.string_attribute("post_transform", "NONE");
  const auto count = intercepts.empty() ? labels.count : static_cast<int64_t>(intercepts.size());
  CORF_ASSIGN(const ValueId scores, linear_scores(node, x, count, intercepts));
  if (count == 1 && labels.count == 2) {
    set_labels(node, labels, class_above(node, scores, 0));
    CORF_ASSIGN(const ValueId both,
                both_scores(node, node.part("scores"), scores, SecondClass::kComplement, kind));
    node.set_output(1, both);
    return {};
  }
  if (labels.count != count) return node.invalid("{} labels for {} classes", labels.count, count);
  set_labels(node, labels, best_class(node, scores));
  CORF_ASSIGN(const ValueId y, transformed_scores(node, node.part("scores"), scores, kind));
  node.set_output(1, y);
  return {};
}

constexpr Operator kOperators[] = {
    {"ai.onnx.ml.ArrayFeatureExtractor", 0, import_array_feature_extractor},
    {"ai.onnx.ml.Binarizer", 0, import_binarizer},
    {"ai.onnx.ml.FeatureVectorizer", 0, import_feature_vectorizer},
    {"ai.onnx.ml.Imputer", 0, import_imputer},
    {"ai.onnx.ml.LabelEncoder", 0, import_label_encoder},
    {"ai.onnx.ml.LinearClassifier", 0, import_linear_classifier},
    {"ai.onnx.ml.LinearRegressor", 0, import_linear_regressor},
    {"ai.onnx.ml.Normalizer", 0, import_normalizer},
    {"ai.onnx.ml.OneHotEncoder", 0, import_one_hot_encoder},
    {"ai.onnx.ml.Scaler", 0, import_scaler},
};

}  // namespace

std::span<const Operator> machine_learning_operators() { return kOperators; }

}  // namespace corf::onnx
