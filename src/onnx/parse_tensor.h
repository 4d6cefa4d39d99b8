#pragma once
#include <cstddef>
#include <string>

#include "support/result.h"
#include "tensor/tensor.h"

namespace corf::onnx {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// A TensorProto as ONNX's backend tests keep them in files, without external data.
/// Errors: kInvalidModel if damaged; kUnsupported for an element type that corf does not have.
Result<NamedTensor> parse_tensor(const void* bytes, size_t size_bytes);

}  // namespace corf::onnx
