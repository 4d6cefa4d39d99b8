#pragma once
#include <optional>

#include "onnx/compose.h"

/// Attention as ONNX Runtime's optimiser and model builders write it, domain com.microsoft.
namespace corf::onnx {

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
};

/// Attention whose queries, keys and values are one product, x [batch, rows, size] times weights
/// [size, all], and numbers of the node's other inputs; -1: the operator has none.
struct PackedAttention {
  ValueId x = -1, weights = -1;
  int bias = -1, mask = -1, past = -1, attention_bias = -1;
};
/// Outputs 0 and, where it is wanted, 1: the keys and values.
Status import_packed_attention(NodeImport& node, const PackedAttention& in);

/// Attention's result, [batch, rows, heads * size], as the node's first.
ValueId attend(NodeImport& node, Heads heads, const Scoring& scoring);

/// Errors: kInvalidModel naming the shapes.
Status check_heads(const NodeImport& node, const Heads& heads);
/// [batch, heads, queries, keys]
Shape score_shape(const NodeImport& node, const Heads& heads);
/// The attribute, or the root of the heads' size inverted.
double scale_attribute(NodeImport& node, int64_t head_size);
/// An input that is added to the scores. Errors: kInvalidModel if it does not broadcast to them.
Result<std::optional<ValueId>> read_bias(const NodeImport& node, int input, const Shape& scores);

}  // namespace corf::onnx
