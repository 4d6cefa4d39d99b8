#include "tests/fuzz/odd_values.h"

#include <limits>
#include <optional>

#include "onnx/tensor_proto.h"

namespace corf::fuzz {
namespace {

using onnx_proto::TensorProto;

constexpr int kTypes[] = {
    TensorProto::FLOAT,   TensorProto::FLOAT,  TensorProto::FLOAT,    TensorProto::FLOAT,
    TensorProto::FLOAT,   TensorProto::FLOAT,  TensorProto::DOUBLE,   TensorProto::FLOAT16,
    TensorProto::FLOAT16, TensorProto::INT64,  TensorProto::BFLOAT16, TensorProto::INT32,
    TensorProto::INT8,    TensorProto::UINT8,  TensorProto::BOOL,     TensorProto::INT16,
    TensorProto::UINT16,  TensorProto::UINT32, TensorProto::UINT64};
constexpr int64_t kOddInts[] = {0,
                                -1,
                                1,
                                -2,
                                2,
                                5,
                                -7,
                                64,
                                127,
                                1 << 15,
                                std::numeric_limits<int32_t>::max(),
                                std::numeric_limits<int32_t>::min(),
                                int64_t{1} << 32,
                                int64_t{1} << 40,
                                int64_t{1} << 62,
                                std::numeric_limits<int64_t>::max(),
                                std::numeric_limits<int64_t>::min()};
constexpr float kOddFloats[] = {0.0f,
                                -0.0f,
                                1.0f,
                                -1.0f,
                                0.5f,
                                1e-30f,
                                1e30f,
                                -1e30f,
                                std::numeric_limits<float>::infinity(),
                                -std::numeric_limits<float>::infinity(),
                                std::numeric_limits<float>::quiet_NaN(),
                                std::numeric_limits<float>::denorm_min(),
                                std::numeric_limits<float>::max()};

bool has_no_sign(DType dtype) { return dtype == DType::kBool || is_unsigned_integer(dtype); }

}  // namespace

int64_t odd_int_of(Choices& choices) { return choices.any(kOddInts); }
float odd_float_of(Choices& choices) { return choices.any(kOddFloats); }
int type_of(Choices& choices) { return choices.any(kTypes); }

void fill_tensor(TensorProto& proto, int type, const Shape& extents, Choices& choices) {
  proto.set_data_type(type);
  for (int64_t extent : extents) proto.add_dims(extent);
  const std::optional<DType> dtype = onnx::dtype_from_onnx(type);
  if (!dtype) return;
  Tensor tensor(*dtype, extents);
  const bool has_odd = choices.chance(32);
  uint64_t state = choices.below(256);
  for (int64_t i = 0; i < tensor.num_elems(); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const auto small = static_cast<int64_t>(state >> 60) % 5 - (has_no_sign(*dtype) ? 0 : 2);
    if (is_float(*dtype)) {
      tensor.set_f64(i, has_odd && i % 4 == 0 ? odd_float_of(choices) : double(small));
    } else if (*dtype == DType::kBool) {
      tensor.set_i64(i, small & 1);
    } else {
      const bool odd = has_odd && i % 4 == 0 && !has_no_sign(*dtype);
      tensor.set_i64(i, odd ? odd_int_of(choices) : small);
    }
  }
  proto.set_raw_data(tensor.bytes(), static_cast<size_t>(tensor.size_bytes()));
}

}  // namespace corf::fuzz
