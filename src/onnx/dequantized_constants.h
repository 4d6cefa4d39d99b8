#pragma once
#include <set>
#include <string>

#include "onnx/model.pb.h"

namespace corf::onnx {

/// The initialisers of 4- and 2-bit integers that DequantizeLinear alone reads: weights in few bits
/// and their zero points, whose numbers may as well be read as integers of 8 bits.
/// Test: tests/onnx/dequantized_constants_test.cpp
std::set<std::string> find_dequantized_constants(const onnx_proto::GraphProto& graph);

}  // namespace corf::onnx
