// Normalisations with what stands before them in transformers, as ONNX Runtime's optimiser writes
// them: sums with a skip and a bias, sums of embeddings.
#include "onnx/compose.h"
#include "onnx/indices.h"
#include "onnx/normalization.h"

namespace corf::onnx {
namespace {

bool is_half(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16; }

/// Statistics of halves are those of their float32 numbers.
ValueId widened(NodeImport& node, ValueId x) {
  return is_half(node.dtype(x)) ? cast(node.graph, node.part("wide"), x, DType::kF32) : x;
}

Status require_vector(const NodeImport& node, int input, int64_t size) {
  if (!node.has(input) || node.shape(node.input(input)) == Shape{size}) return {};
  return node.invalid("input {} of shape {}, where {} is expected", input,
                      to_string(node.shape(node.input(input))), size);
}

/// Outputs 0 to 2 from what is normalised along its last axis.
void set_normalized(NodeImport& node, ValueId sum, ValueId scale, ValueId shift, bool centred) {
  const double epsilon = node.float_attribute("epsilon", centred ? 1e-12F : 1e-5F);
  const int last = node.rank(sum) - 1;
  const ValueId wide = widened(node, sum);
  const auto normalized = centred ? normalize : normalize_by_root;
  const Normalized y = normalized(node, node.part("normalized"), wide, {last}, epsilon);
  node.set_output(affine(node, node.name(), y.value, scale, shift, node.dtype(sum)));
  if (centred) node.set_output(1, y.mean);
  node.set_output(2, y.inverse_deviation);
}

/// Of two or three values.
ValueId sum_of(NodeImport& node, const std::vector<ValueId>& summands) {
  return per_element(node.graph, node.part("sum"), summands,
                     [](ScalarBody& b, const std::vector<int>& in) {
                       const int total = b.apply(ScalarOp::kAdd, in[0], in[1]);
                       return in.size() > 2 ? b.apply(ScalarOp::kAdd, total, in[2]) : total;
                     });
}

/// norm(x + skip + bias) gamma + beta; output 3 is the sum.
Status import_skip_normalization(NodeImport& node, bool centred) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  const ValueId x = node.input(0), skip = node.input(1);
  const Shape shape = node.shape(x);
  if (shape.empty() || broadcast_shape(shape, node.shape(skip)) != shape) {
    return node.invalid("a skip of shape {} for an input of {}", to_string(node.shape(skip)),
                        to_string(shape));
  }
  const int beta = centred ? 3 : -1, bias = centred ? 4 : 3;
  for (int input : {2, 3, 4}) CORF_RETURN_IF_ERROR(require_vector(node, input, shape.back()));
  std::vector<ValueId> summands = {x, skip};
  if (node.has(bias)) summands.push_back(node.input(bias));
  const ValueId sum = sum_of(node, summands);
  const ValueId shift = beta >= 0 && node.has(beta) ? node.input(beta) : -1;
  set_normalized(node, sum, node.input(2), shift, centred);
  node.set_output(3, sum);
  return {};
}

Status import_skip_layer_normalization(NodeImport& node) {
  return import_skip_normalization(node, true);
}
Status import_skip_simplified(NodeImport& node) { return import_skip_normalization(node, false); }

/// Rows of the table in `input` (of `size` columns) at `ids`.
Result<ValueId> rows_of(NodeImport& node, std::string_view suffix, int input, ValueId ids,
                        int64_t size) {
  const ValueId table = node.input(input);
  const Shape shape = node.shape(table);
  if (shape.size() != 2 || shape[1] != size || shape[0] == 0) {
    return node.invalid("a table of shape {} for rows of {}", to_string(shape), size);
  }
  CORF_ASSIGN(ids, checked_indices(node, fmt::format("{}_ids", suffix), ids, {shape[0]}));
  return graph::gather(node.graph, node.part(suffix), table, ids, 0);
}

/// How many ones each row of the mask holds; zeros without a mask.
Result<ValueId> mask_lengths(NodeImport& node, int input, const Shape& ids) {
  if (!node.has(input)) {
    return node.graph.add_constant(node.part("mask_index"), Tensor(DType::kI32, {ids[0]}));
  }
  const ValueId mask = node.input(input);
  if (node.shape(mask) != ids) {
    return node.invalid("a mask of shape {} for ids of {}", to_string(node.shape(mask)),
                        to_string(ids));
  }
  return graph::reduce(node.graph, node.part("mask_index"), mask, graph::Combiner::kSum, {1}, false,
                       [&](ScalarBody& b, int x) {
                         const DType dtype = b.nodes[x].dtype;
                         return b.cast(b.apply(ScalarOp::kEqual, x, b.constant_i64(1, dtype)),
                                       DType::kI32);
                       });
}

/// norm(word + position + segment) gamma + beta: inputs ids, segment ids, three tables, gamma,
/// beta, mask, position ids; outputs y, lengths of the mask, the sum.
Status import_embed_layer_normalization(NodeImport& node) {
  for (int input : {0, 2, 3, 5, 6}) {
    if (!node.has(input)) return node.invalid("its required input {} is missing", input);
  }
  const ValueId ids = node.input(0);
  const Shape shape = node.shape(ids);
  if (shape.size() != 2) return node.invalid("ids of rank {}, not 2", shape.size());
  const int64_t size = node.shape(node.input(5)).empty() ? 0 : node.shape(node.input(5))[0];
  for (int input : {5, 6}) CORF_RETURN_IF_ERROR(require_vector(node, input, size));
  CORF_ASSIGN(const ValueId words, rows_of(node, "word", 2, ids, size));
  ValueId positions = -1;
  if (node.has(8)) {
    positions = node.input(8);
    const Shape given = node.shape(positions);
    if (given.size() != 2 || broadcast_shape(given, shape) != shape) {
      return node.invalid("position ids of shape {} for ids of {}", to_string(given),
                          to_string(shape));
    }
  } else {
    positions = node.graph.add_constant(
        node.part("positions"),
        filled(DType::kI64, {1, shape[1]}, [](int64_t i) { return static_cast<double>(i); }));
  }
  CORF_ASSIGN(const ValueId places, rows_of(node, "position", 3, positions, size));
  ValueId sum = binary(node.graph, node.part("words_in_place"), ScalarOp::kAdd, words, places);
  if (node.has(1) && node.has(4)) {
    if (node.shape(node.input(1)) != shape) return node.invalid("its ids do not fit each other");
    CORF_ASSIGN(const ValueId segments, rows_of(node, "segment", 4, node.input(1), size));
    sum = binary(node.graph, node.part("sum"), ScalarOp::kAdd, sum, segments);
  }
  set_normalized(node, sum, node.input(5), node.input(6), true);
  CORF_ASSIGN(const ValueId lengths, mask_lengths(node, 7, shape));
  node.set_output(1, lengths);
  node.set_output(2, sum);
  return {};
}

/// x + bias + skip: what stands behind the last product of a diffusion model's block.
Status import_bias_add(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  const ValueId x = node.input(0), bias = node.input(1), skip = node.input(2);
  CORF_RETURN_IF_ERROR(require_same_type(node, {x, bias, skip}));
  if (node.rank(x) < 1 || node.shape(skip) != node.shape(x)) {
    return node.invalid("its skip {} is not of x's shape {}", to_string(node.shape(skip)),
                        to_string(node.shape(x)));
  }
  CORF_RETURN_IF_ERROR(require_vector(node, 1, node.shape(x).back()));
  node.set_output(per_element(node.graph, node.name(), {x, bias, skip},
                              [](ScalarBody& b, const std::vector<int>& in) {
                                const int biased = b.apply(ScalarOp::kAdd, in[0], in[1]);
                                return b.apply(ScalarOp::kAdd, biased, in[2]);
                              }));
  return {};
}

/// Groups of channels of x (N x ... x C, or N x C x ... unless `channels_last`), each with its own
/// mean and variance, times gamma plus beta, and x sigmoid(x) of it where `activation` says so.
Status set_group_normalized(NodeImport& node, ValueId x) {
  const Shape shape = node.shape(x);
  const bool is_last = node.int_attribute("channels_last", 1) != 0;
  const int64_t groups = node.int_attribute("groups", 0);
  const int64_t activation = node.int_attribute("activation", 0);
  if (shape.size() < 3) return node.invalid("an input of shape {}", to_string(shape));
  const int64_t channels = is_last ? shape.back() : shape[1];
  for (int input : {1, 2}) CORF_RETURN_IF_ERROR(require_vector(node, input, channels));
  if (groups < 1 || channels % groups != 0) {
    return node.invalid("{} groups of {} channels", groups, channels);
  }
  if (activation != 0 && activation != 1) {
    return node.invalid("attribute 'activation' is {}, not 0 or 1", activation);
  }
  const int rank = static_cast<int>(shape.size());
  const int at = is_last ? rank - 1 : 1;
  Shape per_channel(shape.size(), 1);
  per_channel[at] = channels;
  // The channels' axis becomes two: groups, and the channels of each.
  Shape split = shape;
  split[at] = groups;
  split.insert(split.begin() + at + 1, channels / groups);
  std::vector<int> axes;
  for (int axis = 1; axis <= rank; ++axis) {
    if (axis != at) axes.push_back(axis);
  }
  const ValueId wide = reshape(node.graph, node.part("groups"), widened(node, x), split);
  const double epsilon = node.float_attribute("epsilon", 1e-5F);
  const Normalized y = normalize(node, node.part("normalized"), wide, axes, epsilon);
  const ValueId whole = reshape(node.graph, node.part("whole"), y.value, shape);
  const auto vector = [&](int input, std::string_view suffix) {
    return reshape(node.graph, node.part(suffix), node.input(input), per_channel);
  };
  const ValueId gamma = vector(1, "gamma"), beta = vector(2, "beta");
  const DType dtype = node.dtype(x), inner = node.dtype(whole);
  if (activation == 0) {
    node.set_output(affine(node, node.name(), whole, gamma, beta, dtype));
    return {};
  }
  const ValueId shifted = affine(node, node.part("shifted"), whole, gamma, beta, inner);
  const ValueId activated = unary(node.graph, node.part("sigmoid"), ScalarOp::kSigmoid, shifted);
  const ValueId product =
      binary(node.graph, node.part("swish"), ScalarOp::kMul, shifted, activated);
  node.set_output(cast(node.graph, node.name(), product, dtype));
  return {};
}

Status import_group_norm(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  CORF_RETURN_IF_ERROR(require_float(node, node.input(0)));
  return set_group_normalized(node, node.input(0));
}

/// The same of x + skip + bias, which is output 1. A skip may be one vector for each image.
Status import_skip_group_norm(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(4));
  const ValueId x = node.input(0);
  ValueId skip = node.input(3);
  CORF_RETURN_IF_ERROR(require_float(node, x));
  const Shape shape = node.shape(x);
  if (shape.size() < 3 || node.int_attribute("channels_last", 1) == 0) {
    return node.invalid("x of shape {} with channels_last = {}", to_string(shape),
                        node.int_attribute("channels_last", 1));
  }
  CORF_RETURN_IF_ERROR(require_vector(node, 4, shape.back()));
  if (node.shape(skip) == Shape{shape[0], shape.back()}) {
    Shape spread(shape.size(), 1);
    spread.front() = shape.front();
    spread.back() = shape.back();
    skip = reshape(node.graph, node.part("skip"), skip, spread);
  }
  if (broadcast_shape(shape, node.shape(skip)) != shape) {
    return node.invalid("a skip of shape {} for an input of {}", to_string(node.shape(skip)),
                        to_string(shape));
  }
  std::vector<ValueId> summands = {x, skip};
  if (node.has(4)) summands.push_back(node.input(4));
  const ValueId sum = sum_of(node, summands);
  CORF_RETURN_IF_ERROR(set_group_normalized(node, sum));
  node.set_output(1, sum);
  return {};
}

constexpr Operator kOperators[] = {
    {"com.microsoft.BiasAdd", 0, import_bias_add},
    {"com.microsoft.EmbedLayerNormalization", 0, import_embed_layer_normalization},
    {"com.microsoft.GroupNorm", 0, import_group_norm},
    {"com.microsoft.SkipGroupNorm", 0, import_skip_group_norm},
    {"com.microsoft.SkipLayerNormalization", 0, import_skip_layer_normalization},
    {"com.microsoft.SkipSimplifiedLayerNormalization", 0, import_skip_simplified},
};

}  // namespace

std::span<const Operator> skip_normalization_operators() { return kOperators; }

}  // namespace corf::onnx
