#pragma once
#include "onnx/node_import.h"

namespace corf::onnx {

/// saturate(round(x / scale) + zero_point), in the body's float type; zero_point may be -1 for
/// none. `to`: an integer type of 8 or 16 bits.
int quantized(ScalarBody& b, int x, int scale, int zero_point, DType to);

}  // namespace corf::onnx
