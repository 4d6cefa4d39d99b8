#include "onnx/microsoft_attention.h"

#include <cmath>
#include <limits>

#include "onnx/attention.h"

namespace corf::onnx {
namespace {

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
        return b.apply(ScalarOp::kSelect, seen, score,
                       real(-std::numeric_limits<double>::infinity()));
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

}  // namespace

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

Shape score_shape(const NodeImport& node, const Heads& heads) {
  const Shape q = node.shape(heads.q);
  return {q[0], q[1], q[2], node.shape(heads.k)[2]};
}

namespace {

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

/// Output 0: what the heads attend to, with the mask of input `mask`, the bias of input `bias` and
/// the attributes that Attention and MultiHeadAttention share.
Status set_attended(NodeImport& node, const Heads& heads, Scoring scoring, int mask, int bias) {
  CORF_RETURN_IF_ERROR(check_heads(node, heads));
  const Shape scores = score_shape(node, heads);
  CORF_ASSIGN(scoring.kept, read_kept(node, mask, scores));
  CORF_ASSIGN(scoring.bias, read_bias(node, bias, scores));
  scoring.scale = scale_attribute(node, node.shape(heads.q)[3]);
  scoring.filter = node.float_attribute("mask_filter_value", -10000);
  scoring.causal = node.int_attribute("unidirectional", 0) != 0;
  node.set_output(attend(node, heads, scoring));
  return {};
}

}  // namespace

Status import_packed_attention(NodeImport& node, const PackedAttention& in) {
  if (node.int_attribute("do_rotary", 0) != 0 ||
      node.int_attribute("past_present_share_buffer", 0) != 0) {
    return node.unsupported("do_rotary and a past that shares its buffer are not supported");
  }
  const Shape x = node.shape(in.x), w = node.shape(in.weights);
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
  ValueId all = graph::matmul(node.graph, node.part("projected"), in.x, in.weights);
  if (node.has(in.bias)) {
    const ValueId bias = node.input(in.bias);
    if (node.shape(bias) != Shape{w[1]}) return node.invalid("its bias does not fit");
    all = binary(node.graph, node.part("biased"), ScalarOp::kAdd, all, bias);
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
  if (node.has(in.past)) {
    const ValueId past = node.input(in.past);
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
  CORF_RETURN_IF_ERROR(set_attended(node, heads, scoring, in.mask, in.attention_bias));
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

namespace {

/// Inputs x, w, b, mask, past, attention_bias.
Status import_attention(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  if (node.has(6)) return node.unsupported("a past that shares its buffer is not supported");
  PackedAttention inputs{node.input(0), node.input(1)};
  inputs.bias = 2;
  inputs.mask = 3;
  inputs.past = 4;
  inputs.attention_bias = 5;
  return import_packed_attention(node, inputs);
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
  CORF_RETURN_IF_ERROR(set_attended(node, heads, scoring, 4, 5));
  node.set_output(1, heads.k);
  node.set_output(2, heads.v);
  return {};
}

constexpr Operator kOperators[] = {
    {"com.microsoft.Attention", 0, import_attention},
    {"com.microsoft.MultiHeadAttention", 0, import_multi_head_attention},
};

}  // namespace

std::span<const Operator> microsoft_attention_operators() { return kOperators; }

}  // namespace corf::onnx
