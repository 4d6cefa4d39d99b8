#include "onnx/sparse_tensor.h"

#include <cstring>

namespace corf::onnx {
namespace {

/// A file of some bytes can ask for any extents.
constexpr int64_t kMostBytes = int64_t{64} << 20;

/// The number of each listed element in row-major order.
Result<std::vector<int64_t>> places(const Tensor& indices, int64_t count, const Shape& shape,
                                    const std::string& what) {
  const auto rank = static_cast<int64_t>(shape.size());
  const bool numbered = indices.shape() == Shape{count};
  if (indices.dtype() != DType::kI64 || (!numbered && indices.shape() != Shape{count, rank})) {
    return make_error(ErrorCode::kInvalidModel, "{}: indices {} {} for {} elements of {}", what,
                      to_string(indices.dtype()), to_string(indices.shape()), count,
                      to_string(shape));
  }
  std::vector<int64_t> result;
  for (int64_t i = 0; i < count; ++i) {
    int64_t place = numbered ? indices.at_i64(i) : 0;
    bool inside = !numbered || (place >= 0 && place < num_elems(shape));
    for (int64_t d = 0; !numbered && d < rank; ++d) {
      const int64_t coordinate = indices.at_i64(i * rank + d);
      inside = inside && coordinate >= 0 && coordinate < shape[d];
      place = inside ? place * shape[d] + coordinate : 0;
    }
    if (!inside) {
      return make_error(ErrorCode::kInvalidModel, "{}: element {} lies outside of {}", what, i,
                        to_string(shape));
    }
    result.push_back(place);
  }
  return result;
}

}  // namespace

Result<Tensor> read_sparse_tensor(const onnx_proto::SparseTensorProto& proto,
                                  const std::shared_ptr<const void>& owner, ExternalData& external,
                                  const std::string& what) {
  CORF_ASSIGN(const Tensor values, read_tensor(proto.values(), owner, external, what + ", values"));
  CORF_ASSIGN(const Tensor indices,
              read_tensor(proto.indices(), owner, external, what + ", indices"));
  const Shape shape(proto.dims().begin(), proto.dims().end());
  const auto elems = checked_num_elems(shape);
  if (!elems.ok() || values.shape().size() != 1) {
    return make_error(ErrorCode::kInvalidModel, "{}: values {} of a sparse tensor {}", what,
                      to_string(values.shape()), to_string(shape));
  }
  const int64_t width = size_bytes(values.dtype());
  if (*elems > kMostBytes / width) {
    return make_error(ErrorCode::kUnsupported, "{}: a sparse tensor of shape {} is too large", what,
                      to_string(shape));
  }
  CORF_ASSIGN(const auto to, places(indices, values.num_elems(), shape, what));
  Tensor all(values.dtype(), shape);
  for (size_t i = 0; i < to.size(); ++i) {
    std::memcpy(all.bytes() + to[i] * width, values.bytes() + static_cast<int64_t>(i) * width,
                static_cast<size_t>(width));
  }
  return all;
}

}  // namespace corf::onnx
