#include "onnx/parse_tensor.h"

#include <limits>

#include "onnx/tensor_proto.h"

namespace corf::onnx {

Result<NamedTensor> parse_tensor(const void* bytes, size_t size_bytes) {
  auto proto = std::make_shared<onnx_proto::TensorProto>();
  if (size_bytes > static_cast<size_t>(std::numeric_limits<int>::max()) ||
      !proto->ParseFromArray(bytes, static_cast<int>(size_bytes))) {
    return make_error(ErrorCode::kInvalidModel, "not an ONNX TensorProto");
  }
  ExternalData no_files({});
  CORF_ASSIGN(Tensor tensor, read_tensor(*proto, proto, no_files, "tensor"));
  return NamedTensor{proto->name(), std::move(tensor)};
}

}  // namespace corf::onnx
