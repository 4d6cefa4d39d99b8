#pragma once
#include "onnx/node_import.h"

namespace corf::onnx {

/// Checks the number of inputs and their element types against what the operator takes, before its
/// import function sees them: one table for all operators, after the newest text of the standard.
/// `op`: the operator's name. Errors: kInvalidModel naming input, type and what is allowed.
Status check_input_types(const NodeImport& node, std::string_view op);

/// Whether the table has the operator; all that can be imported have a row.
bool has_input_types(std::string_view op);

/// The element types that the inputs have, a word for each: "float", or "T:float T" where they
/// agree;
/// "" where the table has no such operator.
std::string_view input_types_in_words(std::string_view op, int64_t opset);

}  // namespace corf::onnx
