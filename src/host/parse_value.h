#pragma once
#include "onnx/import.h"
#include "session/value.h"

namespace corf::host {

/// A TensorProto, SequenceProto or OptionalProto as ONNX's backend tests keep them in files,
/// without external data. Errors: kInvalidModel if damaged; kUnsupported for an element type that
/// corf does not have.
Result<session::Value> parse_value(const void* bytes, size_t size_bytes, onnx::ValueKind kind);

}  // namespace corf::host
