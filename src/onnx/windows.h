#pragma once
#include "graph/operators.h"
#include "onnx/node_import.h"

namespace corf::onnx {

/// The most that strides, pads, kernels and the like may be: far beyond any tensor's extent, and
/// small enough that the sum of some products of two of them fits int64.
constexpr int64_t kMaxWindowValue = int64_t{1} << 30;

/// Kernel, strides, dilations and padding as a node's attributes give them, with auto_pad resolved
/// for the given spatial extents, and the output's spatial extents.
struct WindowExtents {
  graph::Window window;
  std::vector<int64_t> output;
};

/// Attributes of a convolution or pooling over `spatial` extents. `ceil_mode`: round the number of
/// windows up, leaving out those that would start in the end's padding.
/// Errors: kInvalidModel naming the attribute and extents.
Result<WindowExtents> read_window(NodeImport& node, const Shape& spatial,
                                  std::vector<int64_t> kernel, bool ceil_mode);

/// An attribute with one positive value for each spatial dimension, 1 by default.
Result<std::vector<int64_t>> positive_ints(NodeImport& node, std::string_view name, size_t count);

}  // namespace corf::onnx
