#pragma once
#include "onnx/model.pb.h"
#include "tensor/tensor.h"
#include "tests/fuzz/choices.h"

namespace corf::fuzz {

/// Numbers at the edges of types and of what operators take.
int64_t odd_int_of(Choices& choices);
float odd_float_of(Choices& choices);

/// An element type, TensorProto.data_type: half of the time f32.
int type_of(Choices& choices);

/// Small numbers, some of them odd.
void fill_tensor(onnx_proto::TensorProto& proto, int type, const Shape& extents, Choices& choices);

}  // namespace corf::fuzz
