#include <cmath>

#include "onnx/compose.h"

namespace corf::onnx {
namespace {

/// [batch, sequence, heads * size] as [batch, heads, sequence, size]; x of rank 4 as it is.
Result<ValueId> split_heads(NodeImport& node, std::string_view suffix, ValueId x, int64_t heads) {
  Shape shape = node.shape(x);
  if (shape.size() == 4) return x;
  if (shape.size() != 3 || heads < 1 || shape[2] % heads != 0) {
    return node.invalid("{} heads do not divide {}", heads, to_string(shape));
  }
  ValueId parts = reshape(node.graph, node.part(fmt::format("{}_heads", suffix)), x,
                          {shape[0], shape[1], heads, shape[2] / heads});
  return transpose(node.graph, node.part(suffix), parts, {0, 2, 1, 3});
}

struct AttentionInputs {
  ValueId q = -1, k = -1, v = -1;  // [batch, heads, sequence, size], keys and values with the past
  int64_t q_heads = 1, kv_heads = 1;
  bool merged_heads = false;  // the node's inputs have rank 3
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
  CORF_RETURN_IF_ERROR(require_same_type(node, {qkv[0], qkv[1]}));
  CORF_ASSIGN(in.q, split_heads(node, "query", qkv[0], node.int_attribute("q_num_heads", 0)));
  CORF_ASSIGN(in.k, split_heads(node, "key", qkv[1], node.int_attribute("kv_num_heads", 0)));
  CORF_ASSIGN(in.v, split_heads(node, "value", qkv[2], node.int_attribute("kv_num_heads", 0)));
  CORF_RETURN_IF_ERROR(require_same_type(node, {in.q, in.v}));
  CORF_ASSIGN(in.k, append_past(node, 4, "present_key", in.k));
  CORF_ASSIGN(in.v, append_past(node, 5, "present_value", in.v));
  Shape q = node.shape(in.q);
  Shape k = node.shape(in.k);
  Shape v = node.shape(in.v);
  in.q_heads = q[1];
  in.kv_heads = k[1];
  bool fits = q[0] == k[0] && k[0] == v[0] && k[1] == v[1] && k[2] == v[2] && q[3] == k[3] &&
              k[1] >= 1 && q[1] % k[1] == 0;
  if (!fits) {
    return node.invalid("query {}, key {} and value {} do not fit", to_string(q), to_string(k),
                        to_string(v));
  }
  return in;
}

/// a b or a b' by head, where one head of b serves several consecutive ones of a.
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

/// Scores with the mask (input 3) added or applied, and nothing seen of what comes later if causal.
Result<ValueId> mask_scores(NodeImport& node, ValueId scores) {
  bool causal = node.int_attribute("is_causal", 0) != 0;
  if (!node.has(3) && !causal) return scores;
  DType dtype = node.dtype(scores);
  std::vector<ValueId> inputs = {scores};
  bool boolean = false;
  if (node.has(3)) {
    ValueId mask = node.input(3);
    boolean = node.dtype(mask) == DType::kBool;
    if (!boolean) CORF_RETURN_IF_ERROR(require_same_type(node, {scores, mask}));
    if (broadcast_shape(node.shape(scores), node.shape(mask)) != node.shape(scores)) {
      return node.invalid("mask {} does not broadcast to {}", to_string(node.shape(mask)),
                          to_string(node.shape(scores)));
    }
    inputs.push_back(mask);
  }
  double hidden = -std::numeric_limits<double>::infinity();
  auto body = [&](ScalarBody& b, const std::vector<int>& in) {
    int score = in[0];
    if (in.size() == 2) {
      score = boolean ? b.apply(ScalarOp::kSelect, in[1], score, b.constant(hidden, dtype))
                      : b.apply(ScalarOp::kAdd, score, in[1]);
    }
    if (!causal) return score;
    int seen = b.apply(ScalarOp::kLessEqual, b.axis_index(3), b.axis_index(2));
    return b.apply(ScalarOp::kSelect, seen, score, b.constant(hidden, dtype));
  };
  return per_element(node.graph, node.part("masked"), inputs, body);
}

Status import_attention(NodeImport& node) {
  CORF_ASSIGN(AttentionInputs in, read_attention(node));
  double size = static_cast<double>(node.shape(in.q)[3]);
  double scale = node.float_attribute("scale", 1 / std::sqrt(size));
  double softcap = node.float_attribute("softcap", 0);
  int64_t shown = node.int_attribute("qk_matmul_output_mode", 0);
  DType dtype = node.dtype(in.q);

  ValueId product = multiply_heads(node, node.part("scores"), in.q, in.k, true);
  ValueId scores = multiply(node.graph, node.part("scaled"), product, scale);
  CORF_ASSIGN(ValueId masked, mask_scores(node, scores));
  ValueId capped = masked;
  if (softcap > 0) {
    capped = per_element(node.graph, node.part("capped"), {masked},
                         [&](ScalarBody& b, const std::vector<int>& x) {
                           int ratio = b.apply(ScalarOp::kDiv, x[0], b.constant(softcap, dtype));
                           return b.apply(ScalarOp::kMul, b.apply(ScalarOp::kTanh, ratio),
                                          b.constant(softcap, dtype));
                         });
  }
  auto precision = dtype_from_onnx(static_cast<int>(node.int_attribute("softmax_precision", 0)));
  ValueId wide = cast(node.graph, node.part("wide"), capped, precision.value_or(dtype));
  ValueId wide_weights = softmax(node.graph, node.part("softmax"), wide, {3});
  ValueId weights = cast(node.graph, node.part("weights"), wide_weights, dtype);
  ValueId y = multiply_heads(node, in.merged_heads ? node.part("values") : node.name(), weights,
                             in.v, false);
  if (in.merged_heads) {
    Shape shape = node.shape(y);
    ValueId swapped = transpose(node.graph, node.part("merge"), y, {0, 2, 1, 3});
    y = reshape(node.graph, node.name(), swapped, {shape[0], shape[2], shape[1] * shape[3]});
  }
  node.set_output(y);
  node.set_output(1, in.k);
  node.set_output(2, in.v);
  node.set_output(3, shown == 0 ? scores : shown == 1 ? masked : shown == 2 ? capped : weights);
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
    cache = graph::gather(node.graph, node.part(suffix), cache, node.input(3), 0);
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

/// a * cos -/+ b * sin
ValueId rotate(NodeImport& node, std::string_view suffix, ScalarOp op, ValueId a, ValueId b,
               ValueId cosine, ValueId sine) {
  return per_element(node.graph, node.part(suffix), {a, cosine, b, sine},
                     [op](ScalarBody& s, const std::vector<int>& in) {
                       return s.apply(op, s.apply(ScalarOp::kMul, in[0], in[1]),
                                      s.apply(ScalarOp::kMul, in[2], in[3]));
                     });
}

Status import_rotary_embedding(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  ValueId x = node.input(0);
  CORF_RETURN_IF_ERROR(require_same_type(node, {x, node.input(1), node.input(2)}));
  Shape original = node.shape(x);
  bool heads_first = original.size() == 4;  // [batch, heads, sequence, size]
  if (original.size() == 3) {
    int64_t heads = node.int_attribute("num_heads", 0);
    if (heads < 1 || original[2] % heads != 0) {
      return node.invalid("{} heads do not divide {}", heads, to_string(original));
    }
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
  bool interleaved = node.int_attribute("interleaved", 0) != 0;
  // Pairs as a dimension of their own: the last one if interleaved, else the one before it.
  ValueId turning = slice(node.graph, node.part("rotated"), x, 3, 0, rotated);
  Shape pairs = {shape[0], shape[1], shape[2], interleaved ? half : 2, interleaved ? 2 : half};
  ValueId paired = reshape(node.graph, node.part("pairs"), turning, pairs);
  int pair_axis = interleaved ? 4 : 3;
  Shape flat = {shape[0], shape[1], shape[2], half};
  ValueId first =
      reshape(node.graph, node.part("first"),
              slice(node.graph, node.part("first_part"), paired, pair_axis, 0, 1), flat);
  ValueId second =
      reshape(node.graph, node.part("second"),
              slice(node.graph, node.part("second_part"), paired, pair_axis, 1, 2), flat);
  ValueId real = rotate(node, "real", ScalarOp::kSub, first, second, cosine, sine);
  ValueId imaginary = rotate(node, "imaginary", ScalarOp::kAdd, second, first, cosine, sine);
  Shape single = flat;
  single.insert(single.begin() + pair_axis, 1);
  ValueId joined = concat(node.graph, node.part("joined"),
                          {reshape(node.graph, node.part("real_part"), real, single),
                           reshape(node.graph, node.part("imaginary_part"), imaginary, single)},
                          pair_axis);
  Shape turned = shape;
  turned[3] = rotated;
  ValueId y = reshape(node.graph, node.part("turned"), joined, turned);
  if (rotated < shape[3]) {
    ValueId rest = slice(node.graph, node.part("rest"), x, 3, rotated, shape[3]);
    y = concat(node.graph, node.part("whole"), {y, rest}, 3);
  }
  node.set_output(reshape(node.graph, node.name(), y, original));
  return {};
}

constexpr Operator kOperators[] = {
    {"Attention", 23, 23, import_attention},
    {"RotaryEmbedding", 23, 23, import_rotary_embedding},
};

}  // namespace

std::span<const Operator> attention_operators() { return kOperators; }

}  // namespace corf::onnx
