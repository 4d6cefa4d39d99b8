#pragma once
#include "corf/corf.h"
#include "session/value.h"

namespace corf::host {

/// A TensorProto, SequenceProto or OptionalProto as ONNX's backend tests keep them in files,
/// without external data. Errors: kInvalidModel if damaged; kUnsupported for an element type that
/// corf does not have; kInvalidArgument for a kind that no message has.
Result<session::Value> parse_value(const void* bytes, size_t size_bytes, corf_kind kind);

}  // namespace corf::host
