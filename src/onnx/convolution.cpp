#include <algorithm>

#include "onnx/compose.h"
#include "onnx/windows.h"
#include "support/checked.h"

namespace corf::onnx {
namespace {

struct ConvolutionInputs {
  ValueId x = -1;
  ValueId w = -1;
  Shape x_shape;
  Shape w_shape;
  Shape spatial;
  std::vector<int64_t> kernel;
  int64_t groups = 1;
  int64_t out_channels = 0;
};

/// Checks what Conv and ConvTranspose have in common. `transposed`: w is [C, M/groups, kernel...]
/// instead of [M, C/groups, kernel...].
Result<ConvolutionInputs> read_inputs(NodeImport& node, bool transposed) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ConvolutionInputs in;
  in.x = node.input(0);
  in.w = node.input(1);
  in.x_shape = node.shape(in.x);
  in.w_shape = node.shape(in.w);
  CORF_RETURN_IF_ERROR(require_same_type(node, {in.x, in.w}));
  CORF_RETURN_IF_ERROR(require_float(node, in.x));
  if (in.x_shape.size() < 3 || in.w_shape.size() != in.x_shape.size()) {
    return node.invalid("input {} and weights {} must have equal ranks of at least 3",
                        to_string(in.x_shape), to_string(in.w_shape));
  }
  in.groups = node.int_attribute("group", 1);
  int64_t channels = in.x_shape[1];
  int64_t divided = in.w_shape[transposed ? 0 : 0];
  bool fits = in.groups >= 1 && channels % in.groups == 0 && divided % in.groups == 0;
  if (transposed) {
    fits = fits && divided == channels;
    in.out_channels = in.groups * in.w_shape[1];
  } else {
    fits = fits && in.w_shape[1] * in.groups == channels;
    in.out_channels = in.w_shape[0];
  }
  if (!fits) {
    return node.invalid("input {} and weights {} do not fit with {} groups", to_string(in.x_shape),
                        to_string(in.w_shape), in.groups);
  }
  in.spatial.assign(in.x_shape.begin() + 2, in.x_shape.end());
  in.kernel.assign(in.w_shape.begin() + 2, in.w_shape.end());
  auto declared = node.ints_attribute("kernel_shape", in.kernel);
  if (declared != in.kernel) {
    return node.invalid("kernel_shape {} contradicts the weights' shape {}", to_string(declared),
                        to_string(in.w_shape));
  }
  return in;
}

/// Sets y + bias (input 2) as the output, or y if there is none.
Status add_bias(NodeImport& node, ValueId y) {
  if (!node.has(2)) {
    node.set_output(y);
    return {};
  }
  ValueId bias = node.input(2);
  int64_t channels = node.shape(y)[1];
  if (node.shape(bias) != Shape{channels}) {
    return node.invalid("bias of shape {} for {} output channels", to_string(node.shape(bias)),
                        channels);
  }
  CORF_RETURN_IF_ERROR(require_same_type(node, {y, bias}));
  Shape shape(node.rank(y) - 1, 1);
  shape[0] = channels;
  ValueId column = reshape(node.graph, node.part("bias_column"), bias, shape);
  node.set_output(binary(node.graph, node.part("bias"), ScalarOp::kAdd, y, column));
  return {};
}

Status import_conv(NodeImport& node) {
  CORF_ASSIGN(ConvolutionInputs in, read_inputs(node, false));
  CORF_ASSIGN(WindowExtents window, read_window(node, in.spatial, in.kernel, false));
  ValueId y = graph::conv(node.graph, node.name(), in.x, in.w, window.window, in.groups);
  return add_bias(node, y);
}

/// ConvTranspose's padding is given, or follows from the wanted output extents.
Result<WindowExtents> read_transposed_window(NodeImport& node, const ConvolutionInputs& in) {
  size_t count = in.spatial.size();
  WindowExtents result;
  graph::Window& window = result.window;
  window.kernel = in.kernel;
  CORF_ASSIGN(window.strides, positive_ints(node, "strides", count));
  CORF_ASSIGN(window.dilations, positive_ints(node, "dilations", count));
  auto output_padding = node.ints_attribute("output_padding", std::vector<int64_t>(count, 0));
  auto output_shape = node.ints_attribute("output_shape");
  auto pads = node.ints_attribute("pads", std::vector<int64_t>(2 * count, 0));
  std::string auto_pad = node.string_attribute("auto_pad", "NOTSET");
  // Some exporters list batch and channels too.
  if (output_shape.size() == count + 2)
    output_shape.erase(output_shape.begin(), output_shape.begin() + 2);
  bool sizes_fit = output_padding.size() == count && pads.size() == 2 * count &&
                   (output_shape.empty() || output_shape.size() == count);
  if (!sizes_fit) {
    return node.invalid("pads, output_padding or output_shape do not fit {} spatial dimensions",
                        count);
  }
  for (size_t i = 0; i < count; ++i) {
    int64_t stride = window.strides[i];
    auto reach = checked_mul(window.kernel[i] - 1, window.dilations[i]);
    auto span = checked_mul(stride, in.spatial[i] - 1);
    int64_t begin = pads[i];
    int64_t end = pads[count + i];
    constexpr int64_t kLimit = int64_t{1} << 40;
    if (!reach || !span || *reach > kLimit || std::abs(*span) > kLimit ||
        std::max({begin, end, output_padding[i]}) > kLimit ||
        std::min({begin, end, output_padding[i]}) < 0) {
      return node.invalid("its window is out of range in spatial dimension {}", i);
    }
    int64_t full = *span + *reach + 1 + output_padding[i];  // without padding
    int64_t extent = full - begin - end;
    bool same = auto_pad.starts_with("SAME");
    if (!output_shape.empty() || same) {
      extent = output_shape.empty() ? in.spatial[i] * stride : output_shape[i];
      int64_t total = std::max<int64_t>(0, full - extent);
      begin = auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      end = total - begin;
      if (auto_pad == "NOTSET") {
        begin = total / 2;
        end = total - begin;
      }
    } else if (auto_pad == "VALID") {
      begin = end = 0;
      extent = full;
    }
    if (extent < 1 || in.spatial[i] < 1) {
      return node.invalid("output extent {} in spatial dimension {}", extent, i);
    }
    window.pads_begin.push_back(begin);
    window.pads_end.push_back(end);
    result.output.push_back(extent);
  }
  return result;
}

Status import_conv_transpose(NodeImport& node) {
  CORF_ASSIGN(ConvolutionInputs in, read_inputs(node, true));
  CORF_ASSIGN(WindowExtents window, read_transposed_window(node, in));
  ValueId y = graph::conv_transpose(node.graph, node.name(), in.x, in.w, window.window, in.groups,
                                    window.output);
  return add_bias(node, y);
}

constexpr Operator kOperators[] = {
    {"Conv", 1, import_conv},
    {"ConvTranspose", 1, import_conv_transpose},
};

}  // namespace

std::span<const Operator> convolution_operators() { return kOperators; }

}  // namespace corf::onnx
