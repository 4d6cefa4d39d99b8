#include "onnx/attention.h"

#include <cmath>
#include <limits>

#include "onnx/indices.h"

namespace corf::onnx {

Status check_heads(const NodeImport& node, int64_t heads, const Shape& shape) {
  constexpr int64_t kMost = 1 << 20;
  if (shape.size() == 3 && heads >= 1 && heads <= kMost && shape[2] % heads == 0) return {};
  return node.invalid("{} heads do not divide {}", heads, to_string(shape));
}

Result<ValueId> split_heads(NodeImport& node, std::string_view suffix, ValueId x, int64_t heads) {
  Shape shape = node.shape(x);
  if (shape.size() == 4) return x;
  CORF_RETURN_IF_ERROR(check_heads(node, heads, shape));
  ValueId parts = reshape(node.graph, node.part(fmt::format("{}_heads", suffix)), x,
                          {shape[0], shape[1], heads, shape[2] / heads});
  return transpose(node.graph, node.part(suffix), parts, {0, 2, 1, 3});
}

ValueId merge_heads(NodeImport& node, std::string name, ValueId x) {
  const Shape shape = node.shape(x);
  ValueId swapped = transpose(node.graph, name + "/merge", x, {0, 2, 1, 3});
  return reshape(node.graph, std::move(name), swapped, {shape[0], shape[2], shape[1] * shape[3]});
}

ValueId multiply_heads(NodeImport& node, std::string name, ValueId a, ValueId b, bool transpose_b) {
  Shape left = node.shape(a);
  Shape right = node.shape(b);
  if (left[1] == right[1]) return graph::matmul(node.graph, name, a, b, false, transpose_b);
  int64_t share = left[1] / right[1];
  ValueId grouped =
      reshape(node.graph, name + "/grouped", a, {left[0], right[1], share, left[2], left[3]});
  ValueId single =
      reshape(node.graph, name + "/single", b, {right[0], right[1], 1, right[2], right[3]});
  ValueId product =
      graph::matmul(node.graph, name + "/product", grouped, single, false, transpose_b);
  int64_t columns = right[transpose_b ? 2 : 3];
  return reshape(node.graph, name, product, {left[0], left[1], left[2], columns});
}

namespace {

/// a * cos -/+ b * sin
ValueId rotate(NodeImport& node, std::string name, ScalarOp op, ValueId a, ValueId b,
               ValueId cosine, ValueId sine) {
  return per_element(node.graph, std::move(name), {a, cosine, b, sine},
                     [op](ScalarBody& s, const std::vector<int>& in) {
                       return s.apply(op, s.apply(ScalarOp::kMul, in[0], in[1]),
                                      s.apply(ScalarOp::kMul, in[2], in[3]));
                     });
}

}  // namespace

ValueId rotate_heads(NodeImport& node, const std::string& name, ValueId x, ValueId cosine,
                     ValueId sine, bool interleaved) {
  graph::Graph& graph = node.graph;
  const Shape shape = node.shape(x);
  const int64_t half = node.shape(cosine).back(), rotated = 2 * half;
  // Pairs as a dimension of their own: the last one if interleaved, else the one before it.
  const ValueId turning = slice(graph, name + "/rotated", x, 3, 0, rotated);
  const Shape pairs = {shape[0], shape[1], shape[2], interleaved ? half : 2,
                       interleaved ? 2 : half};
  const ValueId paired = reshape(graph, name + "/pairs", turning, pairs);
  const int pair_axis = interleaved ? 4 : 3;
  const Shape flat = {shape[0], shape[1], shape[2], half};
  const auto half_of = [&](const std::string& part, int64_t at) {
    const ValueId single = slice(graph, name + part + "_part", paired, pair_axis, at, at + 1);
    return reshape(graph, name + part, single, flat);
  };
  const ValueId first = half_of("/first", 0), second = half_of("/second", 1);
  const ValueId real = rotate(node, name + "/real", ScalarOp::kSub, first, second, cosine, sine);
  const ValueId imaginary =
      rotate(node, name + "/imaginary", ScalarOp::kAdd, second, first, cosine, sine);
  Shape single = flat;
  single.insert(single.begin() + pair_axis, 1);
  const ValueId joined = concat(graph, name + "/joined",
                                {reshape(graph, name + "/real_part", real, single),
                                 reshape(graph, name + "/imaginary_part", imaginary, single)},
                                pair_axis);
  Shape turned = shape;
  turned[3] = rotated;
  const ValueId y = reshape(graph, name + "/turned", joined, turned);
  if (rotated == shape[3]) return y;
  const ValueId rest = slice(graph, name + "/rest", x, 3, rotated, shape[3]);
  return concat(graph, name + "/whole", {y, rest}, 3);
}

DType attention_type(DType dtype) {
  return dtype == DType::kF16 || dtype == DType::kBF16 ? DType::kF32 : dtype;
}

namespace {

struct AttentionInputs {
  ValueId q = -1, k = -1, v = -1;  // [batch, heads, sequence, size], keys and values with the past
  int64_t past = 0;                // keys before those of input 1
  bool merged_heads = false;       // the node's inputs have rank 3
};

Result<ValueId> append_past(NodeImport& node, int input, std::string_view suffix, ValueId present) {
  if (!node.has(input)) return present;
  ValueId past = node.input(input);
  Shape before = node.shape(past);
  Shape after = node.shape(present);
  if (before.size() == 4) before[2] = after[2];
  if (before != after || node.dtype(past) != node.dtype(present)) {
    return node.invalid("past {} does not fit {}", to_string(node.shape(past)), to_string(after));
  }
  return concat(node.graph, node.part(suffix), {past, present}, 2);
}

Result<AttentionInputs> read_attention(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  std::vector<ValueId> qkv = {node.input(0), node.input(1), node.input(2)};
  CORF_RETURN_IF_ERROR(require_float(node, qkv[0]));
  AttentionInputs in;
  in.merged_heads = node.rank(qkv[0]) == 3;
  bool same_rank = node.rank(qkv[0]) == node.rank(qkv[1]) && node.rank(qkv[0]) == node.rank(qkv[2]);
  if (!same_rank || (node.rank(qkv[0]) != 3 && node.rank(qkv[0]) != 4)) {
    return node.invalid("query, key and value must all have rank 3 or 4");
  }
  if (node.has(4) != node.has(5)) return node.invalid("it has a past of keys or values alone");
  CORF_RETURN_IF_ERROR(require_same_type(node, {qkv[0], qkv[1]}));
  CORF_ASSIGN(in.q, split_heads(node, "query", qkv[0], node.int_attribute("q_num_heads", 0)));
  CORF_ASSIGN(in.k, split_heads(node, "key", qkv[1], node.int_attribute("kv_num_heads", 0)));
  CORF_ASSIGN(in.v, split_heads(node, "value", qkv[2], node.int_attribute("kv_num_heads", 0)));
  CORF_RETURN_IF_ERROR(require_same_type(node, {in.q, in.v}));
  CORF_ASSIGN(in.k, append_past(node, 4, "present_key", in.k));
  CORF_ASSIGN(in.v, append_past(node, 5, "present_value", in.v));
  if (node.has(4)) in.past = node.shape(node.input(4))[2];
  Shape q = node.shape(in.q);
  Shape k = node.shape(in.k);
  Shape v = node.shape(in.v);
  bool fits = q[0] == k[0] && k[0] == v[0] && k[1] == v[1] && k[2] == v[2] && q[3] == k[3] &&
              k[1] >= 1 && q[1] % k[1] == 0;
  if (!fits) {
    return node.invalid("query {}, key {} and value {} do not fit", to_string(q), to_string(k),
                        to_string(v));
  }
  return in;
}

/// Q K' times the scale.
ValueId scaled_scores(NodeImport& node, ValueId q, ValueId k) {
  double size = static_cast<double>(node.shape(q)[3]);
  double scale = node.float_attribute("scale", 1 / std::sqrt(size));
  ValueId product = multiply_heads(node, node.part("scores"), q, k, true);
  return multiply(node.graph, node.part("scaled"), product, scale);
}

/// softcap * tanh(x / softcap)
ValueId cap_scores(NodeImport& node, ValueId scores) {
  double softcap = node.float_attribute("softcap", 0);
  if (!(softcap > 0)) return scores;
  DType dtype = node.dtype(scores);
  return per_element(
      node.graph, node.part("capped"), {scores}, [&](ScalarBody& b, const std::vector<int>& x) {
        int ratio = b.apply(ScalarOp::kDiv, x[0], b.constant(softcap, dtype));
        return b.apply(ScalarOp::kMul, b.apply(ScalarOp::kTanh, ratio), b.constant(softcap, dtype));
      });
}

/// Which keys a query sees. Its own position among them is `past` behind its position among the
/// queries, or as far as its batch's `lengths` says that the last query is the last key.
struct Visibility {
  std::optional<ValueId> mask;     // of booleans, or added to the scores
  std::optional<ValueId> lengths;  // [batch, 1, 1, 1]: keys that are no padding
  int64_t past = 0, queries = 0;
  bool causal = false;
  int64_t left = -1, right = -1;  // how far from its own position it sees; -1: to the end

  bool is_restricted() const { return mask || lengths || causal || left >= 0 || right >= 0; }
  /// Whether a query may see no key at all.
  bool may_be_empty() const { return mask || lengths || left >= 0; }
};

/// The mask, of the scores' extent along the keys: from opset 24 on what it lacks there is hidden.
Result<std::optional<ValueId>> read_mask(NodeImport& node, ValueId scores) {
  if (!node.has(3)) return std::optional<ValueId>();
  ValueId mask = node.input(3);
  Shape shape = node.shape(mask);
  const Shape full = node.shape(scores);
  bool boolean = node.dtype(mask) == DType::kBool;
  if (!boolean) {
    CORF_RETURN_IF_ERROR(require_same_type(node, {node.input(0), mask}));
    mask = cast(node.graph, node.part("wide_mask"), mask, node.dtype(scores));
  }
  if (node.opset() >= 24 && !shape.empty() && shape.back() < full.back()) {
    double hidden = boolean ? 0 : -std::numeric_limits<double>::infinity();
    graph::Pad pad{std::vector<int64_t>(shape.size(), 0), hidden};
    shape.back() = full.back();
    mask = node.graph.add_view(node.part("mask"), std::move(pad), {mask}, shape);
  }
  if (broadcast_shape(full, shape) != full) {
    return node.invalid("mask {} does not broadcast to {}", to_string(node.shape(node.input(3))),
                        to_string(full));
  }
  return std::optional<ValueId>(mask);
}

Result<Visibility> read_visibility(NodeImport& node, const AttentionInputs& in, ValueId scores) {
  Visibility visible;
  CORF_ASSIGN(visible.mask, read_mask(node, scores));
  const int64_t batch = node.shape(in.q)[0];
  if (node.has(6)) {
    ValueId lengths = node.input(6);
    if (node.has(4)) return node.invalid("it has both a past and nonpad_kv_seqlen");
    if (node.shape(lengths) != Shape{batch} || !is_integer(node.dtype(lengths))) {
      return node.invalid("nonpad_kv_seqlen is {} {}, not an integer for each of {} batches",
                          to_string(node.dtype(lengths)), to_string(node.shape(lengths)), batch);
    }
    lengths = cast(node.graph, node.part("lengths"), lengths, DType::kI64);
    visible.lengths = reshape(node.graph, node.part("length_rows"), lengths, {batch, 1, 1, 1});
  }
  visible.past = in.past;
  visible.queries = node.shape(in.q)[2];
  visible.causal = node.int_attribute("is_causal", 0) != 0;
  visible.left = node.int_attribute("left_window_size", -1);
  visible.right = node.int_attribute("right_window_size", -1);
  if (visible.left < -1 || visible.right < -1) return node.invalid("a window of negative size");
  return visible;
}

/// Whether the point's key is visible but for the mask; -1 if every key is.
int sees(ScalarBody& b, const Visibility& visible, int lengths) {
  int seen = -1;
  auto require = [&](ScalarOp op, int x, int y) {
    int condition = b.apply(op, x, y);
    seen = seen < 0 ? condition : b.apply(ScalarOp::kAnd, seen, condition);
  };
  auto number = [&](int64_t value) { return b.constant_i64(value, DType::kI64); };
  int key = b.axis_index(3);
  if (lengths >= 0) require(ScalarOp::kLess, key, lengths);
  if (!visible.causal && visible.left < 0 && visible.right < 0) return seen;
  int before = lengths < 0 ? number(visible.past)
                           : b.apply(ScalarOp::kSub, lengths, number(visible.queries));
  int own = b.apply(ScalarOp::kAdd, b.axis_index(2), before);
  if (visible.causal) require(ScalarOp::kLessEqual, key, own);
  if (visible.left >= 0) {
    require(ScalarOp::kLessEqual, own, b.apply(ScalarOp::kAdd, key, number(visible.left)));
  }
  if (visible.right >= 0) {
    require(ScalarOp::kLessEqual, key, b.apply(ScalarOp::kAdd, own, number(visible.right)));
  }
  return seen;
}

/// The scores with the mask added, -infinity where a key is hidden.
ValueId mask_scores(NodeImport& node, ValueId scores, const Visibility& visible) {
  if (!visible.is_restricted()) return scores;
  DType dtype = node.dtype(scores);
  std::vector<ValueId> inputs = {scores};
  if (visible.mask) inputs.push_back(*visible.mask);
  if (visible.lengths) inputs.push_back(*visible.lengths);
  const bool boolean = visible.mask && node.dtype(*visible.mask) == DType::kBool;
  auto body = [&](ScalarBody& b, const std::vector<int>& in) {
    int hidden = b.constant(-std::numeric_limits<double>::infinity(), dtype);
    int score = in[0];
    if (boolean) score = b.apply(ScalarOp::kSelect, in[1], score, hidden);
    if (visible.mask && !boolean) {
      // Not the sum alone: an infinite or undefined score is hidden too.
      int sum = b.apply(ScalarOp::kAdd, score, in[1]);
      score = b.apply(ScalarOp::kSelect, b.apply(ScalarOp::kEqual, in[1], hidden), hidden, sum);
    }
    int seen = sees(b, visible, visible.lengths ? in.back() : -1);
    return seen < 0 ? score : b.apply(ScalarOp::kSelect, seen, score, hidden);
  };
  return per_element(node.graph, node.part("masked"), inputs, body);
}

/// x, and 0 in the rows of queries that see no key: the largest of their scores is -infinity.
ValueId without_blind_rows(NodeImport& node, std::string name, ValueId x, ValueId largest) {
  return per_element(
      node.graph, std::move(name), {x, largest}, [&](ScalarBody& b, const std::vector<int>& in) {
        DType rows = node.dtype(largest);
        int hidden = b.constant(-std::numeric_limits<double>::infinity(), rows);
        int blind = b.apply(ScalarOp::kEqual, in[1], hidden);
        return b.apply(ScalarOp::kSelect, blind, b.constant(0, node.dtype(x)), in[0]);
      });
}

/// The softmax's type: no narrower than what the scores are computed in.
Result<DType> softmax_type(NodeImport& node, DType scores) {
  if (!node.has_attribute("softmax_precision")) return scores;
  const auto number = static_cast<int>(node.int_attribute("softmax_precision", 0));
  const auto wanted = dtype_from_onnx(number);
  if (!wanted || !is_float(*wanted)) return node.invalid("softmax_precision is {}", number);
  return size_bytes(*wanted) < size_bytes(scores) ? scores : *wanted;
}

Status import_attention(NodeImport& node) {
  CORF_ASSIGN(AttentionInputs in, read_attention(node));
  node.set_output(1, in.k);
  node.set_output(2, in.v);
  const DType dtype = node.dtype(in.q);
  const DType inner = attention_type(dtype);
  auto to = [&](std::string_view name, ValueId x, DType type) {
    return cast(node.graph, node.part(name), x, type);
  };
  ValueId scores = scaled_scores(node, to("wide_query", in.q, inner), to("wide_key", in.k, inner));
  ValueId capped = cap_scores(node, scores);
  CORF_ASSIGN(Visibility visible, read_visibility(node, in, scores));
  ValueId masked = mask_scores(node, capped, visible);
  CORF_ASSIGN(const DType softmax_dtype, softmax_type(node, inner));
  ValueId wide = to("wide", masked, softmax_dtype);
  ValueId wide_weights = softmax(node.graph, node.part("softmax"), wide, {3});
  ValueId weights = to("weights", wide_weights, inner);
  const bool guards = visible.may_be_empty();
  std::string name = in.merged_heads || inner != dtype ? node.part("values") : node.name();
  ValueId y = multiply_heads(node, guards ? node.part("product") : name, weights,
                             to("wide_value", in.v, inner), false);
  std::optional<ValueId> largest;
  if (guards) {
    largest =
        graph::reduce(node.graph, node.part("largest"), wide, graph::Combiner::kMax, {3}, true);
    y = without_blind_rows(node, name, y, *largest);
  }
  y = to("narrow", y, dtype);
  if (in.merged_heads) y = merge_heads(node, node.name(), y);
  node.set_output(y);
  if (!node.wants_output(3)) return {};
  const int64_t mode = node.int_attribute("qk_matmul_output_mode", 0);
  if (mode < 0 || mode > 3) return node.invalid("qk_matmul_output_mode is {}, not 0 to 3", mode);
  if (mode == 3 && guards)
    weights = without_blind_rows(node, node.part("shown"), weights, *largest);
  const ValueId shown[] = {scores, capped, masked, weights};
  node.set_output(3, to("shown_narrow", shown[mode], dtype));
  return {};
}

/// The scores or weights as the graph in an attribute changes them.
Result<ValueId> modify(NodeImport& node, std::string_view attribute, ValueId x) {
  if (node.body(attribute) == nullptr) return x;
  CORF_ASSIGN(const auto results, node.import_body(attribute, {x}));
  if (results.size() != 1 || node.shape(results[0]) != node.shape(x) ||
      node.dtype(results[0]) != node.dtype(x)) {
    return node.invalid("'{}' does not give one tensor of shape {}", attribute,
                        to_string(node.shape(x)));
  }
  return results[0];
}

Status import_flex_attention(NodeImport& node) {
  CORF_ASSIGN(AttentionInputs in, read_attention(node));
  if (in.merged_heads) return node.invalid("its inputs are not of rank 4");
  const DType dtype = node.dtype(in.q);
  DType wide = attention_type(dtype);
  if (node.has_attribute("softmax_precision")) {
    const auto number = static_cast<int>(node.int_attribute("softmax_precision", 0));
    const auto wanted = dtype_from_onnx(number);
    if (!wanted || !is_float(*wanted)) return node.invalid("softmax_precision is {}", number);
    wide = *wanted;
  }
  auto to = [&](std::string_view name, ValueId x, DType type) {
    return cast(node.graph, node.part(name), x, type);
  };
  const DType inner = attention_type(dtype);
  const ValueId scores =
      scaled_scores(node, to("wide_query", in.q, inner), to("wide_key", in.k, inner));
  CORF_ASSIGN(const ValueId modified, modify(node, "score_mod", to("wide", scores, wide)));
  const ValueId softmaxed = softmax(node.graph, node.part("softmax"), modified, {3});
  CORF_ASSIGN(const ValueId weights, modify(node, "prob_mod", softmaxed));
  const ValueId y =
      multiply_heads(node, node.part("product"), weights, to("wide_values", in.v, wide), false);
  node.set_output(cast(node.graph, node.name(), y, dtype));
  return {};
}

/// cos or sin for each position, as an operand that broadcasts over heads.
Result<ValueId> rotation_factors(NodeImport& node, std::string_view suffix, int input, int64_t half,
                                 const Shape& x, bool heads_first) {
  ValueId cache = node.input(input);
  if (node.has(3)) {
    if (node.rank(cache) != 2 || node.rank(node.input(3)) != 2) {
      return node.invalid("caches and position ids must have rank 2");
    }
    const int64_t positions = node.shape(cache)[0];
    if (positions == 0) return node.invalid("its caches hold no position");
    CORF_ASSIGN(const ValueId ids, checked_indices(node, fmt::format("{}_position_ids", suffix),
                                                   node.input(3), {positions}));
    cache = graph::gather(node.graph, node.part(suffix), cache, ids, 0);
  }
  Shape shape = node.shape(cache);
  int64_t sequence = heads_first ? x[2] : x[1];
  if (shape.size() != 3 || shape[2] < half || shape[1] != sequence || shape[0] != x[0]) {
    return node.invalid("cache {} does not fit {}", to_string(shape), to_string(x));
  }
  ValueId used = slice(node.graph, node.part(fmt::format("{}_used", suffix)), cache, 2, 0, half);
  Shape over_heads =
      heads_first ? Shape{shape[0], 1, sequence, half} : Shape{shape[0], sequence, 1, half};
  return reshape(node.graph, node.part(fmt::format("{}_over_heads", suffix)), used, over_heads);
}

Status import_rotary_embedding(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  ValueId x = node.input(0);
  CORF_RETURN_IF_ERROR(require_same_type(node, {x, node.input(1), node.input(2)}));
  Shape original = node.shape(x);
  bool heads_first = original.size() == 4;  // [batch, heads, sequence, size]
  if (original.size() == 3) {
    int64_t heads = node.int_attribute("num_heads", 0);
    CORF_RETURN_IF_ERROR(check_heads(node, heads, original));
    x = reshape(node.graph, node.part("heads"), x,
                {original[0], original[1], heads, original[2] / heads});
  } else if (!heads_first) {
    return node.invalid("input of rank {}, not 3 or 4", original.size());
  }
  Shape shape = node.shape(x);
  int64_t rotated = node.int_attribute("rotary_embedding_dim", 0);
  if (rotated == 0) rotated = shape[3];
  if (rotated < 2 || rotated > shape[3] || rotated % 2 != 0) {
    return node.invalid("rotary_embedding_dim {} for heads of size {}", rotated, shape[3]);
  }
  int64_t half = rotated / 2;
  CORF_ASSIGN(ValueId cosine, rotation_factors(node, "cos", 1, half, shape, heads_first));
  CORF_ASSIGN(ValueId sine, rotation_factors(node, "sin", 2, half, shape, heads_first));
  const bool interleaved = node.int_attribute("interleaved", 0) != 0;
  const ValueId y = rotate_heads(node, node.name(), x, cosine, sine, interleaved);
  node.set_output(reshape(node.graph, node.name(), y, original));
  return {};
}

constexpr Operator kOperators[] = {
    {"Attention", 23, import_attention},
    {"ai.onnx.preview.FlexAttention", 0, import_flex_attention},  // or without the default domain
    {"RotaryEmbedding", 23, import_rotary_embedding},
};

}  // namespace

std::span<const Operator> attention_operators() { return kOperators; }

}  // namespace corf::onnx
