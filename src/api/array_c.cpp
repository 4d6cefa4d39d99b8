#include "onnx/parse_tensor.h"
#include "session/declared_tensor.h"

struct corf_array {
  corf::onnx::NamedTensor named;
};

extern "C" {

corf_error* corf_array_parse_onnx(const void* bytes, size_t size_bytes, corf_array** array) {
  return corf::session::guarded(
      {corf::session::needed_array(bytes, size_bytes, "bytes"), {array, "array"}},
      [&]() -> corf::Status {
        CORF_ASSIGN(corf::onnx::NamedTensor named, corf::onnx::parse_tensor(bytes, size_bytes));
        *array = new corf_array{std::move(named)};
        return {};
      });
}

void corf_array_free(corf_array* array) { delete array; }

corf_tensor corf_array_tensor(const corf_array* array) {
  return corf::session::answered(corf_tensor{}, {array}, [&]() -> corf_tensor {
    const corf::Tensor& tensor = array->named.tensor;
    return {array->named.name.c_str(), corf::session::to_c(tensor.dtype()), tensor.shape().size(),
            tensor.shape().data(), const_cast<std::byte*>(tensor.bytes())};
  });
}

}  // extern "C"
