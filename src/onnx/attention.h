#pragma once
#include "onnx/compose.h"

namespace corf::onnx {

/// Errors: kInvalidModel if so many heads do not divide [batch, sequence, heads * size], or are
/// more than any model has: nothing is divided by any number.
Status check_heads(const NodeImport& node, int64_t heads, const Shape& shape);

/// [batch, sequence, heads * size] as [batch, heads, sequence, size]; x of rank 4 as it is.
/// Errors: kInvalidModel if it is neither.
Result<ValueId> split_heads(NodeImport& node, std::string_view suffix, ValueId x, int64_t heads);

/// [batch, heads, sequence, size] as [batch, sequence, heads * size]
ValueId merge_heads(NodeImport& node, std::string name, ValueId x);

/// a b or a b' by head, where one head of b serves several consecutive ones of a.
ValueId multiply_heads(NodeImport& node, std::string name, ValueId a, ValueId b, bool transpose_b);

/// x [batch, ..., size] of rank 4 with the first 2 * half elements of each head turned: pairs of
/// neighbours if `interleaved`, else those `half` apart. cosine and sine broadcast to
/// [batch, ..., half].
ValueId rotate_heads(NodeImport& node, const std::string& name, ValueId x, ValueId cosine,
                     ValueId sine, bool interleaved);

/// The type that attention is computed in: f32 for the 16-bit types, so that its result is rounded
/// once and no product overflows.
DType attention_type(DType dtype);

}  // namespace corf::onnx
