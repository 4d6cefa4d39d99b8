// Rotary embeddings and attention with a cache of keys and values, domain com.microsoft.
#include "onnx/attention.h"
#include "onnx/indices.h"
#include "onnx/microsoft_attention.h"
#include "onnx/normalization.h"

namespace corf::onnx {
namespace {

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
    CORF_RETURN_IF_ERROR(check_heads(node, heads, original));
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
    {"com.microsoft.GroupQueryAttention", 0, import_group_query_attention},
    {"com.microsoft.RotaryEmbedding", 0, import_rotary_embedding},
};

}  // namespace

std::span<const Operator> group_query_attention_operators() { return kOperators; }

}  // namespace corf::onnx
