#pragma once
#include "onnx/node_import.h"

namespace corf::onnx {

/// Indices into dimensions of the given extents, as values that lie inside: negative ones count
/// from the end. One extent holds for all; several are for the coordinates that the last dimension
/// holds. Indices that are known or follow from others that are inside pass as they are; all others
/// are checked in every run, by a routine whose copy of them is the result.
/// Errors: kInvalidModel naming a known index that is outside.
Result<ValueId> checked_indices(NodeImport& node, std::string_view suffix, ValueId indices,
                                const std::vector<int64_t>& extents);

}  // namespace corf::onnx
