#pragma once
#include "onnx/tensor_proto.h"

namespace corf::onnx {

/// A tensor of which the elements that are not 0 are listed, by their numbers in row-major order
/// [elements] or their coordinates [elements, rank]: with all its elements. `owner`, `external` and
/// `what` as of read_tensor. Errors: as of read_tensor; kInvalidModel if an element lies outside;
/// kUnsupported beyond 64 MiB.
Result<Tensor> read_sparse_tensor(const onnx_proto::SparseTensorProto& proto,
                                  const std::shared_ptr<const void>& owner, ExternalData& external,
                                  const std::string& what);

}  // namespace corf::onnx
