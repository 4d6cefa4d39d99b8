#pragma once
#include "onnx/compose.h"

namespace corf::onnx {

/// [batch, sequence, heads * size] as [batch, heads, sequence, size]; x of rank 4 as it is.
/// Errors: kInvalidModel if it is neither.
Result<ValueId> split_heads(NodeImport& node, std::string_view suffix, ValueId x, int64_t heads);

/// [batch, heads, sequence, size] as [batch, sequence, heads * size]
ValueId merge_heads(NodeImport& node, std::string name, ValueId x);

/// a b or a b' by head, where one head of b serves several consecutive ones of a.
ValueId multiply_heads(NodeImport& node, std::string name, ValueId a, ValueId b, bool transpose_b);

}  // namespace corf::onnx
