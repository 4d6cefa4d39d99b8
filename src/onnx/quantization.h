#pragma once
#include "onnx/node_import.h"

namespace corf::onnx {

/// saturate(round(x / scale) + zero_point), in the body's float type; zero_point may be -1 for
/// none. `to`: an integer type of 8 or 16 bits.
int quantized(ScalarBody& b, int x, int scale, int zero_point, DType to);

/// The first `extent` numbers of `bits` bits each that the last dimension's bytes hold, the lowest
/// bits first, as bytes of their own.
Tensor unpack_digits(const Tensor& bytes, int64_t bits, int64_t extent);

struct QuantizedByRange {
  ValueId value, scale, zero_point;
};
/// To bytes, with scale and zero point from x's own range, which is made to hold 0.
QuantizedByRange quantized_by_range(NodeImport& node, std::string name, ValueId x);

}  // namespace corf::onnx
