// Attention as ONNX Runtime's optimiser and model builders write it, domain com.microsoft.
#include <cmath>
#include <limits>

#include "onnx/attention.h"
#include "onnx/indices.h"
#include "onnx/normalization.h"

namespace corf::onnx {
namespace {

/// One attention: [batch, heads, rows, size] each; keys and values may have fewer heads.
struct Heads {
  ValueId q = -1, k = -1, v = -1;
};

/// Which keys a query's softmax is over, and what its scores are first.
struct Scoring {
  double scale = 1, softcap = 0;
  std::optional<ValueId> bias;  // added to the scores
  std::optional<ValueId> kept;  // i32 that broadcasts over them: where 0, `filter` is added
  double filter = -10000;
  bool causal = false;
  int64_t past = 0;              // keys before the queries' own
  std::optional<ValueId> pasts;  // the same for each batch, [batch, 1, 1, 1]
  int64_t window = 0;            // so many keys up to its own that a query sees; 0: all
  std::optional<ValueId> sink;   // [1, heads, 1, 1]: a score that belongs to no key

  double infinity() const { return std::numeric_limits<double>::infinity(); }
};

/// scale q k', capped, with what is added, -infinity where a key is hidden.
ValueId scores_of(NodeImport& node, const Heads& heads, const Scoring& scoring) {
  const ValueId products = multiply_heads(node, node.part("scores"), heads.q, heads.k, true);
  const DType dtype = node.dtype(products);
  std::vector<ValueId> inputs = {products};
  const auto add = [&](const std::optional<ValueId>& value) {
    if (!value) return -1;
    inputs.push_back(*value);
    return static_cast<int>(inputs.size()) - 1;
  };
  const int bias = add(scoring.bias), kept = add(scoring.kept), pasts = add(scoring.pasts);
  return per_element(
      node.graph, node.part("masked"), inputs, [&](ScalarBody& b, const std::vector<int>& in) {
        const auto real = [&](double value) { return b.constant(value, dtype); };
        const auto whole = [&](int64_t value) { return b.constant_i64(value, DType::kI64); };
        int score = b.apply(ScalarOp::kMul, in[0], real(scoring.scale));
        if (scoring.softcap > 0) {
          const int ratio = b.apply(ScalarOp::kDiv, score, real(scoring.softcap));
          score = b.apply(ScalarOp::kMul, b.apply(ScalarOp::kTanh, ratio), real(scoring.softcap));
        }
        if (bias >= 0) score = b.apply(ScalarOp::kAdd, score, b.cast(in[bias], dtype));
        if (kept >= 0) {
          const DType type = b.nodes[in[kept]].dtype;
          const int counts = b.apply(ScalarOp::kLess, b.constant_i64(0, type), in[kept]);
          const int added = b.apply(ScalarOp::kSelect, counts, real(0), real(scoring.filter));
          score = b.apply(ScalarOp::kAdd, score, added);
        }
        if (!scoring.causal) return score;
        const int before = pasts >= 0 ? in[pasts] : whole(scoring.past);
        const int own = b.apply(ScalarOp::kAdd, b.axis_index(2), before);
        int seen = b.apply(ScalarOp::kLessEqual, b.axis_index(3), own);
        if (scoring.window > 0) {
          const int last = b.apply(ScalarOp::kAdd, b.axis_index(3), whole(scoring.window));
          seen = b.apply(ScalarOp::kAnd, seen, b.apply(ScalarOp::kLess, own, last));
        }
        return b.apply(ScalarOp::kSelect, seen, score, real(-scoring.infinity()));
      });
}

/// exp(x - m) / (sum of exp(x - m) + exp(sink - m)), m the largest of all.
ValueId softmax_with_sink(NodeImport& node, ValueId scores, ValueId sink) {
  using graph::Combiner;
  graph::Graph& graph = node.graph;
  const std::string name = node.part("softmax");
  const ValueId most = graph::reduce(graph, name + "/max", scores, Combiner::kMax, {3}, true);
  const ValueId top = binary(graph, name + "/top", ScalarOp::kMax, most, sink);
  const auto power = [](ScalarBody& b, const std::vector<int>& in) {
    return b.apply(ScalarOp::kExp, b.apply(ScalarOp::kSub, in[0], in[1]));
  };
  const ValueId powers = per_element(graph, name + "/exp", {scores, top}, power);
  const ValueId sum = graph::reduce(graph, name + "/sum", powers, Combiner::kSum, {3}, true);
  const ValueId rest = per_element(graph, name + "/sink", {sink, top}, power);
  return per_element(graph, name, {powers, sum, rest},
                     [](ScalarBody& b, const std::vector<int>& in) {
                       const int total = b.apply(ScalarOp::kAdd, in[1], in[2]);
                       return b.apply(ScalarOp::kDiv, in[0], total);
                     });
}

/// Attention's result, [batch, rows, heads * size].
ValueId attend(NodeImport& node, Heads heads, const Scoring& scoring) {
  const DType dtype = node.dtype(heads.q), inner = attention_type(dtype);
  heads.q = cast(node.graph, node.part("wide_query"), heads.q, inner);
  heads.k = cast(node.graph, node.part("wide_key"), heads.k, inner);
  heads.v = cast(node.graph, node.part("wide_value"), heads.v, inner);
  const ValueId scores = scores_of(node, heads, scoring);
  const ValueId weights = scoring.sink ? softmax_with_sink(node, scores, *scoring.sink)
                                       : softmax(node.graph, node.part("softmax"), scores, {3});
  ValueId y = multiply_heads(node, node.part("values"), weights, heads.v, false);
  y = cast(node.graph, node.part("narrow"), y, dtype);
  return merge_heads(node, node.name(), y);
}

Status check_heads(const NodeImport& node, const Heads& heads) {
  const Shape q = node.shape(heads.q), k = node.shape(heads.k), v = node.shape(heads.v);
  const bool fits = q[0] == k[0] && k[0] == v[0] && k[1] == v[1] && k[2] == v[2] && q[3] == k[3] &&
                    k[1] >= 1 && q[1] % k[1] == 0;
  if (fits) return {};
  return node.invalid("query {}, key {} and value {} do not fit", to_string(q), to_string(k),
                      to_string(v));
}

double scale_attribute(NodeImport& node, int64_t head_size) {
  const double given = node.float_attribute("scale", 0);
  return given != 0 ? given : 1 / std::sqrt(static_cast<double>(std::max<int64_t>(head_size, 1)));
}

Result<std::optional<ValueId>> read_bias(const NodeImport& node, int input, const Shape& scores) {
  if (!node.has(input)) return std::optional<ValueId>();
  const ValueId bias = node.input(input);
  if (node.rank(bias) != 4 || broadcast_shape(scores, node.shape(bias)) != scores) {
    return node.invalid("an attention_bias of shape {} for scores of {}",
                        to_string(node.shape(bias)), to_string(scores));
  }
  return std::optional(bias);
}

/// 1 for keys in [first, end) of each batch, in [batch, 1, 1, keys]; `bounds` holds the ends, then
/// the firsts, if there are twice as many as batches.
ValueId between(NodeImport& node, ValueId bounds, int64_t batch, int64_t keys) {
  const bool has_first = node.shape(bounds)[0] == 2 * batch;
  const auto column = [&](const char* suffix, int64_t from) {
    const ValueId part = slice(node.graph, node.part(suffix), bounds, 0, from, from + batch);
    return reshape(node.graph, node.part(fmt::format("{}_rows", suffix)), part, {batch, 1, 1, 1});
  };
  const ValueId positions = node.graph.add_constant(
      node.part("keys"), filled(node.dtype(bounds), {1, 1, 1, keys},
                                [](int64_t i) { return static_cast<double>(i); }));
  std::vector<ValueId> inputs = {positions, column("ends", 0)};
  if (has_first) inputs.push_back(column("firsts", batch));
  return per_element(
      node.graph, node.part("kept"), inputs, [&](ScalarBody& b, const std::vector<int>& in) {
        int inside = b.apply(ScalarOp::kLess, in[0], in[1]);
        if (has_first) {
          inside = b.apply(ScalarOp::kAnd, inside, b.apply(ScalarOp::kLessEqual, in[2], in[0]));
        }
        return b.cast(inside, DType::kI32);
      });
}

/// The mask in an input, as what broadcasts over `scores`: a number for each key, [batch, keys] or
/// [batch, queries, keys] or a square of all positions; or where the keys that count end and begin.
Result<std::optional<ValueId>> read_kept(NodeImport& node, int input, const Shape& scores) {
  if (!node.has(input)) return std::optional<ValueId>();
  const ValueId mask = node.input(input);
  const Shape shape = node.shape(mask);
  const int64_t batch = scores[0], queries = scores[2], keys = scores[3];
  if (shape == Shape{batch} || shape == Shape{2 * batch}) {
    return std::optional(between(node, mask, batch, keys));
  }
  if (shape == Shape{batch, keys}) {
    return std::optional(reshape(node.graph, node.part("kept"), mask, {batch, 1, 1, keys}));
  }
  if (shape == Shape{batch, queries, keys}) {
    return std::optional(reshape(node.graph, node.part("kept"), mask, {batch, 1, queries, keys}));
  }
  if (shape.size() == 4 && shape[0] == batch && shape[1] == 1 && shape[2] == shape[3] &&
      shape[2] >= keys) {
    const ValueId rows = slice(node.graph, node.part("mask_rows"), mask, 2, keys - queries, keys);
    return std::optional(slice(node.graph, node.part("kept"), rows, 3, 0, keys));
  }
  return node.unsupported("a mask of shape {} for scores of {}", to_string(shape),
                          to_string(scores));
}

/// The past in front of the present, each [batch, heads, rows, size].
Result<ValueId> behind_past(NodeImport& node, std::string_view suffix, ValueId past,
                            ValueId present) {
  Shape before = node.shape(past);
  const Shape after = node.shape(present);
  if (before.size() == 4) before[2] = after[2];
  if (before != after) {
    return node.invalid("past {} does not fit {}", to_string(node.shape(past)), to_string(after));
  }
  return concat(node.graph, node.part(suffix), {past, present}, 2);
}

Shape score_shape(const NodeImport& node, const Heads& heads) {
  const Shape q = node.shape(heads.q);
  return {q[0], q[1], q[2], node.shape(heads.k)[2]};
}

/// x w + b for queries, keys and values at once: inputs x, w, b, mask, past, attention_bias.
Status import_attention(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  if (node.int_attribute("do_rotary", 0) != 0 || node.has(6) ||
      node.int_attribute("past_present_share_buffer", 0) != 0) {
    return node.unsupported("do_rotary and a past that shares its buffer are not supported");
  }
  const Shape x = node.shape(node.input(0)), w = node.shape(node.input(1));
  const int64_t count = node.int_attribute("num_heads", 0);
  const int64_t third = w.size() == 2 ? w[1] / 3 : 0;
  const auto sizes = node.ints_attribute("qkv_hidden_sizes", {third, third, third});
  bool fits = x.size() == 3 && w.size() == 2 && x[2] == w[0] && sizes.size() == 3 && count >= 1 &&
              sizes[0] == sizes[1];
  for (size_t i = 0; fits && i < 3; ++i) fits = sizes[i] >= 0 && sizes[i] <= w[1];
  fits = fits && sizes[0] + sizes[1] + sizes[2] == w[1];
  if (!fits) {
    return node.invalid("weights {} do not fit input {} and {} heads", to_string(w), to_string(x),
                        count);
  }
  ValueId all = graph::matmul(node.graph, node.part("projected"), node.input(0), node.input(1));
  if (node.has(2)) {
    if (node.shape(node.input(2)) != Shape{w[1]}) return node.invalid("its bias does not fit");
    all = binary(node.graph, node.part("biased"), ScalarOp::kAdd, all, node.input(2));
  }
  int64_t at = 0;
  const auto part = [&](const char* suffix, int64_t size) {
    const ValueId columns =
        slice(node.graph, node.part(fmt::format("{}_columns", suffix)), all, 2, at, at + size);
    at += size;
    return split_heads(node, suffix, columns, count);
  };
  Heads heads;
  CORF_ASSIGN(heads.q, part("query", sizes[0]));
  CORF_ASSIGN(heads.k, part("key", sizes[1]));
  CORF_ASSIGN(heads.v, part("value", sizes[2]));
  Scoring scoring;
  if (node.has(4)) {
    const ValueId past = node.input(4);
    Shape shape = node.shape(past);
    if (shape.size() != 5 || shape[0] != 2) {
      return node.invalid("a past of shape {}", to_string(shape));
    }
    scoring.past = shape[3];
    shape.erase(shape.begin());
    const auto half = [&](const char* suffix, int64_t i) {
      const ValueId one =
          slice(node.graph, node.part(fmt::format("past_{}_part", suffix)), past, 0, i, i + 1);
      return reshape(node.graph, node.part(fmt::format("past_{}", suffix)), one, shape);
    };
    CORF_ASSIGN(heads.k, behind_past(node, "present_key", half("key", 0), heads.k));
    CORF_ASSIGN(heads.v, behind_past(node, "present_value", half("value", 1), heads.v));
  }
  CORF_RETURN_IF_ERROR(check_heads(node, heads));
  const Shape scores = score_shape(node, heads);
  CORF_ASSIGN(scoring.kept, read_kept(node, 3, scores));
  CORF_ASSIGN(scoring.bias, read_bias(node, 5, scores));
  scoring.scale = scale_attribute(node, node.shape(heads.q)[3]);
  scoring.filter = node.float_attribute("mask_filter_value", -10000);
  scoring.causal = node.int_attribute("unidirectional", 0) != 0;
  node.set_output(attend(node, heads, scoring));
  if (node.wants_output(1) && node.shape(heads.k) == node.shape(heads.v)) {
    Shape single = node.shape(heads.k);
    single.insert(single.begin(), 1);
    node.set_output(1, concat(node.graph, node.part("present"),
                              {reshape(node.graph, node.part("present_keys"), heads.k, single),
                               reshape(node.graph, node.part("present_values"), heads.v, single)},
                              0));
  }
  return {};
}

/// The bias of a projection that is part of `columns` [batch, rows, size], from `at` on.
Result<ValueId> with_bias(NodeImport& node, std::string_view suffix, ValueId columns, int input,
                          int64_t at) {
  if (!node.has(input)) return columns;
  const int64_t size = node.shape(columns).back();
  const Shape bias = node.shape(node.input(input));
  if (bias.size() != 1 || at + size > bias[0]) {
    return node.invalid("a bias of shape {}", to_string(bias));
  }
  const ValueId part = slice(node.graph, node.part(fmt::format("{}_bias", suffix)),
                             node.input(input), 0, at, at + size);
  return binary(node.graph, node.part(fmt::format("{}_biased", suffix)), ScalarOp::kAdd, columns,
                part);
}

/// One of the packed [batch, rows, heads, number, size] as [batch, rows, heads * size].
ValueId unpacked(NodeImport& node, std::string_view suffix, ValueId packed, int64_t number) {
  const Shape shape = node.shape(packed);
  const ValueId one =
      slice(node.graph, node.part(fmt::format("{}_part", suffix)), packed, 3, number, number + 1);
  return reshape(node.graph, node.part(fmt::format("{}_columns", suffix)), one,
                 {shape[0], shape[1], shape[2] * shape[4]});
}

/// Queries, keys and values of MultiHeadAttention, each apart or packed, with their biases.
Result<Heads> read_multi_head(NodeImport& node, int64_t count) {
  ValueId q = node.input(0), k = node.has(1) ? node.input(1) : -1,
          v = node.has(2) ? node.input(2) : -1;
  if (node.rank(q) == 5 && node.shape(q)[3] == 3 && k < 0 && v < 0) {
    const ValueId packed = q;
    q = unpacked(node, "query", packed, 0);
    k = unpacked(node, "key", packed, 1);
    v = unpacked(node, "value", packed, 2);
  } else if (k >= 0 && v < 0 && node.rank(k) == 5 && node.shape(k)[3] == 2) {
    const ValueId packed = k;
    k = unpacked(node, "key", packed, 0);
    v = unpacked(node, "value", packed, 1);
  }
  if (k < 0 || v < 0 || node.rank(q) != 3) {
    return node.unsupported("queries, keys and values of these ranks are not supported");
  }
  int64_t at = 0;
  Heads heads;
  const auto part = [&](const char* suffix, ValueId columns) -> Result<ValueId> {
    if (node.rank(columns) == 4) return columns;
    CORF_ASSIGN(const ValueId biased, with_bias(node, suffix, columns, 3, at));
    at += node.shape(columns).back();
    return split_heads(node, suffix, biased, count);
  };
  CORF_ASSIGN(heads.q, part("query", q));
  CORF_ASSIGN(heads.k, part("key", k));
  CORF_ASSIGN(heads.v, part("value", v));
  return heads;
}

/// Inputs query, key, value, bias, key_padding_mask, attention_bias, past_key, past_value.
Status import_multi_head_attention(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  if (node.has(8) || node.has(9)) {
    return node.unsupported("a past that shares its buffer is not supported");
  }
  if (node.has(6) != node.has(7)) return node.invalid("it has a past of keys or values alone");
  const int64_t count = node.int_attribute("num_heads", 0);
  CORF_ASSIGN(Heads heads, read_multi_head(node, count));
  Scoring scoring;
  if (node.has(6)) {
    if (node.rank(node.input(6)) == 4) scoring.past = node.shape(node.input(6))[2];
    CORF_ASSIGN(heads.k, behind_past(node, "present_key", node.input(6), heads.k));
    CORF_ASSIGN(heads.v, behind_past(node, "present_value", node.input(7), heads.v));
  }
  CORF_RETURN_IF_ERROR(check_heads(node, heads));
  const Shape scores = score_shape(node, heads);
  CORF_ASSIGN(scoring.kept, read_kept(node, 4, scores));
  CORF_ASSIGN(scoring.bias, read_bias(node, 5, scores));
  scoring.scale = scale_attribute(node, node.shape(heads.q)[3]);
  scoring.filter = node.float_attribute("mask_filter_value", -10000);
  scoring.causal = node.int_attribute("unidirectional", 0) != 0;
  node.set_output(attend(node, heads, scoring));
  node.set_output(1, heads.k);
  node.set_output(2, heads.v);
  return {};
}

/// Rows of a cache of cosines or sines for positions first, first + 1, ..., or for each of `ids`
/// [batch, rows], to broadcast over heads in dimension 1 (2 if they are behind the rows).
Result<ValueId> cache_rows(NodeImport& node, std::string_view suffix, int input, int64_t half,
                           std::optional<ValueId> ids, int64_t first, int64_t rows,
                           bool heads_first) {
  const ValueId cache = node.input(input);
  const Shape shape = node.shape(cache);
  if (shape.size() != 2 || shape[0] < 1 || shape[1] < half || half < 1) {
    return node.invalid("a cache of shape {} for {} pairs", to_string(shape), half);
  }
  ValueId used = slice(node.graph, node.part(fmt::format("{}_used", suffix)), cache, 1, 0, half);
  int64_t batch = 1;
  if (ids) {
    batch = node.shape(*ids)[0];
    CORF_ASSIGN(const ValueId checked,
                checked_indices(node, fmt::format("{}_ids", suffix), *ids, {shape[0]}));
    used = graph::gather(node.graph, node.part(suffix), used, checked, 0);
  } else {
    if (first < 0 || first + rows > shape[0]) {
      return node.invalid("its caches hold {} positions, not {}", shape[0], first + rows);
    }
    used = slice(node.graph, node.part(suffix), used, 0, first, first + rows);
  }
  return reshape(node.graph, node.part(fmt::format("{}_over_heads", suffix)), used,
                 heads_first ? Shape{batch, 1, rows, half} : Shape{batch, rows, 1, half});
}

/// Inputs x, position ids (the first one, or one for each element of the sequence), caches.
Status import_rotary_embedding(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(4));
  if (node.int_attribute("is_packed_batching", 0) != 0 || node.float_attribute("scale", 1) != 1) {
    return node.unsupported("is_packed_batching and a scale are not supported");
  }
  ValueId x = node.input(0);
  const Shape original = node.shape(x), cache = node.shape(node.input(2));
  const bool heads_first = original.size() == 4;
  if ((!heads_first && original.size() != 3) || cache.size() != 2) {
    return node.invalid("input {} and caches {}", to_string(original), to_string(cache));
  }
  int64_t rotated = node.int_attribute("rotary_embedding_dim", 0);
  if (!heads_first) {
    // Without a part that stays, the caches say how large a head is.
    int64_t heads = node.int_attribute("num_heads", 0);
    if (heads == 0) heads = cache[1] > 0 ? original[2] / (2 * cache[1]) : 0;
    if (heads < 1 || original[2] % heads != 0) {
      return node.invalid("{} heads do not divide {}", heads, to_string(original));
    }
    x = reshape(node.graph, node.part("heads"), x,
                {original[0], original[1], heads, original[2] / heads});
  }
  const Shape shape = node.shape(x);
  if (rotated == 0) rotated = shape[3];
  if (rotated < 2 || rotated > shape[3] || rotated % 2 != 0) {
    return node.invalid("rotary_embedding_dim {} for heads of size {}", rotated, shape[3]);
  }
  const int64_t rows = shape[heads_first ? 2 : 1];
  ValueId ids = node.input(1);
  const Shape given = node.shape(ids);
  if (given == Shape{1}) {
    const ValueId steps = node.graph.add_constant(
        node.part("steps"),
        filled(node.dtype(ids), {1, rows}, [](int64_t i) { return static_cast<double>(i); }));
    ids = binary(node.graph, node.part("positions"), ScalarOp::kAdd, steps, ids);
  } else if (given != Shape{shape[0], rows}) {
    return node.invalid("position ids {} for input {}", to_string(given), to_string(original));
  }
  CORF_ASSIGN(const ValueId cosine,
              cache_rows(node, "cos", 2, rotated / 2, ids, 0, rows, heads_first));
  CORF_ASSIGN(const ValueId sine,
              cache_rows(node, "sin", 3, rotated / 2, ids, 0, rows, heads_first));
  const bool interleaved = node.int_attribute("interleaved", 0) != 0;
  const ValueId y = rotate_heads(node, node.name(), x, cosine, sine, interleaved);
  node.set_output(reshape(node.graph, node.part("shape"), y, original));
  return {};
}

/// What GroupQueryAttention's inputs say about the keys of earlier steps.
struct Cache {
  int64_t capacity = 0;          // rows of past_key and past_value
  int64_t total = 0;             // keys that queries may see, at most
  int64_t past = 0;              // of them before the first query, the same for each batch,
  std::optional<ValueId> pasts;  // or of each batch: i64 [batch, 1, 1, 1]
};

/// Keys or values with those of earlier steps: rows [0, past) of the cache, the present ones, zeros
/// where the cache is free.
Result<ValueId> updated(NodeImport& node, const char* suffix, int input, ValueId present,
                        const Cache& cache) {
  if (!node.has(input)) return present;
  const ValueId past = node.input(input);
  const int64_t rows = node.shape(present)[2];
  if (!cache.pasts) {
    std::vector<ValueId> parts;
    if (cache.past > 0) {
      parts.push_back(
          slice(node.graph, node.part(fmt::format("past_{}", suffix)), past, 2, 0, cache.past));
    }
    parts.push_back(present);
    if (Shape rest = node.shape(past); cache.capacity > cache.total) {
      rest[2] = cache.capacity - cache.total;
      parts.push_back(node.graph.add_constant(node.part(fmt::format("free_{}", suffix)),
                                              Tensor(node.dtype(past), rest)));
    }
    return concat(node.graph, node.part(fmt::format("present_{}", suffix)), parts, 2);
  }
  // Row r is the past's before the batch's own past, and the present's from there on.
  using index::Expr;
  const Shape shape = node.shape(past);
  graph::Compute compute;
  std::vector<Expr> at;
  const Shape result = {shape[0], shape[1], std::max(cache.capacity, cache.total), shape[3]};
  for (size_t d = 0; d < result.size(); ++d) {
    compute.space.axes.push_back({fmt::format("d{}", d), result[d], index::AxisKind::kParallel});
    at.push_back(Expr::variable(static_cast<int>(d)));
  }
  const Expr held = Expr::variable(static_cast<int>(result.size()) + 2);
  const auto clamped = [](const Expr& row, int64_t extent) {
    return max(Expr(0), min(row, Expr(extent - 1)));
  };
  compute.operands.resize(3);
  compute.operands[0].map.exprs = {at[0], at[1], clamped(at[2], cache.capacity), at[3]};
  compute.operands[1].map.exprs = {at[0], at[1], clamped(at[2] - held, rows), at[3]};
  compute.operands[2].map.exprs = {at[0], Expr(0), Expr(0), Expr(0)};
  ScalarBody& body = compute.body;
  const DType dtype = node.dtype(present);
  const int old = body.operand(0, dtype), now = body.operand(1, dtype);
  const int length = body.operand(2, DType::kI64), row = body.axis_index(2);
  const int end = body.apply(ScalarOp::kAdd, length, body.constant_i64(rows, DType::kI64));
  const int behind = body.apply(ScalarOp::kSelect, body.apply(ScalarOp::kLess, row, end), now,
                                body.constant(0, dtype));
  body.apply(ScalarOp::kSelect, body.apply(ScalarOp::kLess, row, length), old, behind);
  return node.graph.add_compute(node.part(fmt::format("present_{}", suffix)), std::move(compute),
                                {past, present, *cache.pasts});
}

Result<Cache> read_cache(NodeImport& node, const Heads& heads) {
  if (node.has(3) != node.has(4)) return node.invalid("it has a past of keys or values alone");
  if (!node.has(5) || !node.has(6)) return node.invalid("it lacks the lengths of its sequences");
  const Shape k = node.shape(heads.k);
  const int64_t rows = k[2];
  Cache cache;
  CORF_ASSIGN(const auto total, node.known_ints(6, "total_sequence_length"));
  if (total.size() != 1) return node.invalid("total_sequence_length is not one number");
  cache.total = total[0];
  for (int input : {3, 4}) {
    if (!node.has(input)) continue;
    Shape shape = node.shape(node.input(input));
    if (shape.size() != 4) return node.invalid("a past of shape {}", to_string(shape));
    cache.capacity = shape[2];
    shape[2] = rows;
    if (shape != k || cache.capacity != node.shape(node.input(3))[2]) {
      return node.invalid("past {} does not fit {}", to_string(node.shape(node.input(input))),
                          to_string(k));
    }
  }
  cache.past = cache.total - rows;
  if (cache.past < 0 || cache.past > cache.capacity) {
    return node.invalid("{} keys in all, where {} are past and {} are new", cache.total,
                        cache.capacity, rows);
  }
  const ValueId lengths = node.input(5);
  if (num_elems(node.shape(lengths)) != k[0]) {
    return node.invalid("seqlens_k of shape {} for {} batches", to_string(node.shape(lengths)),
                        k[0]);
  }
  // The one batch's length is the total; first prompts begin at 0, whatever their lengths.
  if (k[0] == 1 || cache.past == 0) return cache;
  cache.pasts = reshape(node.graph, node.part("past_rows"),
                        per_element(node.graph, node.part("past"), {lengths},
                                    [&](ScalarBody& b, const std::vector<int>& in) {
                                      return b.apply(ScalarOp::kAdd, b.cast(in[0], DType::kI64),
                                                     b.constant_i64(1 - rows, DType::kI64));
                                    }),
                        {k[0], 1, 1, 1});
  return cache;
}

/// Queries and keys turned by their positions.
Status rotate_by_position(NodeImport& node, Heads& heads, const Cache& cache) {
  if (!node.has(7) || !node.has(8)) return node.invalid("it lacks caches of cosines and sines");
  const Shape q = node.shape(heads.q), caches = node.shape(node.input(7));
  if (caches.size() != 2 || 2 * caches[1] > q[3]) {
    return node.invalid("a cache of shape {} for heads of size {}", to_string(caches), q[3]);
  }
  std::optional<ValueId> ids;
  if (node.has(9)) {
    ids = node.input(9);
    if (node.shape(*ids) != Shape{q[0], q[2]}) return node.invalid("position ids do not fit");
  } else if (cache.pasts) {
    const ValueId steps = node.graph.add_constant(
        node.part("steps"),
        filled(DType::kI64, {1, q[2]}, [](int64_t i) { return static_cast<double>(i); }));
    ids = binary(node.graph, node.part("positions"), ScalarOp::kAdd,
                 reshape(node.graph, node.part("first_positions"), *cache.pasts, {q[0], 1}), steps);
  }
  CORF_ASSIGN(const ValueId cosine,
              cache_rows(node, "cos", 7, caches[1], ids, cache.past, q[2], true));
  CORF_ASSIGN(const ValueId sine,
              cache_rows(node, "sin", 8, caches[1], ids, cache.past, q[2], true));
  const bool interleaved = node.int_attribute("rotary_interleaved", 0) != 0;
  heads.q = rotate_heads(node, node.part("turned_query"), heads.q, cosine, sine, interleaved);
  heads.k = rotate_heads(node, node.part("turned_key"), heads.k, cosine, sine, interleaved);
  return {};
}

Result<Heads> read_grouped(NodeImport& node) {
  const int64_t count = node.int_attribute("num_heads", 0);
  const int64_t shared = node.int_attribute("kv_num_heads", 0);
  if (count < 1 || shared < 1 || count % shared != 0 || count > (1 << 20)) {
    return node.invalid("{} heads of keys for {} of queries", shared, count);
  }
  ValueId q = node.input(0), k = node.has(1) ? node.input(1) : -1,
          v = node.has(2) ? node.input(2) : -1;
  if (node.rank(q) != 3) return node.invalid("a query of rank {}, not 3", node.rank(q));
  if (k < 0 && v < 0) {
    const int64_t all = node.shape(q)[2], size = all / (count + 2 * shared);
    if (size < 1 || size * (count + 2 * shared) != all) {
      return node.invalid("{} columns for {} + 2 x {} heads", all, count, shared);
    }
    const ValueId packed = q;
    const int64_t middle = count * size, last = middle + shared * size;
    q = slice(node.graph, node.part("query_columns"), packed, 2, 0, middle);
    k = slice(node.graph, node.part("key_columns"), packed, 2, middle, last);
    v = slice(node.graph, node.part("value_columns"), packed, 2, last, all);
  }
  if (k < 0 || v < 0) return node.invalid("it has keys or values alone");
  Heads heads;
  CORF_ASSIGN(heads.q, split_heads(node, "query", q, count));
  CORF_ASSIGN(heads.k, split_heads(node, "key", k, shared));
  CORF_ASSIGN(heads.v, split_heads(node, "value", v, shared));
  CORF_RETURN_IF_ERROR(check_heads(node, heads));
  if (node.shape(heads.k) != node.shape(heads.v) ||
      node.shape(heads.q)[2] != node.shape(heads.k)[2]) {
    return node.invalid("its queries, keys and values do not fit");
  }
  return heads;
}

/// x / root of its heads' mean square, times `weight`.
Result<ValueId> normalized_heads(NodeImport& node, const char* suffix, ValueId x, int weight) {
  const Shape shape = node.shape(x);
  if (node.shape(node.input(weight)) != Shape{shape[3]}) {
    return node.invalid("norm weights do not fit heads of size {}", shape[3]);
  }
  const DType dtype = node.dtype(x);
  const ValueId wide =
      cast(node.graph, node.part(fmt::format("wide_{}_heads", suffix)), x, attention_type(dtype));
  const double epsilon = node.float_attribute("qk_norm_epsilon", 1e-6F);
  const Normalized y =
      normalize_by_root(node, node.part(fmt::format("{}_by_root", suffix)), wide, {3}, epsilon);
  return affine(node, node.part(fmt::format("normal_{}", suffix)), y.value, node.input(weight), -1,
                dtype);
}

/// Inputs query, key, value, past_key, past_value, seqlens_k, total_sequence_length, caches of
/// cosines and sines, position_ids, attention_bias, head_sink, scales, norm weights.
Status import_group_query_attention(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  for (const char* name : {"k_quant_type", "v_quant_type"}) {
    if (node.string_attribute(name, "NONE") != "NONE") {
      return node.unsupported("a quantized cache is not supported");
    }
  }
  if (node.int_attribute("sliding_window_cache", 0) != 0) {
    return node.unsupported("a cache of the window alone is not supported");
  }
  CORF_ASSIGN(Heads heads, read_grouped(node));
  if (node.has(14) != node.has(15)) return node.invalid("one of its norm weights is missing");
  if (node.has(14)) {
    CORF_ASSIGN(heads.q, normalized_heads(node, "query", heads.q, 14));
    CORF_ASSIGN(heads.k, normalized_heads(node, "key", heads.k, 15));
  }
  CORF_ASSIGN(const Cache cache, read_cache(node, heads));
  if (node.int_attribute("do_rotary", 0) != 0) {
    CORF_RETURN_IF_ERROR(rotate_by_position(node, heads, cache));
  }
  CORF_ASSIGN(heads.k, updated(node, "key", 3, heads.k, cache));
  CORF_ASSIGN(heads.v, updated(node, "value", 4, heads.v, cache));
  node.set_output(1, heads.k);
  node.set_output(2, heads.v);
  heads.k = slice(node.graph, node.part("seen_key"), heads.k, 2, 0, cache.total);
  heads.v = slice(node.graph, node.part("seen_value"), heads.v, 2, 0, cache.total);
  Scoring scoring;
  scoring.past = cache.past;
  scoring.pasts = cache.pasts;
  scoring.causal = node.int_attribute("causal", 1) != 0;
  if (!scoring.causal && cache.pasts) {
    return node.unsupported("batches of different lengths without a causal mask");
  }
  scoring.window = std::max<int64_t>(0, node.int_attribute("local_window_size", -1));
  scoring.scale = scale_attribute(node, node.shape(heads.q)[3]);
  scoring.softcap = node.float_attribute("softcap", 0);
  CORF_ASSIGN(scoring.bias, read_bias(node, 10, score_shape(node, heads)));
  const int64_t count = node.shape(heads.q)[1];
  const DType inner = attention_type(node.dtype(heads.q));
  if (node.has(11)) {
    if (node.shape(node.input(11)) != Shape{count}) return node.invalid("its sinks do not fit");
    const ValueId sinks = cast(node.graph, node.part("wide_sinks"), node.input(11), inner);
    scoring.sink = reshape(node.graph, node.part("sinks"), sinks, {1, count, 1, 1});
  } else if (node.int_attribute("smooth_softmax", 0) > 0) {
    scoring.sink = node.graph.add_constant(node.part("sinks"), Tensor(inner, {1, count, 1, 1}));
  }
  node.set_output(attend(node, heads, scoring));
  return {};
}

constexpr Operator kOperators[] = {
    {"com.microsoft.Attention", 0, import_attention},
    {"com.microsoft.GroupQueryAttention", 0, import_group_query_attention},
    {"com.microsoft.MultiHeadAttention", 0, import_multi_head_attention},
    {"com.microsoft.RotaryEmbedding", 0, import_rotary_embedding},
};

}  // namespace

std::span<const Operator> microsoft_attention_operators() { return kOperators; }

}  // namespace corf::onnx
