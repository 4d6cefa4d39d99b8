// Counts of known sequences of numbers, TfIdfVectorizer.
#include <algorithm>

#include "onnx/compose.h"

namespace corf::onnx {
namespace {

using index::AxisKind;
using index::Expr;

/// The sequences ("grams") of one length, row after row, and the number of the first of them.
struct Grams {
  int64_t length = 0, first = 0;
  std::vector<int64_t> terms;
  int64_t count() const { return static_cast<int64_t>(terms.size()) / length; }
};

struct Vocabulary {
  std::vector<Grams> by_length;  // of the lengths that are asked for
  int64_t total = 0;             // grams of any length
  std::vector<int64_t> columns;  // of the result, for each gram
  std::vector<double> weights;   // for each gram; empty: all 1
  int64_t skips = 0, num_columns = 0;
};

Result<Vocabulary> read_vocabulary(NodeImport& node) {
  Vocabulary vocabulary;
  if (node.has_attribute("pool_strings")) {
    return node.unsupported("terms that are strings are not supported");
  }
  const auto pool = node.ints_attribute("pool_int64s");
  const auto starts = node.ints_attribute("ngram_counts");
  vocabulary.columns = node.ints_attribute("ngram_indexes");
  vocabulary.weights = node.floats_attribute("weights");
  vocabulary.skips = node.int_attribute("max_skip_count", 0);
  const int64_t shortest = node.int_attribute("min_gram_length", 1);
  const int64_t longest = node.int_attribute("max_gram_length", 1);
  constexpr int64_t kLongest = 64, kMostSkips = 1 << 10, kMostColumns = 1 << 24;
  const auto lengths = static_cast<int64_t>(starts.size());
  if (shortest < 1 || longest < shortest || longest > kLongest || vocabulary.skips < 0 ||
      vocabulary.skips > kMostSkips || lengths < longest || lengths > kLongest) {
    return node.invalid("grams of {} to {} terms, {} skips, {} lengths", shortest, longest,
                        vocabulary.skips, lengths);
  }
  for (int64_t length = 1; length <= lengths; ++length) {
    const auto size = static_cast<int64_t>(pool.size());
    const int64_t begin = starts[static_cast<size_t>(length - 1)];
    const int64_t end = length < lengths ? starts[static_cast<size_t>(length)] : size;
    if (begin < 0 || end < begin || end > size || (end - begin) % length != 0) {
      return node.invalid("terms {} to {} are no grams of {}", begin, end, length);
    }
    Grams grams{length, vocabulary.total, {pool.begin() + begin, pool.begin() + end}};
    vocabulary.total += grams.count();
    if (length >= shortest && length <= longest && grams.count() > 0) {
      vocabulary.by_length.push_back(std::move(grams));
    }
  }
  const auto count = static_cast<int64_t>(vocabulary.columns.size());
  if (count != vocabulary.total || count == 0 ||
      (!vocabulary.weights.empty() && static_cast<int64_t>(vocabulary.weights.size()) != count)) {
    return node.invalid("{} columns and {} weights for {} grams", count, vocabulary.weights.size(),
                        vocabulary.total);
  }
  for (int64_t column : vocabulary.columns) {
    if (column < 0 || column >= kMostColumns) return node.invalid("a column {}", column);
    vocabulary.num_columns = std::max(vocabulary.num_columns, column + 1);
  }
  return vocabulary;
}

/// How often each gram is found in rows of x with `step` from each term to the next, [rows, grams];
/// nullopt if rows are too short.
std::optional<ValueId> count_grams(NodeImport& node, ValueId x, ValueId terms, const Grams& grams,
                                   int64_t step, const std::string& name) {
  const Shape shape = node.shape(x);
  const int64_t positions = shape[1] - (grams.length - 1) * step;
  if (positions < 1) return std::nullopt;
  graph::Compute compute;
  compute.space.axes = {{"row", shape[0], AxisKind::kParallel},
                        {"gram", grams.count(), AxisKind::kParallel},
                        {"at", positions, AxisKind::kReduction}};
  std::vector<ValueId> inputs;
  int found = -1;
  for (int64_t term = 0; term < grams.length; ++term) {
    graph::Operand element, wanted;
    element.map.exprs = {Expr::variable(0), Expr::variable(2) + Expr(term * step)};
    wanted.map.exprs = {Expr::variable(1), Expr(term)};
    const auto read = [&](ValueId value, graph::Operand operand) {
      inputs.push_back(value);
      compute.operands.push_back(std::move(operand));
      return compute.body.operand(static_cast<int>(inputs.size()) - 1, node.dtype(value));
    };
    const int a = read(x, std::move(element)), b = read(terms, std::move(wanted));
    const int same = compute.body.apply(ScalarOp::kEqual, a, b);
    found = found < 0 ? same : compute.body.apply(ScalarOp::kAnd, found, same);
  }
  compute.body.cast(found, DType::kF32);
  compute.combiner = graph::Combiner::kSum;
  return node.graph.add_compute(name, std::move(compute), inputs);
}

/// Counts of the grams of one length, over all steps.
ValueId count_all(NodeImport& node, ValueId x, const Grams& grams, int64_t skips) {
  const std::string name = node.part(fmt::format("counts{}", grams.length));
  const DType dtype = node.dtype(x);
  const ValueId terms = node.graph.add_constant(
      name + "/terms", filled(dtype, {grams.count(), grams.length}, [&](int64_t i) {
        return static_cast<double>(grams.terms[static_cast<size_t>(i)]);
      }));
  std::optional<ValueId> sum;
  for (int64_t skip = 0; skip <= (grams.length == 1 ? 0 : skips); ++skip) {
    const auto counts =
        count_grams(node, x, terms, grams, skip + 1, fmt::format("{}/skip{}", name, skip));
    if (!counts) break;
    sum =
        sum ? binary(node.graph, fmt::format("{}/sum{}", name, skip), ScalarOp::kAdd, *sum, *counts)
            : *counts;
  }
  if (sum) return *sum;
  return node.graph.add_constant(name, Tensor(DType::kF32, {node.shape(x)[0], grams.count()}));
}

/// Term frequencies of grams, their weights, or both, in the columns that belong to them.
Status import_tf_idf_vectorizer(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  CORF_ASSIGN(const Vocabulary vocabulary, read_vocabulary(node));
  const std::string mode = node.string_attribute("mode", "TF");
  if (mode != "TF" && mode != "IDF" && mode != "TFIDF")
    return node.invalid("unknown mode '{}'", mode);
  const Shape shape = node.shape(node.input(0));
  if (shape.size() != 1 && shape.size() != 2)
    return node.invalid("an input of rank {}", shape.size());
  const int64_t rows = shape.size() == 1 ? 1 : shape[0];
  const ValueId x = reshape(node.graph, node.part("rows"), node.input(0), {rows, shape.back()});
  // The counts of the lengths that are asked for, and zeros for the columns of no gram.
  std::vector<ValueId> parts;
  std::vector<int64_t> place_of_gram(static_cast<size_t>(vocabulary.total), -1);
  int64_t places = 0;
  for (const Grams& grams : vocabulary.by_length) {
    parts.push_back(count_all(node, x, grams, vocabulary.skips));
    for (int64_t i = 0; i < grams.count(); ++i) {
      place_of_gram[static_cast<size_t>(grams.first + i)] = places++;
    }
  }
  parts.push_back(node.graph.add_constant(node.part("none"), Tensor(DType::kF32, {rows, 1})));
  const ValueId counts = concat(node.graph, node.part("counts"), parts, 1);
  std::vector<int64_t> place_of_column(static_cast<size_t>(vocabulary.num_columns), places);
  std::vector<double> weight_of_column(static_cast<size_t>(vocabulary.num_columns), 1);
  for (size_t gram = 0; gram < place_of_gram.size(); ++gram) {
    const auto column = static_cast<size_t>(vocabulary.columns[gram]);
    if (place_of_gram[gram] >= 0) place_of_column[column] = place_of_gram[gram];
    if (!vocabulary.weights.empty()) weight_of_column[column] = vocabulary.weights[gram];
  }
  const ValueId order = node.graph.add_constant(
      node.part("order"),
      make_tensor<int64_t>({vocabulary.num_columns}, std::span<const int64_t>(place_of_column)));
  ValueId y = graph::gather(node.graph, node.part("columns"), counts, order, 1);
  if (mode != "TF") {
    const ValueId weights = node.graph.add_constant(
        node.part("weights"), filled(DType::kF32, {vocabulary.num_columns}, [&](int64_t i) {
          return weight_of_column[static_cast<size_t>(i)];
        }));
    y = per_element(node.graph, node.part("weighted"), {y, weights},
                    [&](ScalarBody& b, const std::vector<int>& in) {
                      if (mode == "TFIDF") return b.apply(ScalarOp::kMul, in[0], in[1]);
                      const int zero = b.constant(0, DType::kF32);
                      return b.apply(ScalarOp::kSelect, b.apply(ScalarOp::kLess, zero, in[0]),
                                     in[1], zero);
                    });
  }
  Shape result = {vocabulary.num_columns};
  if (shape.size() == 2) result.insert(result.begin(), rows);
  node.set_output(reshape(node.graph, node.name(), y, result));
  return {};
}

constexpr Operator kOperators[] = {
    {"TfIdfVectorizer", 9, import_tf_idf_vectorizer},
};

}  // namespace

std::span<const Operator> term_count_operators() { return kOperators; }

}  // namespace corf::onnx
